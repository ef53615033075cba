"""What survives a crash: the part of `store/` that the protocol rests on, with the same transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from meshinfer.model.facts import Outcome
from meshinfer.model.ids import JobId, TaskId
from meshinfer.model.logs import LogId
from meshinfer.model.record import Record
from meshinfer.schedule.log import Slot


class Kept(NamedTuple):
    record: Record
    heard: float
    """By the peer's wall clock."""


@dataclass(slots=True)
class Row:
    """How far a task is."""

    analysed: int = 0
    attempts: int = 0
    ended: Outcome | None = None


@dataclass(slots=True)
class Store:
    incarnation: int
    """Milliseconds of the peer's wall clock at which it was made."""
    seqs: Counter[JobId | None] = field(default_factory=Counter)
    """The last number given, by log."""
    records: dict[Slot, Kept] = field(default_factory=dict)
    vector: dict[LogId, int] = field(default_factory=dict)
    tasks: dict[TaskId, Row] = field(default_factory=dict)
    full: bool = False

    def copy(self) -> Store:
        rows = {task: replace(row) for task, row in self.tasks.items()}
        return replace(
            self,
            seqs=Counter(self.seqs),
            records=dict(self.records),
            vector=dict(self.vector),
            tasks=rows,
            full=False,
        )

    def renew(self, at_least: int, wall: float) -> int:
        """A higher incarnation than any that this store had, and no lower than that."""
        self.incarnation = max(self.incarnation + 1, at_least, int(wall * 1000))
        return self.incarnation

    def take_seqs(self, counts: Mapping[JobId | None, int]) -> dict[JobId | None, int]:
        """Takes so many numbers of each log and returns the first of each. None is ever given twice."""
        first = {job: self.seqs[job] + 1 for job in counts}
        self.seqs.update(counts)
        return first

    def save(self, records: Iterable[Kept], gone: Iterable[Slot], vector: Mapping[LogId, int]) -> None:
        """One transaction."""
        for slot in gone:
            self.records.pop(slot, None)
        for kept in records:
            r = kept.record
            self.records[Slot(r.origin, r.kind, r.key)] = kept
        for log, n in vector.items():
            if n:
                self.vector[log] = n
            else:  # the log is no more
                self.vector.pop(log, None)
