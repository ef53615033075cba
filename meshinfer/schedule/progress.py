"""How far a job is, in the whole mesh, as this peer knows it from the records."""

from __future__ import annotations

from collections import Counter
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
    open_tasks: set[TaskId] = set()
    for task in sorted(tasks):
        if (canonical := job.canonical(task)) is not None:
            winners[task] = canonical[0]
        elif not job.is_over(task):
            open_tasks.add(task)
    failed = len(tasks) - len(winners) - len(open_tasks)
    running = open_tasks & job.running.union(*(by for peer, by in job.working.items() if state.live(peer)))
    shares = {peer: _share(job, peer, held[peer], state) for peer in sorted(held)}
    present = {state.me, *state.connected}
    missing = tuple(peer for peer in sorted(held) if peer not in present and held[peer] & open_tasks)
    counted = _counted(job, winners, shares, held)
    return Progress(
        _stage(job, tasks, open_tasks, running, held, missing, now),
        len(tasks),
        len(winners),
        failed,
        len(running),
        0 if job.cancelled is not None else len(open_tasks) - len(running),
        _expected(shares, held),
        counted[0],
        counted[1],
        shares,
        missing,
        winners,
    )


def _stage(
    job: JobState,
    tasks: set[TaskId],
    open_tasks: set[TaskId],
    running: set[TaskId],
    held: dict[PeerId, frozenset[TaskId]],
    missing: tuple[PeerId, ...],
    now: float,
) -> Stage:
    if job.cancelled is not None:
        return "cancelled"
    if tasks and not open_tasks:
        return "done"
    if not job.is_open(now):
        return "expired"
    if not tasks:
        return "waiting"
    reachable = any(peer not in missing and mine & open_tasks for peer, mine in held.items())
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


def _expected(shares: dict[PeerId, Share], held: dict[PeerId, frozenset[TaskId]]) -> int:
    """Frames in all, as far as the containers tell, copies counted once: exact where a peer's entries are alike."""
    copies = Counter(task for tasks in held.values() for task in tasks)
    return round(sum(shares[p].frames * sum(1 / copies[t] for t in held[p]) / len(held[p]) for p in held if held[p]))


def _counted(
    job: JobState,
    winners: dict[TaskId, PeerId],
    shares: dict[PeerId, Share],
    held: dict[PeerId, frozenset[TaskId]],
) -> tuple[int, int]:
    """Frames and detections, a task that two peers did counted once."""
    frames = sum(share.analysed for share in shares.values())
    detections = sum(share.detections for share in shares.values())
    for task, winner in winners.items():
        for peer, outcome in job.outcomes[task].items():
            if peer != winner and task in held.get(peer, ()):
                frames -= outcome.frames
                detections -= outcome.detections
    return frames, detections
