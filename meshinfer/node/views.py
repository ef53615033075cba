"""What the control socket says of jobs, peers and events: plain dicts, ready for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from meshinfer.mesh.offences import KeptOut
from meshinfer.model.detection import Detection, Event
from meshinfer.model.ids import ModelDigest, PeerId, reference_of
from meshinfer.model.verdict import TaskError, Verdict
from meshinfer.schedule.job import JobState
from meshinfer.schedule.progress import Progress, Share, progress
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.story import explain
from meshinfer.wire.messages import Inferred

View = dict[str, Any]


def event_view(state: ScheduleState, event: Event) -> View:
    view: View = msgspec.to_builtins(event)
    view["cursor"] = str(event.cursor)
    view["peer"], view["peer_name"] = event.peer, state.called(event.peer)
    view["wall"] = event.wall
    view["detections"] = detection_views(event.detections)
    return view


def seen_view(seen: Inferred) -> View:
    """What a model saw in one picture."""
    what = ("model", "digest", "width", "height", "seconds")
    return {key: getattr(seen, key) for key in what} | {"detections": detection_views(seen.detections)}


def detection_views(found: Iterable[Detection]) -> list[View]:
    return [{"label": d.label, "score": d.score, "box": list(d.box)} for d in found]


def verdict_view(state: ScheduleState, peer: PeerId, verdict: Verdict) -> View:
    return {"peer": peer, "name": state.called(peer), **msgspec.to_builtins(verdict), **_lists(verdict)}


def _lists(verdict: Verdict) -> View:
    """Present even when empty, and with names in place of positions."""
    return {
        "reason": verdict.reason,
        "tasks": verdict.tasks,
        "frames": verdict.frames,
        "stands_by": verdict.stands_by,
        "skipped": [{"reason": s.reason, "entries": s.entries} for s in verdict.skipped],
        "errors": [_told(e) for e in verdict.errors],
        "notices": [_told(e) for e in verdict.notices],
    }


def _told(e: TaskError) -> View:
    return {"source": e.source, "entry": e.entry, "kind": e.kind, "message": e.message}


def missing_view(state: ScheduleState, missing: dict[PeerId, str]) -> list[View]:
    return [{"peer": p, "name": state.called(p), "reason": why} for p, why in sorted(missing.items())]


def job_view(state: ScheduleState, job: JobState, now: float, verdicts: dict[PeerId, Verdict] | None = None) -> View:
    p = progress(state, job, now)
    verdicts = verdicts or {}
    stage: str = p.stage
    residents = {peer for peer in state.connected if peer not in state.peers or not state.peers[peer].guest}
    answered = bool(verdicts) and residents <= verdicts.keys()
    if stage == "waiting" and answered and not p.total and all(v.verdict == "declines" for v in verdicts.values()):
        stage = "declined"
    reused = Counter[PeerId]()
    for outcomes in job.outcomes.values():
        reused.update({peer: o.frames for peer, o in outcomes.items() if o.reused})
    models = _models_used(state, job)
    peers = sorted(p.shares.keys() | verdicts.keys())
    missing = dict.fromkeys(p.missing, "holds part of the job and is not heard from")
    return {
        "job": job.id,
        "name": job.name,
        "model": job.info.spec.model if job.info.spec else "?",
        "digest": job.info.order.model,
        "canary": _canary_view(state, job),
        "publisher": job.info.publisher,
        "publisher_name": state.called(job.info.publisher),
        "published": job.info.order.published,
        "expires_in": round(max(0.0, job.expires_at - now), 1),
        "scope": job.info.spec.scope if job.info.spec else "?",
        "state": stage,
        "why": job.cancelled or job.info.unclear,
        "spec": msgspec.to_builtins(job.info.spec) if job.info.spec else {},
        "tasks": {
            "total": p.total,
            "done": p.done,
            "failed": p.failed,
            "running": p.running,
            "pending": p.pending,
            "cancelled": p.total - p.done - p.failed if p.stage == "cancelled" else 0,
            "reused": sum(job.outcomes[task][peer].reused for task, peer in p.winners.items()),
        },
        "analysed": p.analysed,
        "frames": p.frames,
        "detections": p.detections,
        "seconds": max((share.seconds for share in p.shares.values()), default=0.0),
        "peers": [
            {**_peer_view(state, job, peer, p, verdicts.get(peer), reused[peer]), "models": models.get(peer, [])}
            for peer in peers
        ],
        "missing": missing_view(state, missing),
    }


def _canary_view(state: ScheduleState, job: JobState) -> View | None:
    """The roll-out that the job began under."""
    canary = job.info.spec.canary if job.info.spec else None
    if canary is None:
        return None
    peers = [{"peer": peer, "name": state.called(peer)} for peer in canary.peers]
    return {"model": canary.model, "reference": reference(state, canary.model), "peers": peers}


def _models_used(state: ScheduleState, job: JobState) -> dict[PeerId, list[View]]:
    """Of a job that tries a candidate: what each peer did its tasks with."""
    if job.info.spec is None or job.info.spec.canary is None:
        return {}
    used: dict[PeerId, Counter[ModelDigest]] = {}
    for task in job.outcomes:
        for peer, outcome in job.ended(task).items():
            if outcome.done:
                used.setdefault(peer, Counter())[job.model_of(peer, outcome)] += 1
    return {
        peer: [{"digest": m, "reference": reference(state, m), "tasks": n} for m, n in sorted(tasks.items())]
        for peer, tasks in used.items()
    }


def reference(state: ScheduleState, model: ModelDigest) -> str:
    """What people call a model: as its holders do, or as the channels do; else the start of its digest."""
    for _, fact in sorted(state.peers.items()):
        for held in fact.models:
            if held.digest == model:
                return reference_of(held.name, held.version)
    for said in state.channels.all():
        for version in (said.state.stable, said.state.before, said.state.trial and said.state.trial.candidate):
            if version and version.model == model:
                return version.reference
    return f"sha256:{model[:12]}"


def _peer_view(
    state: ScheduleState, job: JobState, peer: PeerId, p: Progress, verdict: Verdict | None, reused: int
) -> View:
    """`reused`: frames that it had analysed before."""
    share = p.shares.get(peer, Share())
    said = verdict or Verdict("runs" if share.tasks else "unknown")
    view = verdict_view(state, peer, said)
    view.update(msgspec.to_builtins(share) if share.tasks else {"done": 0, "failed": 0, "seconds": 0.0})
    if share.done + share.failed < share.tasks:
        view["waits"] = state.excuse(job) if peer == state.me else job.deferral(peer)
    view["connected"] = peer == state.me or peer in state.connected
    seconds = view["seconds"]
    view["fps"] = round(max(0, view.get("analysed", 0) - reused) / seconds, 1) if seconds else 0.0
    view.setdefault("analysed", 0)
    view.setdefault("running", 0)
    view.setdefault("detections", 0)
    return view


def story_view(state: ScheduleState, job: JobState, now: float) -> list[View]:
    """What has become of the job's tasks and why, those with the same story together."""
    return [
        {
            "condition": strand.story.condition,
            "peer": strand.story.peer,
            "name": state.called(strand.story.peer) if strand.story.peer else "",
            "tasks": strand.tasks,
            "why": strand.story.why,
            "example": strand.example,
            "entry": job.mine[strand.example].entry.name if strand.example in job.mine else "",
        }
        for strand in explain(state, job, now)
    ]


