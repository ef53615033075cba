"""A job as people see it: its summary, who runs it, who declines and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from meshinfer.cli.common import Session
from meshinfer.cli.output import Column, Output, clean, count, short, span, who

STATE_STYLES = {"running": "cyan", "done": "green", "cancelled": "yellow", "expired": "yellow", "declined": "red"}
MAX_ERRORS = 5
"""Failed tasks shown of each peer."""


def show_jobs(out: Output, jobs: list[dict[str, Any]]) -> None:
    if not jobs:
        out.say("no jobs yet: publish one with `meshinfer publish FILE` or `meshinfer run MODEL`")
        return
    columns = [
        Column("JOB", whole=True),
        Column("NAME"),
        Column("STATE", whole=True),
        Column("TASKS", "right", whole=True),
        Column("FRAMES", "right", whole=True),
        Column("DETECTIONS", "right", whole=True),
        Column("FROM"),
        Column("AGE", "right", whole=True),
    ]
    out.table(columns, [_job_row(job) for job in jobs])


def _job_row(job: dict[str, Any]) -> list[str | Text]:
    import time

    tasks = job.get("tasks") or {}
    state = str(job.get("state", "?"))
    age = max(0.0, time.time() - float(job.get("published", 0)))
    return [
        str(job.get("job", "?")),
        str(job.get("name", "")),
        Text(clean(state), STATE_STYLES.get(state, "")),
        f"{tasks.get('done', 0)}/{tasks.get('total', 0)}",
        f"{int(job.get('analysed', 0)):,}",
        f"{int(job.get('detections', 0)):,}",
        clean(job.get("publisher_name") or "") or short(job.get("publisher", "?")),
        span(round(age)),
    ]


def show_job(out: Output, job: dict[str, Any]) -> None:
    """The summary: one line in all, one for each peer, what failed, and who was not heard."""
    tasks, state = job.get("tasks") or {}, str(job.get("state", "?"))
    out.console.print(
        Text.assemble(
            (clean(job.get("name", "job")), "bold"),
            f"  {clean(job.get('job', '?'))}  ",
            (clean(state), STATE_STYLES.get(state, "")),
            f"  model {clean(job.get('model', '?'))}",
        ),
        soft_wrap=True,
    )
    done = f"{tasks.get('done', 0)} of {count(int(tasks.get('total', 0)), 'task')} done"
    done += f" ({tasks['reused']} of them before)" if tasks.get("reused") else ""
    unfinished = ("cancelled",) if tasks.get("cancelled") else ("running", "pending")
    rest = [f"{tasks[key]} {key}" for key in ("failed", *unfinished) if tasks.get(key)]
    found = f"{count(int(job.get('analysed', 0)), 'frame')}, {count(int(job.get('detections', 0)), 'detection')}"
    took = f", {span(job['seconds'])}" if job.get("seconds") else ""
    out.say("; ".join([", ".join([done, *rest]), found + took]))
    if job.get("why"):
        out.say(f"why: {job['why']}")
    _show_peers(out, job.get("peers") or [])
    if canary := job.get("canary"):
        names = ", ".join(who(peer) for peer in canary.get("peers") or ())
        out.say(f"tries {canary.get('reference', '?')} on {names}")
        for peer in job.get("peers") or ():
            for used in peer.get("models") or ():
                tasks = count(int(used.get("tasks", 0)), "task")
                out.say(f"{who(peer)} did {tasks} with {used.get('reference', '?')}", "dim")
    for missing in job.get("missing") or ():
        out.say(f"not heard from: {who(missing)}: {missing.get('reason', 'no answer')}", "red")


CONDITION_STYLES = {"running": "cyan", "done": "green", "failed": "red", "waiting": "yellow"}


def show_story(out: Output, strands: list[dict[str, Any]]) -> None:
    """A line for all tasks with the same story."""
    if not strands:
        return
    columns = [
        Column("TASKS", "right", whole=True),
        Column("", whole=True),
        Column("PEER"),
        Column("WHY"),
        Column("SUCH AS"),
    ]
    out.table(columns, [_strand_row(strand) for strand in strands])


def _strand_row(strand: dict[str, Any]) -> list[str | Text]:
    condition = clean(strand.get("condition", "?"))
    span_number = int(str(strand.get("example", "0"))[-8:] or "0", 16)
    entry = clean(strand.get("entry") or "")
    return [
        f"{int(strand.get('tasks', 0)):,}",
        Text(condition, CONDITION_STYLES.get(condition, "")),
        clean(strand.get("name") or ""),
        clean(strand.get("why") or ""),
        f"{entry}#{span_number}" if entry and span_number else entry,
    ]


def _show_peers(out: Output, peers: list[dict[str, Any]]) -> None:
    working = [p for p in peers if p.get("tasks") or p.get("verdict") == "runs"]
    if working:
        columns = [
            Column("PEER"),
            *(Column(t, "right", whole=True) for t in ("TASKS", "FRAMES", "DETECTIONS", "TIME", "FRAMES/S")),
        ]
        out.table(columns, [_peer_row(p) for p in working])
    for peer in peers:
        if peer not in working:
            out.say(f"{who(peer)} {_said(peer)}", "dim")
        elif peer.get("reason") and peer.get("verdict") != "declines":
            out.say(f"{who(peer)}: {peer['reason']}", "yellow")
        elif peer.get("stands_by"):
            out.say(f"{who(peer)} stands by for {count(int(peer['stands_by']), 'task')} that others hold too", "dim")
        _show_skipped(out, peer)
        errors = peer.get("errors") or []
        for error in errors[:MAX_ERRORS]:
            out.say(f"{who(peer)} failed on {error.get('source')}/{error.get('entry')}: {error.get('message')}", "red")
        for notice in (peer.get("notices") or [])[:MAX_ERRORS]:
            out.say(f"{who(peer)}: {notice.get('source')}/{notice.get('entry')}: {notice.get('message')}", "yellow")
        if len(errors) > MAX_ERRORS:
            out.say(f"{who(peer)}: and {count(len(errors) - MAX_ERRORS, 'more failure')}", "red")


def _said(peer: dict[str, Any]) -> str:
    """`declines: has no model yolox_nano`."""
    if peer.get("verdict") in (None, "unknown"):
        return "has not answered yet" if peer.get("connected", True) else "is not connected"
    return f"{peer['verdict']}: {peer['reason']}" if peer.get("reason") else str(peer["verdict"])


def _peer_row(peer: dict[str, Any]) -> list[str | Text]:
    failed = f" ({peer['failed']} failed)" if peer.get("failed") else ""
    away = "" if peer.get("connected", True) else " (away)"
    return [
        who(peer) + away,
        f"{peer.get('done', 0)}/{peer.get('tasks', 0)}{failed}",
        f"{int(peer.get('analysed', 0)):,}",
        f"{int(peer.get('detections', 0)):,}",
        span(peer.get("seconds")),
        f"{float(peer.get('fps') or 0):.1f}",
    ]


def _show_skipped(out: Output, peer: dict[str, Any]) -> None:
    for skipped in peer.get("skipped") or ():
        out.say(
            f"{who(peer)} leaves out {count(int(skipped.get('entries', 0)), 'file')}: {skipped.get('reason')}", "dim"
        )


def show_verdicts(session: Session, spec: dict[str, Any], answer: dict[str, Any]) -> int:
    """A dry run: who would run what. Exit 1 where nobody would, 4 where peers did not answer."""
    verdicts, missing = answer.get("verdicts") or [], answer.get("missing") or []
    if session.json:
        session.out.data(answer)
    else:
        out = session.out
        out.say(f"{spec.get('name', 'job')}, model {spec.get('model')}: a dry run, nothing is published", "bold")
        columns = [Column("PEER"), Column("VERDICT", whole=True), Column("TASKS", "right", whole=True)]
        columns += [Column("FRAMES", "right", whole=True), Column("WHY")]
        out.table(columns, [_verdict_row(v) for v in verdicts])
        for verdict in verdicts:
            _show_skipped(out, verdict)
        for peer in missing:
            out.say(f"not heard from: {who(peer)}: {peer.get('reason', 'no answer')}", "red")
        if not any(v.get("verdict") == "runs" for v in verdicts):
            out.note("nobody would run it")
    if not any(v.get("verdict") == "runs" for v in verdicts):
        return 1
    return 4 if missing else 0


def _verdict_row(verdict: dict[str, Any]) -> list[str | Text]:
    said = str(verdict.get("verdict", "?"))
    runs, by = said == "runs", int(verdict.get("stands_by", 0))
    reason = clean(verdict.get("reason") or "") or (f"stands by for {count(by, 'task')} more" if by else "")
    frames = f"{int(verdict.get('frames', 0)):,}" if verdict.get("frames") else ""
    style = "green" if runs else "dim" if said == "stands by" else "yellow"
    return [who(verdict), Text(clean(said), style), str(verdict.get("tasks", 0)) if runs else "", frames, reason]


def did_nothing(view: dict[str, Any]) -> bool:
    """Whether nobody ran any of it, and nobody called it off."""
    return not (view.get("tasks") or {}).get("total") and view.get("state") not in ("cancelled", "expired")


def outcome(session: Session, node: Path, summary: dict[str, Any]) -> int:
    """The exit code of a followed job; where nothing happened, the reason, from every peer."""
    tasks, state = summary.get("tasks") or {}, summary.get("state")
    if did_nothing(summary):
        explain_nothing(session, node, summary)
        return 1
    if tasks.get("failed") or state in ("cancelled", "declined"):
        return 1
    if state == "expired":
        session.out.note("it expired before it was done; raise `expires` in the job file")
        return 5
    if summary.get("missing"):
        names = ", ".join(who(m) for m in summary["missing"])
        session.out.note(f"partial: not heard from {names}")
        return 4
    return 0


def explain_nothing(session: Session, node: Path, summary: dict[str, Any]) -> None:
    """Say why nobody ran a job: ask every peer for its verdict."""
    from meshinfer.node.client import ask

    described = ask(node, "job", {"job": summary.get("job", "")})
    peers = described.get("peers") or []
    session.out.note(
        f"nobody runs {summary.get('name', 'the job')}; what each peer says:"
        if peers
        else "nobody runs it: no peer answered"
    )
    for peer in peers:
        session.out.note(f"  {who(peer)} {_said(peer)}")
        for skipped in peer.get("skipped") or ():
            session.out.note(f"    {count(int(skipped.get('entries', 0)), 'file')}: {skipped.get('reason')}")
    for missing in described.get("missing") or ():
        session.out.note(f"  {who(missing)} was not heard: {missing.get('reason', 'no answer')}")
    if described.get("state") in ("waiting", "declined"):
        left = span(round(float(described.get("expires_in") or 0)))
        session.out.note(f"it stays published for {left}: a peer that gets matching footage till then runs it")
