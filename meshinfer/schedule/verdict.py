"""What this peer does, or would do, with a job, and why: the answer to people's "why is nothing happening?"."""

from __future__ import annotations

from meshinfer.model.ids import PeerId
from meshinfer.model.job import JobInfo
from meshinfer.model.spans import cut, frames_expected
from meshinfer.model.verdict import TaskError, Verdict
from meshinfer.schedule.job import JobState
from meshinfer.schedule.state import ScheduleState

MAX_ERRORS = 32
MAX_REASON = 500
"""Characters: `Text` carries 512."""


def on_job(state: ScheduleState, job: JobState, now: float) -> Verdict:
    """About a job that this peer knows."""
    spec = job.info.spec
    if spec is None:
        return Verdict("declines", job.info.unclear, cause="spec")
    skipped = state.holdings.skipped(spec, state.models.takes_series(job.info))
    if not job.mine:
        return Verdict("declines", _why_none(state, job.info), cause=_cause(state, job.info), skipped=skipped)
    elsewhere = {task for task in job.mine if state.me not in job.outcomes.get(task, {}) and job.canonical(task)}
    left_to = [
        mine.stands_by
        for task, mine in job.mine.items()
        if mine.status == "pending" and mine.stands_by and task not in elsewhere
    ]
    idle = len(left_to) + len(elsewhere)
    frames, detections = job.tally
    return Verdict(
        "runs" if idle < len(job.mine) else "stands by",
        _about(state, job, left_to, len(elsewhere), now)[:MAX_REASON],
        tasks=len(job.mine),
        frames=sum(frames_expected(spec, m.entry, m.first, m.stop) for m in job.mine.values()),
        stands_by=idle,
        running=len(job.running),
        analysed=frames + sum(job.mine[task].analysed for task in job.running),
        detections=detections + sum(job.mine[task].detections for task in job.running),
        skipped=skipped,
        errors=_tell(state, job, done=False),
        notices=_tell(state, job, done=True),
    )


def on_spec(state: ScheduleState, info: JobInfo) -> Verdict:
    """About a job that nobody has published: what this peer holds for it and would run, were there no copies
    elsewhere.
    """
    spec = info.spec
    if spec is None:
        return Verdict("declines", info.unclear, cause="spec")
    series = state.models.takes_series(info)
    picked, skipped = state.holdings.picked(spec, series), state.holdings.skipped(spec, series)
    if not picked or state.declines(info) is not None:
        return Verdict("declines", _why_none(state, info), cause=_cause(state, info), skipped=skipped)
    return Verdict(
        "runs",
        f"not now: {state.no_room}" if state.no_room else state.lacks(info)[:MAX_REASON],
        tasks=sum(cut(spec, entry).spans for entry in picked),
        frames=sum(frames_expected(spec, entry) for entry in picked),
        skipped=skipped,
    )


def _cause(state: ScheduleState, info: JobInfo) -> str:
    """What about the job itself keeps this peer from it, whatever it holds."""
    if state.models.unfit(info):
        return "classes"
    return "model" if state.models.missing(info) and state.declines(info) is not None else ""


def _why_none(state: ScheduleState, info: JobInfo) -> str:
    """The first reason that would still hold were the later ones mended: the job itself, footage, the model."""
    assert info.spec is not None
    if _cause(state, info) == "classes":
        return state.declines(info) or ""
    if not state.holdings.entries:
        return "holds no footage" if state.holdings.scanned else "still looking through its sources"
    if not state.holdings.picked(info.spec, state.models.takes_series(info)):
        return "nothing it holds matches" if state.holdings.scanned else "nothing it has found so far matches"
    return state.declines(info) or "what matches was found after the job expired"


def _about(state: ScheduleState, job: JobState, left_to: list[PeerId], elsewhere: int, now: float) -> str:
    parts = []
    if job.cancelled is not None:
        parts.append(f"cancelled: {job.cancelled}")
    elif not job.is_open(now):
        parts.append("expired")
    elif state.no_room:
        parts.append(f"starts no tasks now: {state.no_room}")
    elif job.lacks_model and job.has_open:
        parts.append(state.lacks(job.info))
    left = sorted(set(left_to))
    parts += [f"leaves {left_to.count(peer)} to {state.called(peer)}, which holds copies" for peer in left]
    if elsewhere:
        parts.append(f"{elsewhere} done by others that hold copies")
    return "; ".join(parts)


def _tell(state: ScheduleState, job: JobState, *, done: bool) -> tuple[TaskError, ...]:
    """What our own outcomes say: why tasks failed, or what is to be known of those that are done."""
    told = []
    for task, mine in job.mine.items():
        outcome = job.outcomes.get(task, {}).get(state.me)
        if outcome is None or outcome.done != done or (done and not outcome.truncated):
            continue
        kind, message = ("input", outcome.truncated) if done else (outcome.error_kind, outcome.error)
        told.append(TaskError(mine.entry.source, mine.entry.name, kind, message))
    return tuple(told[:MAX_ERRORS])
