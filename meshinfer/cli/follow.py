"""Publishing a job and following it: what `publish` and `run` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from meshinfer.cli.common import Session, Verb
from meshinfer.cli.connect import node_or_guest
from meshinfer.errors import TimedOut


def follow_options(function: Verb) -> Verb:
    """--follow, --dry-run and --timeout."""
    options: list[Callable[[Verb], Verb]] = [
        click.option("--follow", is_flag=True, help="Stay and show the progress; Ctrl-C detaches, the job goes on."),
        click.option(
            "--dry-run", is_flag=True, help="Publish nothing: say which peers would run what, who declines, and why."
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0.1),
            metavar="S",
            help="With --follow: give up watching after S seconds.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def send(
    session: Session,
    spec: dict[str, Any],
    *,
    follow: bool,
    dry_run: bool,
    timeout: float | None,
    bootstrap: tuple[str, ...],
) -> int:
    """Publish `spec` through the local node or as a guest; the exit code."""
    from meshinfer.node.client import ask

    with node_or_guest(session, bootstrap) as node:
        if dry_run:
            from meshinfer.cli.views import show_verdicts

            return show_verdicts(session, spec, ask(node, "dry_run", {"spec": spec}))
        published = ask(node, "publish", {"spec": spec})
        if session.json:
            session.out.data(published)
        else:
            session.out.say(_announcement(published))
        if not follow:
            return 0
        return watch(session, node, str(published["job"]), timeout)


def _announcement(published: dict[str, Any]) -> str:
    from meshinfer.cli.output import count

    peers = int(published.get("peers", 0))
    heard = f"{count(peers, 'peer')} connected" if peers else "no peer is connected yet: others get it when they are"
    return f"published {published.get('name', 'job')}  {published.get('job')}  ({heard})"


def watch(session: Session, node: Path, job: str, timeout: float | None) -> int:
    """Show the job's progress until it is over, then its summary; the exit code says how it went."""
    from meshinfer.cli.progress import Progress
    from meshinfer.cli.views import did_nothing, outcome, show_job
    from meshinfer.node.client import call

    try:
        with call(node, "follow", {"job": job}, silence=None, timeout=timeout) as conversation:
            with Progress(session.out) as progress:
                for message in conversation:
                    view = message.get("progress") if isinstance(message, dict) else None
                    if not isinstance(view, dict):
                        continue
                    if session.json:
                        session.out.data({"progress": view})
                    else:
                        progress.show(view)
            summary = conversation.end.get("summary", {})
    except KeyboardInterrupt:
        session.out.note(f"detached; the job goes on: meshinfer jobs {job}")
        return 130
    except TimedOut:
        raise TimedOut(f"not done after {timeout:g} s; the job goes on: meshinfer jobs {job}") from None
    if session.json:
        session.out.data({"summary": summary})
    elif not did_nothing(summary):
        show_job(session.out, summary)
    return outcome(session, node, summary)
