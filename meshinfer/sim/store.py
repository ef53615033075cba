"""What survives a crash: the part of `store/` that the protocol rests on, with the same transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from meshinfer.model.facts import Outcome
from meshinfer.model.ids import TaskId
from meshinfer.model.record import Record
from meshinfer.schedule.log import Slot, StoreId


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
    seq: int = 0
    records: dict[Slot, Kept] = field(default_factory=dict)
    vector: dict[StoreId, int] = field(default_factory=dict)
    tasks: dict[TaskId, Row] = field(default_factory=dict)
    full: bool = False

    def copy(self) -> Store:
        rows = {task: replace(row) for task, row in self.tasks.items()}
        return replace(self, records=dict(self.records), vector=dict(self.vector), tasks=rows, full=False)

    def next_seq(self, count: int) -> int:
        """Takes `count` numbers and returns the first. None is ever given twice."""
        self.seq += count
        return self.seq - count + 1

    def save(self, records: Iterable[Kept], gone: Iterable[Slot], vector: Mapping[StoreId, int]) -> None:
        """One transaction."""
        for slot in gone:
            self.records.pop(slot, None)
        for kept in records:
            r = kept.record
            self.records[Slot(r.origin, r.kind, r.key)] = kept
        self.vector.update(vector)
