"""`meshinfer cancel`: end a job everywhere."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket


@verb("cancel")
@click.argument("job")
@click.option("--why", default="", metavar="TEXT", help="Told to every peer, and shown by `meshinfer jobs JOB`.")
def cancel(session: Session, job: str, why: str) -> None:
    """Cancel a job everywhere.

    JOB is an id, the start of one, or a name. What it found so far stays; peers that are away stop
    when they hear of it.

    \b
    Example:
      meshinfer cancel 3f2a --why 'wrong model'
    """
    from meshinfer.node.client import ask

    cancelled = ask(node_socket(session), "cancel", {"job": job, "why": why})
    if session.json:
        session.out.data(cancelled)
        return
    found = cancelled.get("job", job)
    session.out.say(
        f"cancelled {cancelled.get('name', '')} {found}; what it found stays: meshinfer results {found} -d DIR"
    )
