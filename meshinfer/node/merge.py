"""What a job found, from every peer that took part, each task once: what `meshinfer results` writes down.

Where several peers did a task, the canonical one's result is taken; where it cannot be reached, another's, which is the
same but for a machine that computes otherwise. Tasks that nobody has finished give what there is of them so far.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
import trio

from meshinfer.errors import MeshError, ProtocolError
from meshinfer.model.ids import ModelDigest, PeerId, TaskId, digest_of
from meshinfer.node.findings import Finding, Findings
from meshinfer.node.replay import Found
from meshinfer.node.views import event_view, job_view, missing_view
from meshinfer.schedule.job import JobState
from meshinfer.schedule.progress import progress
from meshinfer.schedule.state import ScheduleState
from meshinfer.wire.messages import Picture, ResultsEnd, ResultsOf, Tasks


async def merged(
    state: ScheduleState, findings: Findings, job: JobState, ask: ResultsOf
) -> AsyncGenerator[dict[str, Any], None]:
    """Lines of `data`, peer after peer, then the `end` (docs/CONTROL.md)."""
    now = progress(state, job, trio.current_time())
    reachable = {state.me, *state.connected}
    missing: dict[PeerId, str] = dict.fromkeys(now.missing, "not connected")
    winners: dict[TaskId, PeerId] = {}
    for task, winner in now.winners.items():
        here = job.canonical(task, reachable)
        winners[task] = here[0] if here else winner
        if here is None:
            missing[winner] = "not connected"
    refused: list[PeerId] = []
    digests: list[str] = []
    for peer in sorted(now.shares.keys() & reachable):
        name = state.called(peer)
        try:
            async with aclosing(findings.of(peer, ask)) as answers:
                async for finding in answers:
                    match finding:
                        case Tasks():
                            digests += [
                                f"{report.content}:{report.digest}"
                                for report in finding.tasks
                                if winners.get(report.task, peer) == peer
                            ]
                        case ResultsEnd(pixels_refused=True):
                            refused.append(peer)
                    for line in _lines(state, job, finding, peer, name, winners):
                        yield {"data": line}
        except (MeshError, ProtocolError) as e:
            missing[peer] = str(e)
    view = job_view(state, job, trio.current_time())
    yield {
        "end": {
            "job": view,
            "partial": bool(missing) or view["state"] not in ("done", "cancelled", "expired"),
            "missing": missing_view(state, missing),
            "pixels_refused": [{"peer": p, "name": state.called(p)} for p in refused],
            "digest": digest_of(sorted(digests)),
        }
    }


def _model(job: JobState, peer: PeerId, task: TaskId) -> ModelDigest:
    """What this peer did a task with, as far as it has told."""
    outcome = job.outcomes.get(task, {}).get(peer)
    return job.model_of(peer, outcome) if outcome else job.info.model_for(peer)


def _lines(
    state: ScheduleState, job: JobState, finding: Finding, peer: PeerId, name: str, winners: dict[TaskId, PeerId]
) -> list[dict[str, Any]]:
    who = {"peer": peer, "peer_name": name}
    match finding:
        case Tasks():
            reports = [report for report in finding.tasks if winners.get(report.task, peer) == peer]
            return [{"task": {**msgspec.structs.asdict(r), **who, "model": _model(job, peer, r.task)}} for r in reports]
        case Found():
            events = [event for event in finding.events if winners.get(event.task, peer) == peer]
            return [{"event": event_view(state, event)} for event in events]
        case Picture():
            where = {"source": finding.source, "entry": finding.entry, "frame": finding.frame}
            return [{"picture": {**who, **where, "jpeg_base64": base64.b64encode(finding.jpeg).decode()}}]
        case ResultsEnd():
            return []
