"""Asking for models: the node, or the home's shelf where none runs."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from meshinfer.cli.common import Session

PATIENCE = 300.0
"""Seconds: to try a large model takes a minute, and small machines take longer."""


def ask_models(session: Session, call: str, args: dict[str, Any] | None = None, *, changes: bool) -> dict[str, Any]:
    """The end of a models' call (docs/CONTROL.md). The home is held for `changes`, so that no node starts meanwhile."""
    from meshinfer.home import IDENTITY, make_home, socket_path
    from meshinfer.node.client import ask, is_running

    node = socket_path(session.home)
    if is_running(node):
        return ask(node, call, args, silence=PATIENCE)
    from meshinfer.config import load
    from meshinfer.mesh.identity import load_or_create
    from meshinfer.node.app import open_shelf
    from meshinfer.node.lock import hold
    from meshinfer.node.model_calls import CALLS

    make_home(session.home)
    config = load(session.home, check_paths=False)
    with hold(session.home) if changes else nullcontext():
        shelf = open_shelf(config, load_or_create(session.home / IDENTITY), session.out.note)
        return CALLS[call](shelf, args or {})
