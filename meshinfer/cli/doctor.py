"""`meshinfer doctor`: what is wrong with this peer and its mesh, and what to do."""

from __future__ import annotations

from typing import Any

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket


@verb("doctor")
def doctor(session: Session) -> int:
    """Find what is wrong with this peer and its mesh, and say what to do.

    Asks the peers how they are: links, announcements, records, events, clocks, disks, versions. Takes a second;
    up to twenty where something looks wrong, since it looks twice. Exit code 1 where something is.

    \b
    Example:
      meshinfer doctor
      meshinfer doctor --json | jq '.checks[] | select(.ok | not)'
    """
    from meshinfer.node.client import ask

    answer = ask(node_socket(session), "doctor")
    checks = answer.get("checks") or []
    if session.json:
        session.out.data(answer)
    else:
        _show(session, checks)
    return 0 if checks and all(check.get("ok") for check in checks) else 1


def _show(session: Session, checks: list[dict[str, Any]]) -> None:
    from meshinfer.cli.output import count

    out = session.out
    wrong = [check for check in checks if not check.get("ok")]
    remarks = [check for check in checks if check.get("ok") and check.get("todo")]
    for style, mark, some in (("red", "wrong", wrong), ("yellow", "note", remarks)):
        for check in some:
            out.say(f"{mark:5}  {check.get('check', '?')}: {check.get('what', '')}", style)
            if check.get("todo"):
                out.say(f"       to do: {check['todo']}")
    for check in checks:
        if check.get("ok") and not check.get("todo"):
            out.say(f"ok     {check.get('check', '?')}: {check.get('what', '')}", "dim")
    out.say(
        f"{count(len(wrong), 'thing')} wrong" if wrong else "nothing is wrong", "bold red" if wrong else "bold green"
    )
