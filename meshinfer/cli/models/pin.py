"""`meshinfer models pin` and `unpin`."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.asking import ask_models


@verb("pin")
@click.argument("model")
def pin(session: Session, model: str) -> None:
    """Keep a fetched model, however long it is not used.

    \b
    Example:
      meshinfer models pin yolox_nano
    """
    _pin(session, model, pinned=True)


@verb("unpin")
@click.argument("model")
def unpin(session: Session, model: str) -> None:
    """Let a fetched model go when room is needed.

    Models that were added here stay in any case: `meshinfer models rm` removes them.

    \b
    Example:
      meshinfer models unpin yolox_nano
    """
    _pin(session, model, pinned=False)


def _pin(session: Session, model: str, *, pinned: bool) -> None:
    answer = ask_models(session, "model_pin", {"model": model, "pinned": pinned}, changes=True)
    if session.json:
        session.out.data(answer)
        return
    from meshinfer.cli.models.table import reference

    view = answer.get("model") or {}
    stays = "stays" if pinned or view.get("origin") != "fetched" else "goes when room is needed"
    session.out.say(f"{reference(view)} {stays}")
