"""`meshinfer models rollback`: a channel goes back to the model it had before."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import bootstrap_option, node_or_guest


@verb("rollback")
@click.argument("channel")
@click.option("--why", default="", metavar="TEXT", help="Told to every peer, and shown by `meshinfer models channels`.")
@bootstrap_option
def rollback(session: Session, channel: str, why: str, bootstrap: tuple[str, ...]) -> None:
    """Take a channel back.

    A roll-out that is under way ends, and no peer takes its candidate; where there is none, the channel gets the model
    that it had before. Jobs that run already go on as they began.

    \b
    Example:
      meshinfer models rollback yard-detector:stable --why 'misses bicycles'
    """
    from meshinfer.cli.models.channels import show
    from meshinfer.node.client import ask

    with node_or_guest(session, bootstrap) as node:
        answer = ask(node, "model_rollback", {"channel": channel, "why": why})
    if session.json:
        session.out.data(answer)
    else:
        show(session.out, [answer.get("channel") or {}])
