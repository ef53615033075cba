"""`meshinfer models verify`."""

from __future__ import annotations

from typing import Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.asking import ask_models


@verb("verify")
@click.argument("model", required=False)
def verify(session: Session, model: str | None) -> int:
    """Check models: bytes, signatures, trust, and whether they load.

    Without MODEL all of this peer's. Exit code 1 where one would be refused; a node that runs takes note.

    \b
    Example:
      meshinfer models verify yolox_nano
    """
    wanted = [model] if model else [m["digest"] for m in ask_models(session, "models", changes=False)["models"]]
    answers = [ask_models(session, "model_verify", {"model": one}, changes=False) for one in wanted]
    good = all(answer.get("ok") for answer in answers)
    if session.json:
        session.out.data({"ok": good, "models": answers})
    else:
        _show(session, answers)
    return 0 if good else 1


def _show(session: Session, answers: list[dict[str, Any]]) -> None:
    from meshinfer.cli.output import clean

    for answer in answers:
        findings = answer.get("findings") or ()
        name = f"{answer.get('model')} {clean(answer.get('digest', ''))[:8]}"
        if answer.get("ok"):
            session.out.say(f"{name}: good")
        for finding in findings:
            if not finding.get("ok"):
                session.out.say(f"{name}: {finding.get('check')}: {finding.get('what')}", "red")
            elif session.verbose:
                session.out.say(f"  {finding.get('check')}: {finding.get('what')}", "dim")
