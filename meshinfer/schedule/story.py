"""What happened to a task and why: who has it, who had it, who is waited for. From records alone, so that every peer
that follows the job tells the same story.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

from msgspec import Struct

from meshinfer.model.ids import PeerId, TaskId, UnitId, span_of, task_id, unit_of
from meshinfer.schedule.job import JobState
from meshinfer.schedule.rank import ranked
from meshinfer.schedule.state import ScheduleState

Condition = Literal["running", "queued", "waiting", "done", "failed", "cancelled", "expired"]
ORDER: tuple[Condition, ...] = ("running", "queued", "waiting", "failed", "done", "cancelled", "expired")

MAX_TOLD = 10_000
"""Different tasks of one job that are looked at for one answer."""


class TaskStory(Struct, frozen=True):
    condition: Condition
    peer: PeerId | None
    """Who has it, did it, or is waited for."""
    why: str


class Strand(Struct, frozen=True):
    """Tasks of a job with the same story."""

    story: TaskStory
    tasks: int
    example: TaskId


def explain(state: ScheduleState, job: JobState, now: float) -> list[Strand]:
    """The stories of all tasks, those that are alike together: what goes on first, then the more numerous."""
    counts: dict[tuple[Condition, PeerId | None, str], tuple[int, TaskId]] = {}
    for example, tasks in islice(_alike(job), MAX_TOLD):
        told = story(state, job, example, now)
        count, first = counts.get((told.condition, told.peer, told.why), (0, example))
        counts[told.condition, told.peer, told.why] = count + tasks, first
    strands = [Strand(TaskStory(*key), count, example) for key, (count, example) in counts.items()]
    return sorted(strands, key=lambda s: (ORDER.index(s.story.condition), -s.tasks, s.example))


def _alike(job: JobState) -> Iterator[tuple[TaskId, int]]:
    """A task, and how many there are of which the same is known: spans of a unit differ in what was said of them."""
    counts: dict[UnitId, set[int]] = {}
    for units in job.held.values():
        for unit, count in units.items():
            counts.setdefault(unit, set()).add(count)
    spoken: dict[UnitId, set[int]] = {}
    for task in {*job.outcomes, *(task for tasks in job.working.values() for task in tasks)}:
        spoken.setdefault(unit_of(task), set()).add(span_of(task))
    for unit in sorted(counts):
        own = sorted(span for span in spoken.get(unit, ()) if span < max(counts[unit]))
        yield from ((task_id(unit, span), 1) for span in own)
        start = 0
        for end in sorted(counts[unit]):  # beyond, it is of fewer holders
            said = {span for span in own if start <= span < end}
            if plain := end - start - len(said):
                yield task_id(unit, next(span for span in range(start, end) if span not in said)), plain
            start = end


def story(state: ScheduleState, job: JobState, task: TaskId, now: float) -> TaskStory:
    match job.fate(task):
        case "done":
            return _done(state, job, task)
        case "failed":
            return TaskStory("failed", None, _failures(state, job, task))
    tried = _failures(state, job, task)
    before = f"; {tried}" if tried else ""
    if job.cancelled is not None:
        return TaskStory("cancelled", None, f"cancelled: {job.cancelled}{before}")
    if at_work := _at_work(state, job, task, now):
        epoch, peer = at_work[0]
        others = [state.called(other) for _, other in at_work[1:]]
        also = f"; {', '.join(others)} runs it too, not having heard of that" if others else ""
        return TaskStory("running", peer, _how_it_came(state, job, task, peer, epoch) + also + before)
    if not job.is_open(now):
        return TaskStory("expired", None, f"nobody began it before the job expired{before}")
    return _pending(state, job, task, now, before)


def _done(state: ScheduleState, job: JobState, task: TaskId) -> TaskStory:
    winner = job.canonical(task)
    assert winner is not None
    peer, outcome = winner
    why = _how_it_came(state, job, task, peer, outcome.epoch)
    twice = sorted(p for p, o in job.ended(task).items() if o.done and p != peer)
    if twice:
        why += f"; done by {', '.join(state.called(p) for p in twice)} too, and counted once"
    if job.disputed(task):
        why += "; THEIR RESULTS DIFFER"
    if failed := _failures(state, job, task):
        why += f"; {failed}"
    return TaskStory("done", peer, why.removeprefix("; "))


def _at_work(state: ScheduleState, job: JobState, task: TaskId, now: float) -> list[tuple[int, PeerId]]:
    """Who runs it, whoever has it first."""
    found = job.at_work(task, now, state.me)
    rank = ranked(unit_of(task), [peer for _, peer in found], {})
    return sorted(found, key=lambda item: (-item[0], rank.index(item[1])))


def _how_it_came(state: ScheduleState, job: JobState, task: TaskId, peer: PeerId, epoch: int) -> str:
    if epoch == 0:
        return ""
    had = [state.called(other) for other in job.trail.get(task, ()) if other != peer]
    return f"taken over from {', then '.join(had)}" if had else f"taken over ({epoch} before had or could have had it)"


def _pending(state: ScheduleState, job: JobState, task: TaskId, now: float, before: str) -> TaskStory:
    left = [peer for peer in job.holders(task) if peer not in job.ended(task)]
    here = [peer for peer in left if state.live(peer, job, now)]
    able = [peer for peer in here if not job.defers(peer) and not (peer == state.me and state.excuse(job))]
    weights = {peer: fact.cores for peer, fact in state.peers.items()}
    if able:
        first, *rest = ranked(unit_of(task), able, weights)
        others = f"; {', '.join(state.called(peer) for peer in rest)} would take over" if rest else ""
        return TaskStory("queued", first, f"its turn comes at {state.called(first)}{others}{before}")
    if here:
        reasons = [f"{state.called(peer)} starts nothing: {_excuse(state, job, peer)}" for peer in here]
        return TaskStory("waiting", here[0], "; ".join(reasons) + before)
    if not left:
        return TaskStory("waiting", None, f"no other peer holds it{before}")
    names = " or ".join(state.called(peer) for peer in left)
    return TaskStory(
        "waiting", left[0], f"only {names} {'holds' if len(left) == 1 else 'hold'} it, not heard from{before}"
    )


def _excuse(state: ScheduleState, job: JobState, peer: PeerId) -> str:
    return state.excuse(job) if peer == state.me else job.deferral(peer)


def _failures(state: ScheduleState, job: JobState, task: TaskId) -> str:
    failed = [(peer, o) for peer, o in sorted(job.ended(task).items()) if not o.done]
    return "; ".join(f"failed at {state.called(peer)} ({o.error_kind or 'host'}: {o.error})" for peer, o in failed)
