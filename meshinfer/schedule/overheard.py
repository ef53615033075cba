"""Records of jobs that do not concern this peer, for a minute: interest mostly begins with a job whose first records
are already here."""

from __future__ import annotations

from typing import NamedTuple

from meshinfer.model.ids import JobId
from meshinfer.model.record import Record
from meshinfer.schedule.log import Slot

MOST, MOST_BYTES = 5000, 8 << 20
"""Records, and bytes of them. Beyond, those of the job that has waited longest go."""

LASTING = 60.0
"""Seconds without a further record after which those of a job go."""


class Early(NamedTuple):
    record: Record
    born: float
    came: float


class Overheard:
    def __init__(self) -> None:
        self._jobs: dict[JobId, dict[Slot, Early]] = {}
        self._count = self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def keep(self, job: JobId, record: Record, born: float, now: float) -> None:
        """The newer of a slot stays."""
        slot = Slot(record.origin, record.kind, record.key)
        of_job = self._jobs.setdefault(job, {})
        before = of_job.pop(slot, None)
        if before is not None:
            self._count -= 1
            self._bytes -= len(before.record.sealed)
            if (before.record.incarnation, before.record.seq) > (record.incarnation, record.seq):
                record, born = before.record, before.born
        of_job[slot] = Early(record, born, now)
        self._count += 1
        self._bytes += len(record.sealed)
        while self._count > MOST or self._bytes > MOST_BYTES:
            self.take(next(iter(self._jobs)))

    def take(self, job: JobId) -> list[Early]:
        """What was heard of a job; kept no longer."""
        early = list(self._jobs.pop(job, {}).values())
        self._count -= len(early)
        self._bytes -= sum(len(e.record.sealed) for e in early)
        return early

    def expire(self, now: float) -> None:
        for job in [job for job, early in self._jobs.items() if max(e.came for e in early.values()) + LASTING < now]:
            self.take(job)
