"""Which node a verb talks to: the one that runs in the home, or one made for this call."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from meshinfer.cli.common import Session
from meshinfer.errors import NodeNotRunning
from meshinfer.home import socket_path
from meshinfer.node.client import connect as dial
from meshinfer.node.client import is_running

bootstrap_option = click.option(
    "--bootstrap",
    multiple=True,
    metavar="MULTIADDR",
    help="Where no node runs here: join through this peer for one call. Repeatable; a comma list; @FILE.",
)


def node_socket(session: Session) -> Path:
    """The socket of the node in this home. Raises NodeNotRunning, with what to do."""
    path = socket_path(session.home)
    dial(path).close()
    return path


@contextlib.contextmanager
def node_or_guest(session: Session, bootstrap: tuple[str, ...]) -> Iterator[Path]:
    """The socket of the node in this home; or with --bootstrap of a peer that lives as long as the call."""
    path = socket_path(session.home)
    if not bootstrap or is_running(path):
        if bootstrap and session.verbose:
            session.out.note(f"a node runs in {session.home} already: --bootstrap is not needed and not used", "dim")
        try:
            dial(path).close()
        except NodeNotRunning as e:
            raise NodeNotRunning(f"{e}, or join for this one call with --bootstrap MULTIADDR") from None
        yield path
        return
    from meshinfer.config import load

    mesh = {"bootstrap": list(bootstrap), "listen": ["/ip4/0.0.0.0/tcp/0"]}
    flags: dict[str, Any] = {"peer": {"name": f"guest-{os.getpid()}"}, "mesh": mesh, "source": []}
    config = load(session.home, flags, check_paths=False)
    from meshinfer.node.app import guest

    session.set_up_logging()
    session.out.note("no node runs here: joining the mesh for this call", "dim")
    with guest(config) as joined:
        yield joined
