"""What a peer states about its part of a job: the bodies of its manifest, claim and result records, and when."""

from __future__ import annotations

from collections.abc import Iterator

from meshinfer.model.facts import (
    MAX_OUTCOMES,
    MAX_RUNNING,
    MAX_UNITS_A_PAGE,
    Claim,
    Fact,
    Holding,
    Manifest,
    Outcome,
    Outcomes,
    Running,
)
from meshinfer.model.ids import PeerId, TaskId, UnitId, span_of, unit_of
from meshinfer.model.spans import frames_expected
from meshinfer.schedule.job import JobState
from meshinfer.schedule.lease import RENEW

SAY_OUTCOMES = 0.25
SAY_CLAIM = 1.0
SAY_MANIFEST = 1.0
SAY_TAKEN = 0.25
"""Seconds between records of a kind for one job: progress is for people, and gossip carries 5 messages a second."""

MAX_BODY = 40 * 1024
"""Bytes of outcomes in one record: errors may be sentences, and a record holds 48 KiB."""


# ---- when ------------------------------------------------------------------------------------------------------------


def owe_manifest(job: JobState, now: float) -> None:
    if job.manifest_due is None:
        job.manifest_due = max(now, job.manifest_said + SAY_MANIFEST)


def owe_claim(job: JobState, now: float) -> None:
    due = max(now, job.claim_said + SAY_CLAIM)
    job.claim_due = due if job.claim_due is None else min(job.claim_due, due)


def owe_outcome(job: JobState, outcome: Outcome, now: float) -> None:
    job.unsaid.append(outcome)
    job.outcomes_due = now + SAY_OUTCOMES if job.outcomes_due is None else job.outcomes_due


def owe_renewal(job: JobState, me: PeerId, now: float) -> None:
    """Others leave work to us as long as they hear from us: while there is such work, they do."""
    if job.renew_at is None or job.renew_at > now:
        return
    job.renew_at = None
    if job.is_open(now) and has_copies_elsewhere(job, me):
        due = max(now, job.claim_said + RENEW)
        job.claim_due = due if job.claim_due is None else min(job.claim_due, due)
        job.renew_at = now + RENEW


def has_copies_elsewhere(job: JobState, me: PeerId) -> bool:
    """Whether another holds some of what is not over here."""
    shared = {unit for peer, units in job.held.items() if peer != me for unit in units}
    return bool(shared) and any(unit_of(task) in shared for task in job.open_here())


def said(job: JobState, me: PeerId, now: float, *, scanned: bool, deferred: str) -> Iterator[Fact]:
    """What is due now, in the order that matters to whoever holds copies: what we no longer work on is known to have
    ended, and who weighs our manifest knows already what we are at work on.
    """
    if job.unsaid and not job.running and not job.ready:
        job.claim_due = now
    claims = job.claim_due is not None and job.claim_due <= now
    if job.outcomes_due is not None and (job.outcomes_due <= now or claims or len(job.unsaid) >= MAX_OUTCOMES):
        yield from outcomes(job)
        job.unsaid, job.outcomes_due = [], None
    if claims:
        job.claim_due, job.claim_said = None, now
        yield claim(job, now, deferred)
    if job.manifest_due is not None and job.manifest_due <= now:
        job.manifest_due, job.manifest_said = None, now
        yield from manifest(job, me, scanned=scanned)


# ---- what ------------------------------------------------------------------------------------------------------------


def manifest(job: JobState, me: PeerId, *, scanned: bool) -> list[Manifest]:
    """All pages; none where the manifest as it is says it already, or where there was never anything to say."""
    units: dict[UnitId, int] = {}
    tasks = [*job.mine, *(task for task, ended in job.outcomes.items() if me in ended)]  # what we did, we stand by
    for task in tasks:
        units[unit_of(task)] = max(units.get(unit_of(task), 0), span_of(task) + 1)
    # Not what is written: a full disk may hold back one that says something else, and would have the last word.
    before = job.held.get(me, {}) if job.stated is None else job.stated
    if not scanned:  # the first look is still under way: what an earlier run found is most likely still there
        units = before | units
    if units == before:
        return []
    job.stated = units
    spec = job.info.spec
    assert spec is not None
    frames: dict[UnitId, int] = {}
    for task, mine in job.mine.items():
        expected = frames_expected(spec, mine.entry, mine.first, mine.stop)
        frames[unit_of(task)] = frames.get(unit_of(task), 0) + expected
    ordered = sorted(units)
    parts = [ordered[i : i + MAX_UNITS_A_PAGE] for i in range(0, len(ordered), MAX_UNITS_A_PAGE)] or [[]]
    return [
        Manifest(
            job.id,
            page,
            len(parts),
            tuple(Holding(bytes.fromhex(unit), units[unit]) for unit in part),
            sum(frames.get(unit, 0) for unit in part),
        )
        for page, part in enumerate(parts)
    ]


def claim(job: JobState, now: float, deferred: str) -> Claim:
    frames, detections = job.tally
    running: list[TaskId] = sorted(job.running)
    for task in running:
        frames += job.mine[task].analysed
        detections += job.mine[task].detections
    seconds = 0.0 if job.began is None else round(now - job.began, 3)
    named = tuple(Running(bytes.fromhex(task), job.mine[task].epoch) for task in running[:MAX_RUNNING])
    return Claim(job.id, named, frames, detections, seconds, len(job.ready), deferred[:500])


def outcomes(job: JobState) -> Iterator[Outcomes]:
    """Those that are no record yet, in records of bounded size."""
    part: list[Outcome] = []
    size = 0
    for outcome in job.unsaid:
        cost = 128 + len(outcome.error.encode()) + len(outcome.truncated.encode()) + 9 * len(outcome.scores)
        if part and (size + cost > MAX_BODY or len(part) == MAX_OUTCOMES):
            yield Outcomes(job.id, tuple(part))
            part, size = [], 0
        part.append(outcome)
        size += cost
    if part:
        yield Outcomes(job.id, tuple(part))
