"""Start this task, wait, stand by, or leave it? The one place where peers with copies of a content come to differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.ids import PeerId
from meshinfer.schedule.job import JobState, Mine
from meshinfer.schedule.presence import Presence
from meshinfer.schedule.rank import ranked
from meshinfer.schedule.sketch import may_hold

SETTLE = 1.0
"""Seconds that a task waits for the manifests of peers that may hold a copy. A manifest takes tens of milliseconds."""

PROMPT = 0.5
CATCH_UP = 2.0
"""A job that was older than PROMPT when it reached this peer, or published before it met somebody, is joined late:
others may be at work, and the records of one sync come in no order of time. CATCH_UP seconds later every claim of what
they had begun has come."""


class Choice(NamedTuple):
    start: bool
    until: float = math.inf
    """Look again then, at the latest."""
    stands_by: PeerId | None = None
    over: bool = False


class View(NamedTuple):
    """What is known of the others."""

    me: PeerId
    presence: Presence
    sources: Mapping[PeerId, Mapping[str, SourceSummary]]
    weights: Mapping[PeerId, int]


def choose(job: JobState, mine: Mine, now: float, view: View) -> Choice:
    """What to do with a pending task of an open job."""
    task, spec, counts = mine.task, job.info.spec, view.presence.counts
    assert spec is not None
    if spec.scope == "every":
        return Choice(start=True)
    outcomes = job.outcomes.get(task, {})
    if any(o.done for o in outcomes.values()):
        return Choice(start=False, over=True)
    for peer, tasks in job.claimed(view.me):
        if task in tasks and peer not in outcomes and counts(peer):
            return Choice(start=False, stands_by=peer)
    settled = job.heard + (CATCH_UP if job.late else SETTLE)
    if now < settled and (job.late or any(_may_claim(job, peer, mine, view) for peer in view.sources)):
        return Choice(start=False, until=settled)
    others = [peer for peer in job.holders(task) if peer not in outcomes and counts(peer)]
    first = ranked(task, {view.me, *others}, view.weights)[0]
    return Choice(start=True) if first == view.me else Choice(start=False, stands_by=first)


def _may_claim(job: JobState, peer: PeerId, mine: Mine, view: View) -> bool:
    """Whether a manifest that names this task may still come from `peer`."""
    if peer == view.me or not view.presence.counts(peer) or job.manifest_complete(peer):
        return False
    return any(may_hold(source.sketch, mine.entry.content) for source in view.sources[peer].values())
