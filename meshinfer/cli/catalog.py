"""`meshinfer catalog`: the footage, file by file."""

from __future__ import annotations

from typing import Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket

NAME = 16
"""Letters of a peer's name on each line."""


@verb("catalog")
@click.option("--all", "everywhere", is_flag=True, help="Ask every peer, not only this one.")
def catalog(session: Session, everywhere: bool) -> int:
    """List the footage held here, or everywhere with --all.

    One line a file, also for those that cannot be read, with the reason. No footage is moved by it.

    \b
    Example:
      meshinfer catalog --all
      meshinfer catalog --all --json | jq 'select(.entry).entry.name'
    """
    from meshinfer.cli.output import who
    from meshinfer.node.client import call

    total, seconds, held, unreadable = 0, 0.0, 0, 0
    with call(node_socket(session), "catalog", {"all": everywhere}) as conversation:
        for message in conversation:
            if session.json:
                session.out.data(message)
            elif entry := message.get("entry"):
                total, seconds, held = (
                    total + 1,
                    seconds + float(entry.get("duration") or 0),
                    held + int(entry.get("bytes") or 0),
                )
                session.out.line(_entry_line(entry, everywhere))
            elif bad := message.get("unreadable"):
                unreadable += 1
                session.out.line(_unreadable_line(bad, everywhere))
        missing = conversation.end.get("missing") or []
    if not session.json:
        _total(session, total, seconds, held, unreadable, everywhere)
    for peer in missing:
        session.out.note(f"not heard from: {who(peer)}: {peer.get('reason', 'no answer')}")
    return 4 if missing else 0


def _total(session: Session, total: int, seconds: float, held: int, unreadable: int, everywhere: bool) -> None:
    from meshinfer.cli.output import count, size, span

    if not total and not unreadable:
        hint = "" if everywhere else "; --all asks every peer, `meshinfer up --source NAME=DIR` shares some"
        session.out.say(f"no footage{hint}")
        return
    video = f", {span(seconds)} of footage" if seconds else ""
    bad = f", {count(unreadable, 'file')} not readable" if unreadable else ""
    session.out.say(f"{count(total, 'file')}, {size(held)}{video}{bad}", "bold")


def _entry_line(entry: dict[str, Any], everywhere: bool) -> str:
    """`dock/yard-night.mp4  640x360  12.5 fps 40s  3.1 MB  [hamburg-1] site=hamburg`; labels where they fit."""
    from meshinfer.cli.output import WIDTH, clean, labels, size, span

    where = clean(f"{entry.get('source')}/{entry.get('name')}")
    pixels = f"{entry.get('width', '?')}x{entry.get('height', '?')}"
    rate = f"{float(entry['fps']):.4g} fps {span(entry.get('duration'))}" if entry.get("fps") else "image"
    if entry.get("kind") == "series":
        pixels = f"{entry.get('height', '?')} ch"
        rate = f"{float(entry['fps']):.5g} Hz {span(entry.get('duration'))}" if entry.get("fps") else "no rate known"
    line = f"{where:<36} {pixels:>9}  {rate:<16} {size(entry.get('bytes')):>7}{_holder(entry, everywhere)}"
    tags = labels(entry.get("labels"))
    return clean(f"{line} {tags}" if tags and len(line) + len(tags) < WIDTH else line)


def _unreadable_line(bad: dict[str, Any], everywhere: bool) -> str:
    from meshinfer.cli.output import clean

    state = "waiting" if bad.get("waiting") else "unreadable"
    where = f"{bad.get('source')}/{bad.get('name')}"
    return clean(f"{where:<36} {state}: {bad.get('reason')}{_holder(bad, everywhere)}")


def _holder(listed: dict[str, Any], everywhere: bool) -> str:
    """Whose it is, at the end of a line; of a list of one peer's own it needs no saying."""
    from meshinfer.cli.output import who

    name = who(listed, name="peer_name")
    return f"  [{name if len(name) <= NAME else f'{name[: NAME - 1]}…'}]" if everywhere else ""
