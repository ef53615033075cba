"""`meshinfer models rm`."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.asking import ask_models


@verb("rm")
@click.argument("model")
@click.option("--force", is_flag=True, help="Even if a job runs it here: its tasks at this peer then fail.")
def rm(session: Session, model: str, force: bool) -> None:
    """Remove a model from this peer.

    Other peers keep theirs. A job that names it may make this peer fetch it again ([models] fetch in docs/CONFIG.md).

    \b
    Example:
      meshinfer models rm yolox_nano@0.1.1
    """
    answer = ask_models(session, "model_remove", {"model": model, "force": force}, changes=True)
    if session.json:
        session.out.data(answer)
        return
    from meshinfer.cli.output import size

    session.out.say(f"{answer.get('model')} removed, {size(answer.get('bytes'))} freed")
