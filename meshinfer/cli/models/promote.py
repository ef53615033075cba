"""`meshinfer models promote`: move a channel to another model, on a share of the peers first."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import bootstrap_option, node_or_guest
from meshinfer.errors import ConfigError


@verb("promote")
@click.argument("model")
@click.option("--to", metavar="CHANNEL", help="NAME:TRACK, which jobs name in place of a model [NAME:stable].")
@click.option("--canary", metavar="SHARE", help="Try it on this share of the peers first, such as 10% [all, at once].")
@click.option("--for", "time", metavar="TIME", help="How long it is tried: 90s, 10m, 2h [10m].")
@click.option("--why", default="", metavar="TEXT", help="Told to every peer, and shown by `meshinfer models channels`.")
@bootstrap_option
def promote(
    session: Session,
    model: str,
    to: str | None,
    canary: str | None,
    time: str | None,
    why: str,
    bootstrap: tuple[str, ...],
) -> None:
    """Move a channel to another model.

    With --canary, jobs that name the channel run the new model on that share of the peers. Errors, speed and scores
    are compared with the rest: when its time has passed all peers take the new model, or none; what is clearly bad goes
    back at once. Jobs that run already go on as they began.

    \b
    Example:
      meshinfer models promote yard-detector@1
      meshinfer models promote yard-detector@2 --canary 10% --for 10m
      meshinfer run yard-detector:stable --on kind=video
    """
    from meshinfer.cli.models.channels import show
    from meshinfer.node.client import ask

    if canary is None and time is not None:
        raise ConfigError("--for goes with --canary: without it all peers take the model at once")
    wanted = {"to": to, "permille": _permille(canary), "seconds": _seconds(time), "why": why}
    args = {"model": model, **{key: value for key, value in wanted.items() if value is not None}}
    with node_or_guest(session, bootstrap) as node:
        answer = ask(node, "model_promote", args)
    if session.json:
        session.out.data(answer)
    else:
        show(session.out, [answer.get("channel") or {}])


def _permille(share: str | None) -> int | None:
    if share is None:
        return None
    try:
        percent = float(share.removesuffix("%"))
    except ValueError:
        percent = 0.0
    if not 0.1 <= percent < 100:
        raise ConfigError(f"--canary {share}: give a share of the peers such as 10%, from 0.1% and below 100%")
    return min(999, round(percent * 10))


def _seconds(time: str | None) -> float | None:
    from meshinfer.model.jobfile import parse_span

    try:
        return None if time is None else parse_span(time)
    except ValueError as e:
        raise ConfigError(f"--for: {e}") from None
