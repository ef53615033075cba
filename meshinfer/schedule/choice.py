"""Start this task, wait, stand by, or leave it? The one place where peers with copies of a content come to differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.facts import MAX_EPOCH
from meshinfer.model.ids import PeerId, TaskId, unit_of
from meshinfer.schedule.job import JobState, Mine
from meshinfer.schedule.lease import PATIENCE
from meshinfer.schedule.presence import Presence
from meshinfer.schedule.rank import ranked
from meshinfer.schedule.sketch import may_hold

SETTLE = 1.0
"""Seconds that a task waits for the manifests of peers that may hold a copy. A manifest takes tens of milliseconds."""

PROMPT = 0.5
MEETING = 1.5
CATCH_UP = 2.0
"""A job that was older than PROMPT when it reached this peer, or published before it met somebody or within MEETING
seconds after, is joined late: others may be at work, unknown as yet, and the records of one sync come in no order of
time. CATCH_UP seconds later every claim of what they had begun has come: they speak every RENEW seconds."""


class Choice(NamedTuple):
    start: bool
    until: float = math.inf
    """Look again then, at the latest. (A lease that ends is looked at by itself.)"""
    stands_by: PeerId | None = None
    over: bool = False
    epoch: int = 0
    """Of the claim, where it starts."""


class View(NamedTuple):
    """What is known of the others."""

    me: PeerId
    presence: Presence
    sources: Mapping[PeerId, Mapping[str, SourceSummary]]
    weights: Mapping[PeerId, int]
    given: dict[TaskId, tuple[PeerId, float]]
    """Tasks that were handed over: to whom, and until when we wait for their claim."""
    alike: Mapping[str, Sequence[JobState]]
    """Jobs by their work: those that do the same have tasks in common."""


def choose(job: JobState, mine: Mine, now: float, view: View) -> Choice:
    """What to do with a pending task of an open job."""
    task, me = mine.task, view.me
    if not job.is_shared:
        return Choice(start=True)
    if job.fate(task, untried=me) is not None:
        return Choice(start=False, over=True)
    ended = job.ended(task)
    if now < mine.taken:
        return Choice(start=True, epoch=_next_epoch(job, mine, me, now))
    at_work = [(-claimed, peer) for claimed, peer in job.at_work(task, now, me) if peer != me]
    if at_work:
        return Choice(start=False, stands_by=min(at_work)[1])
    if (elsewhere := _at_work_for_another(job, mine, now, view)) is not None:
        return Choice(start=False, stands_by=elsewhere[1], until=elsewhere[0])
    to, until = view.given.get(task, (me, -math.inf))
    if now < until:
        return Choice(start=False, until=until, stands_by=to)
    settled = job.heard + (CATCH_UP if job.late else SETTLE)
    if now < settled and (job.late or any(_may_claim(job, peer, mine, view) for peer in view.sources)):
        return Choice(start=False, until=settled)
    others = [peer for peer in job.holders(task) if peer not in ended and peer != me]
    able = [peer for peer in others if now < job.lease(peer) and not job.defers(peer)]
    if able:
        passed = _passed(job, mine, now)
        able = [peer for peer in able if peer not in passed]
    before = _did_before(job, task, view) & {me, *able}
    first = ranked(unit_of(task), before or {me, *able}, view.weights)[0]
    if first == me:
        return Choice(start=True, epoch=_next_epoch(job, mine, me, now))
    since = mine.since if first == mine.stands_by else now
    return Choice(start=False, stands_by=first, until=max(since, job.leases.got_on(first)) + PATIENCE)


def _passed(job: JobState, mine: Mine, now: float) -> frozenset[PeerId]:
    """Whom this task was left to for too long."""
    peer = mine.stands_by
    if peer is not None and now >= max(mine.since, job.leases.got_on(peer)) + PATIENCE:
        mine.passed |= {peer}
    return mine.passed


def _at_work_for_another(job: JobState, mine: Mine, now: float, view: View) -> tuple[float, PeerId] | None:
    """(until when, who): its lease in the job for which it does the same."""
    for other in view.alike[job.work]:
        if other is not job and other.is_open(now):
            for _, peer in other.claimed(mine.task, view.me):
                if peer not in other.ended(mine.task) and job.holds(peer, mine.task) and now < other.lease(peer):
                    return other.lease(peer), peer
    return None


def _did_before(job: JobState, task: TaskId, view: View) -> set[PeerId]:
    """Who has done the same task for another job: for them it is no work."""
    others = (other for other in view.alike[job.work] if other is not job)
    return {peer for other in others for peer, outcome in other.ended(task).items() if outcome.done}


def wins(one: tuple[int, PeerId], other: tuple[int, PeerId], task: TaskId) -> bool:
    """Of two (epoch, peer) that run one task, whether `one` has it: the higher epoch, then the lower rank."""
    (epoch, peer), (other_epoch, other_peer) = one, other
    if epoch != other_epoch:
        return epoch > other_epoch
    return ranked(unit_of(task), (peer, other_peer), {})[0] == peer


def _next_epoch(job: JobState, mine: Mine, me: PeerId, now: float) -> int:
    """Above whatever another has stated of the task. Our own, from before a restart, is as good as new."""
    task = mine.task
    stated = [epoch for epoch, peer in job.claimed(task, me) if job.holds(peer, task)]
    if task in job.epochs:
        stated.append(job.epochs[task])
    own = job.working.get(me, {}).get(task, 0)
    return min(MAX_EPOCH, max(own, 1 if now < mine.taken else 0, max(stated, default=-1) + 1))


def _may_claim(job: JobState, peer: PeerId, mine: Mine, view: View) -> bool:
    """Whether a manifest that names this task may still come from `peer`."""
    if peer == view.me or not view.presence.counts(peer) or job.manifest_complete(peer):
        return False
    return any(may_hold(source.sketch, mine.entry.content) for source in view.sources[peer].values())
