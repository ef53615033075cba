"""How far a job is, in the whole mesh, as this peer knows it from the records."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from meshinfer.model.ids import PeerId, TaskId
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
    """Holders that cannot be reached and have not finished their part."""
    winners: dict[TaskId, PeerId]
    """Whose result counts, for each task that is done."""


def progress(state: ScheduleState, job: JobState, now: float) -> Progress:
    held = dict(job.held)
    tasks: set[TaskId] = set().union(*held.values()) if held else set()
    winners: dict[TaskId, PeerId] = {}
    failed = 0
    for task in sorted(tasks):
        if (canonical := job.canonical(task)) is not None:
            winners[task] = canonical[0]
        elif job.is_over(task):
            failed += 1
    working = {
        task: peer for peer, claimed in sorted(job.working.items()) if state.live(peer) for task in sorted(claimed)
    }
    running = {task for task in working if task not in winners}
    if job.cancelled is None:
        running |= job.running
    shares = {peer: _share(job, peer, held[peer], state) for peer in sorted(held)}
    left = tasks - winners.keys()
    pending = len(left) - failed - len(running & left)
    present = {state.me, *state.connected}
    missing = tuple(peer for peer in sorted(held) if peer not in present and any(t in left for t in held[peer]))
    counted = _counted(job, winners, shares)
    return Progress(
        _stage(job, tasks, len(winners) + failed, running, missing, held, now),
        len(tasks),
        len(winners),
        failed,
        len(running),
        0 if job.cancelled is not None else max(0, pending),
        sum(page.frames for pages in job.manifests.values() for n, page in pages.items() if n < page.pages),
        counted[0],
        counted[1],
        shares,
        missing,
        winners,
    )


def _stage(
    job: JobState,
    tasks: set[TaskId],
    over: int,
    running: set[TaskId],
    missing: tuple[PeerId, ...],
    held: dict[PeerId, frozenset[TaskId]],
    now: float,
) -> Stage:
    if job.cancelled is not None:
        return "cancelled"
    if tasks and over == len(tasks):
        return "done"
    if not job.is_open(now):
        return "expired"
    if not tasks:
        return "waiting"
    reachable = [peer for peer, mine in held.items() if peer not in missing and mine]
    return "running" if running or reachable else "waiting"


def _share(job: JobState, peer: PeerId, mine: frozenset[TaskId], state: ScheduleState) -> Share:
    ended = [o for task in mine if (o := job.outcomes.get(task, {}).get(peer)) is not None]
    claim = job.claims.get(peer)
    frames = sum(page.frames for n, page in job.manifests.get(peer, {}).items() if n < page.pages)
    analysed, detections = sum(o.frames for o in ended), sum(o.detections for o in ended)
    if peer == state.me:
        extra = [job.mine[task] for task in job.running]
        analysed += sum(m.analysed for m in extra)
        detections += sum(m.detections for m in extra)
    elif claim is not None:
        analysed, detections = max(analysed, claim.analysed), max(detections, claim.detections)
    return Share(
        len(mine),
        sum(o.done for o in ended),
        sum(not o.done for o in ended),
        len(job.running) if peer == state.me else len(claim.running) if claim else 0,
        analysed,
        frames,
        detections,
        claim.seconds if claim else 0.0,
    )


def _counted(job: JobState, winners: dict[TaskId, PeerId], shares: dict[PeerId, Share]) -> tuple[int, int]:
    """Frames and detections, a task that two peers did counted once."""
    frames = sum(share.analysed for share in shares.values())
    detections = sum(share.detections for share in shares.values())
    for task, winner in winners.items():
        for peer, outcome in job.outcomes[task].items():
            if peer != winner:
                frames -= outcome.frames
                detections -= outcome.detections
    return frames, detections