def is_over(view: View) -> bool:
    return view["state"] in ("done", "cancelled", "expired", "declined")


def peers_view(
    state: ScheduleState, seen: dict[PeerId, float], kept_out: Mapping[PeerId, KeptOut], now: float
) -> list[View]:
    views = []
    for peer, fact in sorted(state.peers.items(), key=lambda item: (item[1].name, item[0])):
        connected = peer in state.connected
        if fact.guest and not connected and peer != state.me:
            continue
        offender = kept_out.get(peer)
        sources = [s for _, s in sorted(state.sources.get(peer, {}).items()) if s.kinds or s.entries or s.unreadable]
        views.append(
            {
                "peer": peer,
                "name": fact.name,
                "me": peer == state.me,
                "connected": connected or peer == state.me,
                "seen": 0.0 if connected or peer == state.me else round(now - seen.get(peer, now), 1),
                "kept_out": {"seconds": round(offender.seconds, 1), "why": offender.why} if offender else None,
                "version": fact.version,
                "guest": fact.guest,
                "labels": fact.labels,
                "addresses": list(fact.addresses),
                "cores": fact.cores,
                "memory_mb": fact.memory_mb,
                "providers": list(fact.providers),
                "models": [
                    {"name": m.name, "version": m.version, "digest": m.digest, "classes": m.classes, "fps": m.fps}
                    for m in fact.models
                ],
                "sources": [
                    {
                        "name": s.name,
                        "kinds": list(s.kinds),
                        "labels": s.labels,
                        "entries": s.entries,
                        "unreadable": s.unreadable,
                        "bytes": s.bytes,
                        "duration": s.duration,
                    }
                    for s in sources
                ],
            }
        )
    return views
