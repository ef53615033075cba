"""Which jobs' logs a peer keeps: of those that concern it, that somebody asks about here, or that it relays.

Of no other job does it lack anything. What it keeps is compared in syncs; what nobody is interested in is let go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable

from meshinfer.model.ids import JobId, PeerId, hash_of
from meshinfer.schedule.log import RecordLog

ASKED = 60.0
"""Seconds that a job is followed after somebody asked about it here."""

RELAYED = 120.0
"""Seconds that a job's log is kept for a neighbour that is not connected to its publisher, after it asked for that."""

RELAYS = 2
"""Neighbours that are asked to: those with the lowest hash, so that two who ask are likely to ask the same ones."""

STIRRED = 60.0
IDLE = 100
"""A vector names the jobs in which something happened in the last minute, and so many others in turns: what it costs
to keep old jobs does not grow with their number."""


class Interest:
    """`takes_part`: whether the schedule has a part in a job."""

    def __init__(self, log: RecordLog, takes_part: Callable[[JobId], bool], asked: float = ASKED) -> None:
        self._log, self._takes_part, self._asked = log, takes_part, asked
        self.kept: dict[JobId, None] = {}
        """Jobs whose logs are kept."""
        self.begun: list[JobId] = []
        """Jobs that came to be kept, and of which the neighbours have not been asked yet."""
        self._followed: dict[JobId, float] = {}
        self._relayed: dict[JobId, float] = {}
        self._stirred: dict[JobId, float] = {}
        """When something was last news in a job, or asked of it."""
        self._turn = 0

    def keeps(self, job: JobId, now: float) -> bool:
        """Whether this job's log is kept here; notes where that is news."""
        if job in self.kept:
            return True
        if not (self._takes_part(job) or self._asked_for(job, now)):
            return False
        self.begin(job, now)
        return True

    def begin(self, job: JobId, now: float) -> None:
        """This peer takes part in the job."""
        self._stirred[job] = now
        if job not in self.kept:
            self.kept[job] = None
            self.begun.append(job)

    def own(self, job: JobId) -> None:
        """This peer has said something in the job, or published it: nobody need be asked of it."""
        self.kept[job] = None

    def stir(self, job: JobId, now: float) -> None:
        """Something was news in the job."""
        self._stirred[job] = now

    def follow(self, job: JobId, now: float) -> None:
        """Somebody asks about the job here."""
        self._followed[job] = now + self._asked
        self.begin(job, now)

    def relay(self, jobs: Iterable[JobId], now: float) -> None:
        """A neighbour asks that these be kept for it: those that are known here."""
        for job in jobs:
            if self._log.has_job(job):
                self._relayed[job] = now + RELAYED
                if job not in self.kept:
                    self.begin(job, now)

    def forget(self, job: JobId) -> None:
        """The job is no more."""
        for known in (self.kept, self._followed, self._relayed, self._stirred):
            known.pop(job, None)

    def expire(self, now: float) -> None:
        """Keep no longer what nobody is interested in."""
        for asked in (self._followed, self._relayed):
            for job in [job for job, until in asked.items() if until <= now]:
                del asked[job]
        for job in [job for job in self.kept if not self._asked_for(job, now) and not self._concerns(job)]:
            del self.kept[job]
            self._stirred.pop(job, None)

    def is_own(self, job: JobId) -> bool:
        """Whether it is kept for more than a neighbour's sake."""
        return job in self.kept and (job in self._followed or self._concerns(job))

    # ---- what others are told ----------------------------------------------------------------------------------------

    def named(self, now: float) -> list[JobId]:
        """Jobs that a vector names."""
        stirred = self._lately(now)
        idle = [job for job in self.kept if job not in stirred]
        self._turn = (self._turn + IDLE) % len(idle) if len(idle) > IDLE else 0
        return [*stirred, *(idle + idle)[self._turn : self._turn + min(IDLE, len(idle))]]

    def at_stake(self, now: float) -> list[JobId]:
        """Jobs that are not only kept for a neighbour, and in which something happened lately."""
        return [job for job in self._lately(now) if self.is_own(job)]

    def to_relay(self, jobs: Iterable[JobId], by: PeerId, connected: Collection[PeerId]) -> list[JobId]:
        """Those of these jobs that `by`, a neighbour, is asked to keep for us."""
        out = []
        for job in jobs:
            if self._log.publishers(job) & {self._log.own.origin, *connected}:
                continue
            if not self.is_own(job):
                continue  # a relay asks for no relays
            ranked = sorted(connected, key=lambda peer: hash_of(job.encode(), peer.encode()))
            if by in ranked[:RELAYS]:
                out.append(job)
        return out

    def _lately(self, now: float) -> dict[JobId, None]:
        """Jobs in which something happened in the last minute."""
        return {job: None for job in self.kept if self._stirred.get(job, -math.inf) + STIRRED > now}

    def _asked_for(self, job: JobId, now: float) -> bool:
        return max(self._followed.get(job, 0.0), self._relayed.get(job, 0.0)) > now

    def _concerns(self, job: JobId) -> bool:
        return self._log.own.origin in self._log.speakers(job) or self._takes_part(job)
