"""What a peer states about its part of a job: the bodies of its manifest, claim and result records."""

from __future__ import annotations

from collections.abc import Iterator

from meshinfer.model.facts import MAX_OUTCOMES, MAX_TASKS_A_PAGE, Claim, Manifest, Outcome, Outcomes
from meshinfer.model.ids import PeerId, TaskId
from meshinfer.schedule.holdings import frames_expected
from meshinfer.schedule.job import JobState

MAX_BODY = 40 * 1024
"""Bytes of outcomes in one record: errors may be sentences, and a record holds 48 KiB."""


def manifest(job: JobState, me: PeerId, *, scanned: bool) -> list[Manifest]:
    """All pages; none where the manifest as it is says it already, or where there was never anything to say."""
    tasks = set(job.mine)
    before = job.held.get(me)
    if not scanned:  # the first look is still under way: what an earlier run found is most likely still there
        tasks |= before or frozenset()
    if tasks == (before or frozenset()):
        return []
    spec = job.info.spec
    assert spec is not None
    ordered = sorted(tasks)
    parts = [ordered[i : i + MAX_TASKS_A_PAGE] for i in range(0, len(ordered), MAX_TASKS_A_PAGE)] or [[]]
    return [
        Manifest(
            job.id,
            page,
            len(parts),
            tuple(map(bytes.fromhex, part)),
            sum(frames_expected(spec, job.mine[task].entry) for task in part if task in job.mine),
        )
        for page, part in enumerate(parts)
    ]


def claim(job: JobState, now: float) -> Claim:
    frames, detections = job.tally
    running: list[TaskId] = sorted(job.running)
    for task in running:
        frames += job.mine[task].analysed
        detections += job.mine[task].detections
    seconds = 0.0 if job.began is None else round(now - job.began, 3)
    return Claim(job.id, tuple(map(bytes.fromhex, running)), frames, detections, seconds)


def outcomes(job: JobState) -> Iterator[Outcomes]:
    """Those that are no record yet, in records of bounded size."""
    part: list[Outcome] = []
    size = 0
    for outcome in job.unsaid:
        cost = 128 + len(outcome.error.encode()) + len(outcome.truncated.encode())
        if part and (size + cost > MAX_BODY or len(part) == MAX_OUTCOMES):
            yield Outcomes(job.id, tuple(part))
            part, size = [], 0
        part.append(outcome)
        size += cost
    if part:
        yield Outcomes(job.id, tuple(part))
