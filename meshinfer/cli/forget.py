"""`meshinfer forget`: let go of a peer that is gone for good."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket


@verb("forget")
@click.argument("peer")
def forget(session: Session, peer: str) -> None:
    """Forget a peer that is gone for good.

    PEER is an id, the end of one, or a name. The local node lets go of all that the peer said and dials it no more;
    other nodes do so after a month, or when told as well. Should it come back, it is a peer again.

    \b
    Example:
      meshinfer forget dock-old
    """
    from meshinfer.node.client import ask

    gone = ask(node_socket(session), "forget", {"peer": peer})
    if session.json:
        session.out.data(gone)
        return
    session.out.say(f"forgot {gone.get('name', '')} {gone.get('peer', peer)}: {gone.get('records', 0)} records")
