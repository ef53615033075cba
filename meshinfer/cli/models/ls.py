"""`meshinfer models ls`."""

from __future__ import annotations

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.asking import ask_models


@verb("ls")
def ls(session: Session) -> None:
    """List the models of this peer.

    Where a node runs also how many peers hold each. -v adds all class names.

    \b
    Example:
      meshinfer models ls -v
    """
    answer = ask_models(session, "models", changes=False)
    if session.json:
        session.out.data(answer)
        return
    from meshinfer.cli.models.table import show

    known = answer.get("models") or []
    if known:
        show(session, known)
    else:
        session.out.say("no models yet: add one with `meshinfer models add FILE.onnx`")
