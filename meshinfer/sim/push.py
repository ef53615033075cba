"""When a simulated peer tells and asks its neighbours: `node/push.py`, and the pace of `node/sync.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from meshinfer.model.record import Record
from meshinfer.schedule.log import Slot, job_of
from meshinfer.sim.books import Books
from meshinfer.sim.chance import Rng
from meshinfer.sim.sync import Syncs
from meshinfer.wire.messages import Aged

EVERY = 5.0
SOON = 0.25
PASS_EVERY = 0.75
MAX_PUSHED = 16
AFTER = 0.1
"""As there: `node/` cannot be imported here, it waits on a clock."""


class Shell(Protocol):
    """What this needs of its peer."""

    @property
    def neighbours(self) -> set[int]: ...

    def visit(self) -> None:
        """Connect to somebody who may know of a job here what no neighbour tells of."""

    def later(self, delay: float, label: str, do: Callable[[], None]) -> None: ...


class Push:
    def __init__(self, shell: Shell, books: Books, syncs: Syncs, rng: Rng) -> None:
        self._shell, self._books, self._syncs, self._rng = shell, books, syncs, rng
        self._waiting: set[str] = set()
        """What will happen in a moment anyway."""
        self._queues: dict[int, dict[Slot, Record]] = {}
        shell.later(rng.uniform(0, EVERY), "sync", self._now_and_then)

    def _soon(self, delay: float, label: str, do: Callable[[], None]) -> None:
        """Once, however often it is asked for until then."""

        def now() -> None:
            self._waiting.discard(label)
            do()

        if label not in self._waiting:
            self._waiting.add(label)
            self._shell.later(delay, label, now)

    def _now_and_then(self) -> None:
        if idle := sorted(self._shell.neighbours - self._syncs.under_way):
            self._syncs.start(self._rng.choice(idle))
        self._shell.visit()
        self._shell.later(EVERY * self._rng.uniform(0.8, 1.2), "sync", self._now_and_then)

    def urgent(self) -> None:
        """Something was stated that people wait for."""
        self._soon(SOON, "push", self._to_some)

    def _to_some(self) -> None:
        peers = sorted(self._shell.neighbours)
        for other in self._rng.sample(peers, min(MAX_PUSHED, len(peers))):
            self._syncs.start(other)

    def joined(self) -> None:
        """This peer has come to take part in a job."""
        self._soon(0.0, "join", self._catch_up)

    def _catch_up(self) -> None:
        self._syncs.catch_up(self._books.take_joined())
        self._shell.visit()

    def news(self) -> None:
        """Something came that others may lack."""
        if "passed on" not in self._waiting:
            self._soon(SOON, "pass on", self._pass_on)

    def _pass_on(self) -> None:
        self._syncs.pass_on()
        self._soon(PASS_EVERY - SOON, "passed on", self._passed_on)

    def _passed_on(self) -> None:
        if self._syncs.has_news:
            self.news()

    def stated(self, records: list[Record]) -> None:
        """These are our own, and new: they go straight to those that take part in their jobs."""
        for record in records:
            if (job := job_of(record.kind, record.key)) is not None:
                for other in self._syncs.takes_part(job):
                    self.tell(other, record)

    def tell(self, other: int, record: Record) -> None:
        """Send this soon."""
        self._queues.setdefault(other, {})[Slot(record.origin, record.kind, record.key)] = record
        self._soon(AFTER, "tell", self._tell)

    def _tell(self) -> None:
        queues, self._queues = self._queues, {}
        for other in sorted(queues.keys() & self._shell.neighbours):
            self._syncs.push(other, [Aged(record.sealed, 0.0) for record in queues[other].values()])
