"""What a roll-out has shown so far: the outcomes of the jobs under its channel, the candidate's and the others'.

Footage differs between peers more than models do, so a canary is compared with itself first: with what it did earlier
under the same channel, with the model that the candidate is to replace and the same `detect` and `then`.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from meshinfer.model.channel import Channel
from meshinfer.model.ids import PeerId
from meshinfer.model.job import Detect, Then
from meshinfer.schedule.job import JobState
from meshinfer.schedule.tally import Tally


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
    out = Tally()
    for tally in tallies:
        out = out.plus(tally)
    return out


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
    tried, trial = under(channel, jobs), channel.trial
    canaries: dict[PeerId, Tally] = {}
    earlier: dict[PeerId, Tally] = {}
    rest, absent = Tally(), 0
    if trial is None:
        return Evidence(canaries, earlier, rest)
    for job in tried:
        for peer, model, tally in job.tallies or ():
            if peer not in job.held:
                continue  # what it says of data that it does not hold is not heard
            if peer not in trial.peers:
                rest = rest.plus(tally)
            elif model == trial.candidate.model:
                canaries[peer] = canaries.get(peer, Tally()).plus(tally)
        if job.tallies is not None:
            absent += sum(map(job.tallies.absent, trial.peers))
    of_trial, alike = {job.id for job in tried}, {_rules(job) for job in tried}
    replaced = channel.before if channel.move == "promote" else channel.stable
    for job in jobs:
        of_channel = job.info.spec is not None and job.info.spec.model == channel.name
        if not of_channel or job.id in of_trial or _rules(job) not in alike:
            continue
        for peer, model, tally in job.tallies or ():
            if peer in canaries and peer in job.held and replaced is not None and model == replaced.model:
                earlier[peer] = earlier.get(peer, Tally()).plus(tally)
    return Evidence(canaries, earlier, rest, absent)


def _rules(job: JobState) -> tuple[Detect, Then | None, int] | None:
    spec = job.info.spec
    return None if spec is None else (spec.detect, spec.then, spec.limits.detections)
