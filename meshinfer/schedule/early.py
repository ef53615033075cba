"""Facts that outran their job: the order in which records come is nobody's promise."""

from __future__ import annotations

from meshinfer.model.facts import Claim, Manifest, Outcomes
from meshinfer.model.ids import JobId, PeerId

OfJob = Manifest | Claim | Outcomes
"""Facts that mean something only to who knows the job."""

MAX_EARLY = 10_000
"""Facts kept for jobs that are not known yet. Beyond, those of the job that has waited longest go."""


class Early:
    def __init__(self) -> None:
        self._facts: dict[JobId, list[tuple[PeerId, OfJob, float]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def keep(self, origin: PeerId, fact: OfJob, born: float) -> None:
        self._facts.setdefault(fact.job, []).append((origin, fact, born))
        self._count += 1
        while self._count > MAX_EARLY:
            self.take(next(iter(self._facts)))

    def take(self, job: JobId) -> list[tuple[PeerId, OfJob, float]]:
        """What was kept for a job, in the order in which it came; kept no longer."""
        facts = self._facts.pop(job, [])
        self._count -= len(facts)
        return facts
