"""Peers met before: dialed at the next start, so that a mesh comes back without its first bootstrap peer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from meshinfer.store.db import Database

MAX_PEERS = 512
MAX_ADDRESSES = 16


class KnownPeer(NamedTuple):
    peer: str
    addresses: tuple[str, ...]
    """Multiaddrs, the most useful first."""
    last_seen: float
    """Unix seconds."""


class PeerTable:
    """The `MAX_PEERS` peers seen last."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def save(self, peers: Iterable[KnownPeer]) -> None:
        rows = [(p.peer, json.dumps(p.addresses[:MAX_ADDRESSES]), p.last_seen) for p in peers]
        with self._db.transaction() as c:
            c.executemany("INSERT OR REPLACE INTO peers VALUES (?, ?, ?)", rows)
            c.execute(
                "DELETE FROM peers WHERE peer NOT IN (SELECT peer FROM peers ORDER BY last_seen DESC, peer LIMIT ?)",
                (MAX_PEERS,),
            )

    def forget(self, peer: str) -> None:
        with self._db.transaction() as c:
            c.execute("DELETE FROM peers WHERE peer = ?", (peer,))

    def load(self) -> list[KnownPeer]:
        """Seen last first. A row that cannot be read is left out: its peer is found again by its records."""
        with self._db.reading() as c:
            rows = c.execute("SELECT peer, addresses, last_seen FROM peers ORDER BY last_seen DESC, peer").fetchall()
        known = []
        for peer, addresses, seen in rows:
            with suppress(ValueError, TypeError):
                known.append(KnownPeer(peer, tuple(map(str, json.loads(addresses))), float(seen)))
        return known
