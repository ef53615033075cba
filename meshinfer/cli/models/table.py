"""How models are shown."""

from __future__ import annotations

from typing import Any

from meshinfer.cli.common import Session
from meshinfer.cli.output import Column, clean, short, size
from meshinfer.model.ids import reference_of

View = dict[str, Any]


def show(session: Session, known: list[View]) -> None:
    """A line each, and what should be known about it below."""
    columns = [
        Column("MODEL"),
        Column("LAYOUT"),
        Column("INPUT", whole=True),
        Column("CLASSES"),
        Column("SIZE", "right", whole=True),
        Column("DIGEST", whole=True),
        Column("LICENCE"),
        Column("SIGNER"),
    ]
    with_node = any("held_by" in model for model in known)
    session.out.table(
        [*columns, Column("HELD BY", "right"), Column("FPS", "right", whole=True)] if with_node else columns,
        [_row(model) + (_in_the_mesh(model) if with_node else []) for model in known],
    )
    for model in known:
        for notice in (model.get("refused"), *(model.get("notices") or ())):
            if notice:  # why one is refused mostly begins with what it is called
                about = f"{reference(model)}: "
                session.out.say(about + str(notice).removeprefix(about), "yellow")
        if session.verbose:
            session.out.say(f"{reference(model)}: {', '.join(map(str, model.get('classes') or ()))}", "dim")


def _row(model: View) -> list[str]:
    return [
        reference(model),
        str(model.get("layout", "")),
        pixels(model),
        some(model.get("classes") or ()),
        size(model.get("bytes")),
        clean(model.get("digest", ""))[:8],
        str(model.get("licence") or "–"),
        _signed(model),
    ]


def _in_the_mesh(model: View) -> list[str]:
    """How many hold it, and how fast it is here where that was measured."""
    fps = model.get("fps")
    return [str(1 + len(model.get("held_by") or ())), f"~{fps}" if fps else "–"]


def reference(model: View) -> str:
    return reference_of(str(model.get("name")), model.get("version") or "")


def pixels(model: View) -> str:
    size = f"{model.get('width', '?')}x{model.get('height', '?')}"
    return f"up to {size}" if model.get("rectangular") else size


def some(names: Any, most: int = 3) -> str:
    """The first few, and how many there are."""
    shown = ", ".join(clean(name) for name in list(names)[:most])
    return f"{shown}, … ({len(names)})" if len(names) > most else shown


def signer_name(signer: View) -> str:
    return "this peer" if signer.get("own") else clean(signer.get("name") or "") or short(signer.get("peer", "?"))


def _signed(model: View) -> str:
    """The first signer that counts; the shelf has them in this order."""
    if model.get("origin") == "embedded":
        return "meshinfer"
    if model.get("refused"):
        return "refused"
    signers = model.get("signers") or ()
    return signer_name(signers[0]) + (f" +{len(signers) - 1}" if len(signers) > 1 else "") if signers else "–"
