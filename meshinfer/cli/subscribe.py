"""`meshinfer subscribe`: detections as they happen."""

from __future__ import annotations

import re
from typing import Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import bootstrap_option, node_or_guest
from meshinfer.errors import ConfigError

_CURSOR = re.compile(r"^[1-9A-HJ-NP-Za-km-z]{40,64}/\d{1,19}/\d{1,19}$")


@verb("subscribe")
@click.option("--job", metavar="JOB", help="Only of this job (id, the start of one, or name).")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="CLASS",
    help="Only frames with this class. Repeat it, or give a comma list.",
)
@click.option("--min-score", type=click.FloatRange(0, 1), metavar="X", help="Only detections this sure.")
@click.option("--source", metavar="NAME", help="Only of this source.")
@click.option("--peer", metavar="PEER", help="Only of this peer (id or name).")
@click.option(
    "--since", metavar="WHEN", help="First what was before: 10m, 2h, or the cursor of the last event you have."
)
@bootstrap_option
def subscribe(
    session: Session, labels: tuple[str, ...], since: str | None, bootstrap: tuple[str, ...], **given: Any
) -> None:
    """Print detections as they are made, anywhere in the mesh.

    One line for each frame with detections, until Ctrl-C. What was missed while the connection was away is filled in.
    With --json every line is an event, whose `cursor` --since takes.

    \b
    Example:
      meshinfer subscribe --label person --min-score 0.5
      meshinfer subscribe --since 10m --json | jq .entry
    """
    from meshinfer.node.client import call

    args: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if names := [name.strip() for text in labels for name in text.split(",") if name.strip()]:
        args["label"] = names
    if since is not None:
        args["since"] = since if _CURSOR.match(since) else _seconds(since)
    with node_or_guest(session, bootstrap) as node, call(node, "subscribe", args, silence=None) as conversation:
        if not session.json and session.out.console.is_terminal:
            session.out.note("listening for detections; Ctrl-C stops", "dim")
        for message in conversation:
            _show(session, message)


def _seconds(since: str) -> str:
    from meshinfer.model.jobfile import parse_span

    try:
        return f"{parse_span(since):.0f}s"
    except ValueError:
        raise ConfigError(f"--since {since}: expected a time span such as 10m, or an event's cursor") from None


def _show(session: Session, message: dict[str, Any]) -> None:
    if notice := message.get("notice"):
        session.out.note(f"note: {notice}")
    elif event := message.get("event"):
        if session.json:
            session.out.data(event)
        else:
            session.out.line(event_line(event))


def event_line(event: dict[str, Any]) -> str:
    """`12:04:31 dock/yard-night.mp4 t=12.4s #124  person 0.91, person 0.77  [hamburg-1]`, in local time of arrival."""
    import time

    from meshinfer.cli.output import clean, detections, who

    where = f"{event.get('source')}/{event.get('entry')}"
    at = f"t={float(event.get('t', 0)):.1f}s #{event.get('frame', 0)}"
    found = detections(event.get("detections") or [])
    return clean(f"{time.strftime('%H:%M:%S')} {where} {at}  {found}  [{who(event, name='peer_name')}]")
