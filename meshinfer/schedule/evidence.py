"""What a roll-out has shown so far: the outcomes of the jobs under its channel, the candidate's and the others'.

Footage differs between peers more than models do, so a canary is compared with itself first: with what it did earlier
under the same channel, with the model that the candidate is to replace and the same `detect`.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from meshinfer.model.channel import Channel
from meshinfer.model.facts import SCORE_BUCKETS, Outcome
from meshinfer.model.ids import PeerId
from meshinfer.model.job import Detect
from meshinfer.schedule.job import JobState

FAULTS = ("model", "host")
"""Errors that a model may be to blame for; a file that cannot be read says nothing of it."""


class Tally(Struct, frozen=True):
    """Outcomes, added up."""

    tasks: int = 0
    errors: int = 0
    frames: int = 0
    detections: int = 0
    seconds: float = 0.0
    scores: tuple[int, ...] = (0,) * SCORE_BUCKETS

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.tasks + other.tasks,
            self.errors + other.errors,
            self.frames + other.frames,
            self.detections + other.detections,
            self.seconds + other.seconds,
            tuple(a + b for a, b in zip(self.scores, other.scores, strict=True)),
        )

    @property
    def per_frame(self) -> float:
        """Detections per frame."""
        return self.detections / self.frames if self.frames else 0.0

    @property
    def fps(self) -> float:
        """Frames per second of work."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def score(self) -> float:
        """The mean score, by the buckets' middles."""
        count = sum(self.scores)
        return sum((i + 0.5) * n for i, n in enumerate(self.scores)) / SCORE_BUCKETS / count if count else 0.0


class Evidence(Struct, frozen=True):
    canaries: dict[PeerId, Tally]
    """Of the candidate, at each peer that has tried it."""
    before: dict[PeerId, Tally]
    """Of the channel's model, earlier, at the same peers."""
    rest: Tally
    """Of the channel's model, at all others, in the same jobs."""
    absent: int = 0
    """Tasks of canaries that lack the candidate."""

    @property
    def candidate(self) -> Tally:
        return total(self.canaries.values())


def total(tallies: Iterable[Tally]) -> Tally:
    return sum(tallies, Tally())


def under(channel: Channel, jobs: Iterable[JobState]) -> list[JobState]:
    """Jobs that try its candidate; the newest last."""
    trial = channel.trial
    found = [
        job
        for job in jobs
        if trial is not None
        and (spec := job.info.spec) is not None
        and spec.model == channel.name
        and spec.canary is not None
        and (spec.canary.model, spec.canary.peers) == (trial.candidate.model, trial.peers)
    ]
    return sorted(found, key=lambda job: (job.born, job.id))


def gather(channel: Channel, jobs: Iterable[JobState]) -> Evidence:
    """What the records that this peer keeps say of the roll-out that is under way, or was the last."""
    jobs = list(jobs)
    tried = under(channel, jobs)
    of_trial = {job.id for job in tried}
    canaries: dict[PeerId, Tally] = {}
    rest, absent = Tally(), 0
    for job in tried:
        spec = job.info.spec
        assert spec is not None
        assert spec.canary is not None
        for peer, outcome in _outcomes(job):
            if peer not in spec.canary.peers:
                rest += _tally(outcome)
            elif outcome.fallback == "absent":
                absent += 1
            elif outcome.fallback:
                canaries[peer] = canaries.get(peer, Tally()) + Tally(tasks=1, errors=1)
            else:
                canaries[peer] = canaries.get(peer, Tally()) + _tally(outcome)
    alike = {_rules(job) for job in tried}
    replaced = channel.before if channel.move == "promote" else channel.stable
    earlier: dict[PeerId, Tally] = {}
    for job in jobs:
        spec = job.info.spec
        if spec is None or spec.model != channel.name or job.id in of_trial or _rules(job) not in alike:
            continue
        for peer, outcome in _outcomes(job):
            if peer in canaries and replaced is not None and job.model_of(peer, outcome) == replaced.model:
                earlier[peer] = earlier.get(peer, Tally()) + _tally(outcome)
    return Evidence(canaries, earlier, rest, absent)


def _rules(job: JobState) -> tuple[Detect, int] | None:
    spec = job.info.spec
    return None if spec is None else (spec.detect, spec.limits.detections)


def _outcomes(job: JobState) -> Iterable[tuple[PeerId, Outcome]]:
    """As they were come to in this job, by those who hold the data."""
    for task in sorted(job.outcomes):
        for peer, outcome in sorted(job.ended(task).items()):
            if not outcome.reused and (outcome.done or outcome.error_kind in FAULTS):
                yield peer, outcome


def _tally(outcome: Outcome) -> Tally:
    scores = (*outcome.scores, *((0,) * SCORE_BUCKETS))[:SCORE_BUCKETS]
    return Tally(1, int(not outcome.done), outcome.frames, outcome.detections, outcome.seconds, scores)
