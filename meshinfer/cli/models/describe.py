"""`meshinfer models describe`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.asking import ask_models

View = dict[str, Any]


@verb("describe")
@click.argument("model")
def describe(session: Session, model: str) -> None:
    """Say all that is known of a model.

    MODEL is its name, name@version, sha256:digest, or the digest's first 8 digits or more. Shows what the file is made
    of, who signed it and whether they are trusted here, and which peers hold it.

    \b
    Example:
      meshinfer models describe yolox_nano
    """
    answer = ask_models(session, "model", {"model": model}, changes=False)
    if session.json:
        session.out.data(answer)
        return
    from meshinfer.cli.models.table import reference
    from meshinfer.cli.output import WIDTH, clean

    view = answer.get("model") or {}
    session.out.say(reference(view), "bold")
    for title, text in _lines(view):
        text = clean(text)
        # A path stays in one piece, to be copied.
        pieces = [text] if title == "file" else textwrap.wrap(text, WIDTH - 12, break_on_hyphens=False)
        for i, piece in enumerate(pieces):
            session.out.say(f"{title if not i else '':<12}{piece}")
    for notice in (view.get("refused"), view.get("unreadable"), *(view.get("notices") or ())):
        if notice:
            session.out.say(str(notice), "yellow")


def _lines(view: View) -> Iterator[tuple[str, str]]:
    from meshinfer.cli.models.table import pixels, some
    from meshinfer.cli.output import size

    yield "digest", f"sha256:{view.get('digest')}"
    yield "layout", f"{view.get('layout')}, {pixels(view)}"
    yield "classes", some(view.get("classes") or (), 12)
    parameters = f", {view['parameters'] / 1e6:.2f} million parameters" if view.get("parameters") else ""
    yield "size", size(view.get("bytes")) + parameters
    yield "file", str(view.get("path", ""))
    for port in view.get("inputs") or ():
        yield "input", _port(port)
    for port in view.get("outputs") or ():
        yield "output", _port(port)
    operators: dict[str, int] = view.get("operators") or {}
    if operators:
        counted = ", ".join(f"{n} {name}" for name, n in operators.items())
        yield "operators", f"{sum(operators.values())}: {counted}"
        more = "".join(f", {domain} {v}" for domain, v in (view.get("domains") or {}).items())
        yield "opset", f"{view.get('opset')}{more}" + (f", by {view['producer']}" if view.get("producer") else "")
    yield "licence", str(view.get("licence") or "not said")
    yield "signed by", _signers(view)
    if "held_by" in view:
        others = [f"{p.get('name')}{'' if p.get('connected') else ' (not connected)'}" for p in view["held_by"]]
        yield "held by", ", ".join(["this peer", *others])
    origin = {"embedded": "comes with meshinfer", "added": "added here", "fetched": "fetched from another peer"}
    yield "origin", origin.get(str(view.get("origin")), "?") + (", pinned" if view.get("pinned") else "")


def _port(port: View) -> str:
    return f"{port.get('name')}  {port.get('type')} [{', '.join(map(str, port.get('shape') or ()))}]"


def _signers(view: View) -> str:
    from meshinfer.cli.models.table import signer_name

    told = []
    for signer in view.get("signers") or ():
        peer = "" if signer.get("own") else f" {signer.get('peer')}"
        told.append(f"{signer_name(signer)}{peer}" + ("" if signer.get("trusted") else " (not trusted here)"))
    return "; ".join(told) or ("meshinfer" if view.get("origin") == "embedded" else "nobody")
