"""Tasks at work: `node/runner.py` on virtual time. No frame is looked at; what is written, and when, is as there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import Outcome
from meshinfer.model.ids import ContentId, TaskId
from meshinfer.schedule import stimuli as st
from meshinfer.sim.chance import Rng
from meshinfer.sim.store import Row, Store

PIECES = 4
"""Parts in which a running task's progress becomes durable."""


class Shell(Protocol):
    """What work needs of its peer."""

    @property
    def entries(self) -> tuple[Entry, ...]: ...

    @property
    def failing(self) -> frozenset[ContentId]: ...

    @property
    def slowness(self) -> float: ...

    @property
    def analysed(self) -> Counter[TaskId]: ...

    @property
    def store(self) -> Store | None: ...

    def later(self, delay: float, label: str, do: Callable[[], None]) -> None: ...

    def writing(self) -> float:
        """Seconds that it takes to write something down."""

    def begins(self, task: TaskId) -> None: ...

    def note(self, what: str, task: TaskId) -> None: ...

    def point(self, what: str) -> None:
        """Raises Crashed, when it comes to that."""

    def feed(self, stimulus: st.Stimulus) -> None: ...


class Runner:
    """Of one life."""

    def __init__(self, shell: Shell, rng: Rng, work: tuple[float, float]) -> None:
        """`work`: seconds that a task takes, from and to."""
        self._shell, self._rng, self._lasts = shell, rng, work
        self.working: dict[TaskId, int] = {}
        """Runs by task: a number that tells one from the next."""
        self._runs = 0

    def start(self, task: TaskId, entry: Entry) -> None:
        self._runs += 1
        self.working[task] = self._runs
        self._shell.later(self._shell.writing(), "begin", partial(self._begin, task, entry, self._runs))

    def let_go(self, task: TaskId) -> None:
        self.working.pop(task, None)

    def _writable(self, task: TaskId, run: int) -> Store | None:
        """The store, if this run of the task still counts and can be written down; a full disk gives the task back."""
        if self.working.get(task) != run:
            return None
        store = self._shell.store
        assert store is not None
        if store.full:
            del self.working[task]
            self._shell.feed(st.RoomChanged(False, "the disk is full"))
            self._shell.feed(st.TaskReturned(task))
            return None
        return store

    def _begin(self, task: TaskId, entry: Entry, run: int) -> None:
        store = self._writable(task, run)
        if store is None:
            return
        row = store.tasks.setdefault(task, Row())
        if row.ended is not None and row.ended.done:
            self._end(task, row.ended)
            return
        row.attempts += 1
        if entry not in self._shell.entries:  # deleted since it was asked for
            self._end(task, _file_gone(task, Row(attempts=row.attempts), 0.0))
            return
        self._shell.begins(task)
        self._shell.note(f"begins, attempt {row.attempts}, {row.analysed} pieces done", task)
        self._shell.point("work begun")
        piece = self._shell.slowness * self._rng.uniform(*self._lasts) / PIECES
        self._shell.later(piece, "work", lambda: self._work(task, entry, run, piece))

    def _work(self, task: TaskId, entry: Entry, run: int, piece: float) -> None:
        """A piece is done: its results and the progress are one transaction."""
        store = self._writable(task, run)
        if store is None:
            return
        row = store.tasks[task]
        row.analysed += 1
        self._shell.analysed[task] += 1
        raw = bytes.fromhex(task)
        if entry not in self._shell.entries:
            row.ended = _file_gone(task, row, piece)
        elif entry.content in self._shell.failing:
            row.ended = Outcome(raw, False, row.analysed, 0, piece, "", row.attempts, "host", "out of memory")
        elif row.analysed >= PIECES:
            row.ended = Outcome(raw, True, row.analysed, row.analysed, piece * PIECES, task, row.attempts)
        else:
            row.ended = None
        self._shell.point("progress saved, not told")
        if row.ended is not None:
            self._end(task, row.ended)
        else:
            self._shell.feed(st.TaskProgressed(task, row.analysed, row.analysed))
            self._shell.later(piece, "work", lambda: self._work(task, entry, run, piece))

    def _end(self, task: TaskId, outcome: Outcome) -> None:
        del self.working[task]
        self._shell.note("done" if outcome.done else f"failed: {outcome.error}", task)
        self._shell.feed(st.TaskEnded(task, outcome))


def _file_gone(task: TaskId, row: Row, seconds: float) -> Outcome:
    return Outcome(bytes.fromhex(task), False, row.analysed, 0, seconds, "", row.attempts, "input", "the file is gone")
