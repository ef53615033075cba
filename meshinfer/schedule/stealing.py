"""Idle holders ask busy ones for work (work stealing by request; Blumofe and Leiserson 1999).

The busy peer decides: what it hands over it does not start, so nothing runs twice while both live and hear each other.
It gives from the far end of its queue, at most half of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice

from meshinfer.model.ids import JobId, PeerId
from meshinfer.schedule.job import JobState, Mine
from meshinfer.schedule.stimuli import AskWork

ASK_EVERY = 1.0
"""Seconds between two questions of an idle peer: the answers tell what is new no faster."""

ASK_LATER = 4.0
"""After a question that brought nothing."""

MOST_AT_ONCE = 16
MOST_LOOKED_AT = 256
"""Tasks of the queue that one question makes us weigh."""


class Stealing:
    """The asking side."""

    def __init__(self) -> None:
        self.asked: AskWork | None = None
        """The last question, until it is answered."""
        self._next = -math.inf

    def deadline(self) -> float:
        """When to ask again, being idle."""
        return self._next

    def ask(self, jobs: Iterable[JobState], now: float) -> AskWork | None:
        """Whom an idle peer asks now: who says that most waits there, of what lies here too."""
        if now < self._next:
            return None
        wishes = [
            (-claim.queued, job.id, peer)
            for job in jobs
            for peer, claim in sorted(job.claims.items())
            if claim.queued and not claim.deferred and now < job.lease(peer) and _has_copies(job, peer)
        ]
        self._next = now + ASK_EVERY
        if not wishes:
            return None
        queued, job_id, peer = min(wishes)
        self.asked = AskWork(peer, job_id, min(MOST_AT_ONCE, (1 - queued) // 2))
        return self.asked

    def answered(self, peer: PeerId, job: JobId, tasks: int, now: float) -> bool:
        """Whether that was asked, and so may be answered."""
        if self.asked is None or (self.asked.peer, self.asked.job) != (peer, job):
            return False
        self.asked = None
        if not tasks:
            self._next = now + ASK_LATER
        return True


def spare(job: JobState, peer: PeerId, most: int, is_ours: Callable[[Mine], bool]) -> list[Mine]:
    """What may be handed over to `peer`, which holds it too: from the end of the queue, at most half of it."""
    found: list[Mine] = []
    for task in islice(reversed(job.ready), MOST_LOOKED_AT):
        if len(found) >= min(most, MOST_AT_ONCE, (len(job.ready) + 1) // 2):
            break
        mine = job.mine.get(task)
        if mine is not None and mine.status == "pending" and job.holds(peer, task) and is_ours(mine):
            found.append(mine)
    return found


def _has_copies(job: JobState, peer: PeerId) -> bool:
    """Whether we hold some of what waits there."""
    working = job.working.get(peer, {})
    return any(job.mine[task].stands_by == peer and task not in working for task in job.waiting)
