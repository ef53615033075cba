"""`meshinfer peers`: who is there, and what each can do."""

from __future__ import annotations

from typing import Any

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket
from meshinfer.model.ids import reference_of


@verb("peers")
def peers(session: Session) -> None:
    """List the peers of the mesh and what each can do.

    Every peer this one knows: connected or when last seen, what footage it holds, what models it has.
    -v adds addresses.

    \b
    Example:
      meshinfer peers
      meshinfer peers --json | jq '.peers[].name'
    """
    from meshinfer.node.client import ask

    answer = ask(node_socket(session), "peers")
    if session.json:
        session.out.data(answer)
        return
    known = sorted(
        answer.get("peers") or [], key=lambda p: (not p.get("me"), not p.get("connected"), str(p.get("name")))
    )
    _show(session, known)
    if len(known) < 2:
        session.out.note("it knows nobody else: give `meshinfer up --bootstrap` an address that another peer prints")


def _show(session: Session, known: list[dict[str, Any]]) -> None:
    from meshinfer.cli.output import Column, labels, short, span, who

    columns = [
        Column("PEER"),
        Column("ID", whole=True),
        Column("STATE", whole=True),
        Column("CORES", "right", whole=True),
        Column("HOLDS"),
        Column("LABELS"),
        Column("MODELS"),
    ]
    rows = []
    for peer in known:
        models = [_model(m) for m in peer.get("models") or ()]
        names = ", ".join(models[:3]) + (f" +{len(models) - 3}" if len(models) > 3 else "")
        cores = str(peer.get("cores") or "?")
        rows.append(
            [who(peer), short(peer.get("peer")), _state(peer), cores, _holds(peer), labels(peer.get("labels")), names]
        )
    session.out.table(columns, rows)
    for peer in known:
        if kept := peer.get("kept_out"):
            left = span(round(float(kept.get("seconds") or 0)))
            session.out.say(f"{who(peer)} is kept out for {left} more, because of: {kept.get('why')}", "yellow")
    if session.verbose:
        for peer in known:
            session.out.say(f"{who(peer)}  {peer.get('peer')}  version {peer.get('version')}")
            for address in peer.get("addresses") or ():
                session.out.say(f"  {address}")


def _model(model: dict[str, Any]) -> str:
    """With how fast it is there, where that was measured."""
    name = reference_of(str(model.get("name")), model.get("version") or "")
    return f"{name} ~{model['fps']}/s" if model.get("fps") else name


def _state(peer: dict[str, Any]) -> str:
    from meshinfer.cli.output import span

    if peer.get("me"):
        return "this one"
    if peer.get("kept_out"):
        return "kept out"
    seen = peer.get("seen")
    return (
        "connected"
        if peer.get("connected")
        else f"seen {span(round(seen))} ago"
        if seen is not None
        else "not seen yet"
    )


def _holds(peer: dict[str, Any]) -> str:
    from meshinfer.cli.output import count, size, span

    sources = peer.get("sources") or []
    if not sources:
        return "–"
    entries = sum(int(s.get("entries", 0)) for s in sources)
    seconds = sum(float(s.get("duration") or 0) for s in sources)
    names = ", ".join(str(s.get("name")) for s in sources[:3]) + (f" +{len(sources) - 3}" if len(sources) > 3 else "")
    video = f", {span(seconds)}" if seconds else ""
    return f"{names}: {count(entries, 'file')}, {size(sum(int(s.get('bytes', 0)) for s in sources))}{video}"
