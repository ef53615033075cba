"""How far a job is, in the whole mesh, as this peer knows it from the records."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from msgspec import Struct

from meshinfer.model.ids import PeerId, TaskId, UnitId, span_of, unit_of
from meshinfer.schedule.job import JobState
from meshinfer.schedule.state import ScheduleState

Stage = Literal["waiting", "running", "done", "cancelled", "expired"]


class Share(Struct, frozen=True):
    """One peer's part."""

    tasks: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    analysed: int = 0
    frames: int = 0
    detections: int = 0
    seconds: float = 0.0


class Progress(Struct, frozen=True):
    stage: Stage
    total: int
    done: int
    failed: int
    running: int
    pending: int
    frames: int
    analysed: int
    detections: int
    shares: dict[PeerId, Share]
    missing: tuple[PeerId, ...]
    """Holders that are not heard from and have not finished their part."""
    winners: dict[TaskId, PeerId]
    """Whose result counts, for each task that is done."""
    disputed: int = 0
    """Tasks of which peers came to different results."""


def progress(state: ScheduleState, job: JobState, now: float) -> Progress:
    # Costs what was said of the job, not what it consists of: a manifest names units, however many spans they have.
    spans: dict[UnitId, int] = {}
    for units in job.held.values():
        for unit, count in units.items():
            spans[unit] = max(count, spans.get(unit, 0))
    winners: dict[TaskId, PeerId] = {}
    over: set[TaskId] = set()
    failed: Counter[PeerId] = Counter()
    """Tasks that a peer has failed at, and that another holder may still do."""
    for task in sorted(job.outcomes):
        if (canonical := job.canonical(task)) is not None:
            winners[task] = canonical[0]
        if job.fate(task) is not None:
            over.add(task)
        else:
            failed.update(job.ended(task).keys())
    open_in = Counter(spans) - Counter(unit_of(task) for task in over)
    live = {peer for peer in job.held if state.live(peer, job, now)}
    at_work = {
        task
        for peer, tasks in job.working.items()
        if peer in live and peer != state.me
        for task in tasks
        if job.holds(peer, task)
    }
    known = {task for task in job.running if span_of(task) < spans.get(unit_of(task), 0)}
    running = (at_work | known) - over
    # Who holds an open task that it has not failed at.
    able = {peer for peer, units in job.held.items() if sum(open_in[unit] for unit in units) > failed[peer]}
    missing = tuple(sorted(able - live))
    pending = open_in.total()
    shares = _shares(state, job)
    frames, detections = _counted(job, winners, shares)
    return Progress(
        _stage(job, bool(spans), bool(open_in), bool(running or able & live), now),
        sum(spans.values()),
        len(winners),
        len(over) - len(winners),
        len(running),
        0 if job.cancelled is not None else pending - len(running),
        _expected(job, shares),
        frames,
        detections,
        shares,
        missing,
        winners,
        sum(job.disputed(task) for task in winners),
    )


def _stage(job: JobState, tasks: bool, left: bool, goes_on: bool, now: float) -> Stage:
    if job.cancelled is not None:
        return "cancelled"
    if tasks and not left:
        return "done"
    if not job.is_open(now):
        return "expired"
    return "running" if tasks and goes_on else "waiting"


def _shares(state: ScheduleState, job: JobState) -> dict[PeerId, Share]:
    done, failed, frames, found = (Counter[PeerId]() for _ in range(4))
    for task in job.outcomes:
        for peer, outcome in job.ended(task).items():
            (done if outcome.done else failed)[peer] += 1
            frames[peer] += outcome.frames
            found[peer] += outcome.detections
    shares = {}
    for peer in sorted(job.held):
        claim = job.claims.get(peer)
        analysed, detections, running = frames[peer], found[peer], 0
        if peer == state.me:
            running = len(job.running)
            analysed += sum(job.mine[task].analysed for task in job.running)
            detections += sum(job.mine[task].detections for task in job.running)
        elif claim is not None:
            running = len(claim.running)
            analysed, detections = max(analysed, claim.analysed), max(detections, claim.detections)
        shares[peer] = Share(
            sum(job.held[peer].values()),
            done[peer],
            failed[peer],
            running,
            analysed,
            sum(page.frames for n, page in job.manifests[peer].items() if n < page.pages),
            detections,
            claim.seconds if claim else 0.0,
        )
    return shares


def _expected(job: JobState, shares: dict[PeerId, Share]) -> int:
    """Frames in all, as far as the containers tell, copies counted once: exact where a peer's entries are alike."""
    copies = Counter(unit for units in job.held.values() for unit in units)
    parts = 0.0
    for peer, units in job.held.items():
        if tasks := shares[peer].tasks:
            parts += shares[peer].frames * sum(count / copies[unit] for unit, count in units.items()) / tasks
    return round(parts)


def _counted(job: JobState, winners: dict[TaskId, PeerId], shares: dict[PeerId, Share]) -> tuple[int, int]:
    """Frames and detections, a task that two peers did counted once."""
    frames = sum(share.analysed for share in shares.values())
    detections = sum(share.detections for share in shares.values())
    for task, winner in winners.items():
        for peer, outcome in job.ended(task).items():
            if peer != winner:
                frames -= outcome.frames
                detections -= outcome.detections
    return frames, detections
