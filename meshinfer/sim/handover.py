"""Work that moves from busy peers to idle ones: `node/handover.py` on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from meshinfer.model.ids import PeerId, TaskId
from meshinfer.schedule.stimuli import AskWork, Grant, Stimulus, WorkAsked, WorkGranted
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import GiveWork, WantWork, read_give_work, read_want_work

PATIENCE = 2.0
"""Seconds until a question for work counts as unanswered."""


class Shell(Protocol):
    """What a handover needs of its peer."""

    @property
    def neighbours(self) -> set[int]: ...

    def id_of(self, other: int) -> PeerId: ...

    def note(self, what: str, task: TaskId) -> None: ...

    def later(self, delay: float, label: str, do: Callable[[], None]) -> None: ...

    def feed(self, stimulus: Stimulus) -> None: ...

    def send(self, other: int, stream: int, data: bytes) -> None: ...


class Handover:
    """Questions that one peer asks and answers, each on a stream of its own: those below 0 are about work."""

    def __init__(self, shell: Shell, me: int) -> None:
        self._shell, self._me = shell, me
        self._streams = 0
        self._wanted: dict[int, AskWork] = {}
        """What was not answered yet, by stream."""
        self._tickets: list[tuple[int, int]] = []
        """(peer, stream) of questions that came in."""

    def perform(self, effect: AskWork | Grant) -> None:
        match effect:
            case AskWork(peer, job, most):
                self._streams += 1
                other = next((o for o in sorted(self._shell.neighbours) if self._shell.id_of(o) == peer), self._me)
                stream = -2 * self._streams - (self._me > other)  # the two sides number their streams apart
                self._wanted[stream] = effect
                if other != self._me:
                    self._shell.send(other, stream, encode(WantWork(job, most)))
                self._shell.later(PATIENCE, "no answer", lambda: self._granted(stream, ()))
            case Grant(ticket, _, tasks):
                other, stream = self._tickets[ticket]
                for task in tasks:
                    self._shell.note(f"hands it over to p{other}", task)
                self._shell.send(other, stream, encode(GiveWork(tuple(map(bytes.fromhex, tasks)))))

    def frame(self, other: int, stream: int, data: bytes) -> None:
        """Raises ProtocolError."""
        peer, asked = self._shell.id_of(other), self._wanted.get(stream)
        if asked is not None and peer == asked.peer:
            self._granted(stream, read_give_work(data).tasks)
        elif -stream % 2 != (self._me > other):  # else it is an answer that came too late
            wanted = read_want_work(data)
            self._tickets.append((other, stream))
            self._shell.feed(WorkAsked(peer, wanted.job, wanted.most, len(self._tickets) - 1))

    def _granted(self, stream: int, tasks: tuple[bytes, ...]) -> None:
        if (question := self._wanted.pop(stream, None)) is not None:
            named = tuple(TaskId(task.hex()) for task in tasks)
            self._shell.feed(WorkGranted(question.peer, question.job, named))
