"""Who is out there: our own `peer` record, the addresses learned from others', and what the store remembers of them.

Nobody introduces peers but the records themselves, so a mesh comes back without the peer that it began with.
"""

from __future__ import annotations

import math
import os
import platform
import time

import trio
from msgspec.structs import replace

import meshinfer
from meshinfer.detect.card import ModelCard
from meshinfer.detect.onnx import providers
from meshinfer.errors import StoreError
from meshinfer.mesh.api import Mesh
from meshinfer.model.facts import ModelRef, PeerFact
from meshinfer.model.ids import PeerId
from meshinfer.node.driver import Driver
from meshinfer.node.records import Records
from meshinfer.store import Database, KnownPeer, PeerTable

MAX_DIALED = 128
"""Peers that this one keeps dialing. Records of more are kept; connections are not."""

REMEMBER_EVERY = 10.0
SEEN_EVERY = 600.0
"""Seconds between two notes of when a connected peer was last seen: whoever is not any more is dialed last."""

GIVE_UP = 300.0
"""Seconds unreached after which a peer makes room for one that was not tried yet, when so many are dialed."""


def memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


class Neighbours:
    def __init__(self, mesh: Mesh, records: Records, driver: Driver, db: Database, me: PeerFact) -> None:
        self._mesh, self._records, self._driver = mesh, records, driver
        self._table = PeerTable(db)
        self.fact = me
        self._known: dict[PeerId, tuple[str, ...]] = {}
        self._given_up: dict[PeerId, float] = {}
        self._last_seen: dict[PeerId, float] = {}
        """Unix seconds, as it is in the store."""

    def state_again(self, **changes: object) -> None:
        """Our own record, where it differs from what we last said."""
        self.fact = replace(self.fact, **changes)
        held = self._records.log.get(self._mesh.me, "peer", "")
        if held is None or held.record.fact != self.fact or held.record.incarnation != self._records.own.incarnation:
            self._records.state(self.fact)

    async def serve(self) -> None:
        """Dial whom the store knows and the records name; remember them."""
        remembered: dict[PeerId, tuple[str, ...]] = {}
        for known in await trio.to_thread.run_sync(self._table.load):
            peer = PeerId(known.peer)
            remembered[peer], self._last_seen[peer] = known.addresses, known.last_seen
            self._know(peer, known.addresses)
        while True:
            looked_at = len(self._driver.state.peers)  # before what waits: who comes meanwhile is no less new
            for peer in sorted(self._driver.state.peers, key=lambda peer: (self._given_up.get(peer, 0.0), peer)):
                fact = self._driver.state.peers[peer]
                if not fact.guest:
                    self._know(peer, fact.addresses)
            if fresh := self._fresh(remembered):
                try:
                    await trio.to_thread.run_sync(self._table.save, fresh)
                    remembered.update((PeerId(k.peer), k.addresses) for k in fresh)
                    self._last_seen.update((PeerId(k.peer), k.last_seen) for k in fresh)
                except StoreError:
                    pass  # housekeeping says that the disk is full; this is tried again
            with trio.move_on_after(REMEMBER_EVERY):
                while len(self._driver.state.peers) == looked_at:
                    await self._driver.changed()

    def _know(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        """An address in a record counts only for the peer that signed it."""
        own = tuple(a for a in addresses if a.endswith(f"/p2p/{peer}"))
        if peer == self._mesh.me or not own or self._known.get(peer) == own:
            return
        if len(self._known) >= MAX_DIALED and peer not in self._known and not self._give_one_up(peer):
            return
        self._known[peer] = own
        self._mesh.know(own)

    async def forget(self, peer: PeerId) -> None:
        """Dial it no more, also after a restart. Raises StoreError."""
        self._known.pop(peer, None)
        self._last_seen.pop(peer, None)
        await trio.to_thread.run_sync(self._table.forget, peer)

    def _give_one_up(self, other: PeerId) -> bool:
        """Dial no more whom nobody has reached for longest, in favour of `other`. Whether there was one."""
        unreached = [(u.seconds, peer) for peer, u in self._mesh.unreached().items() if peer in self._known]
        seconds, peer = max(unreached, default=(0.0, other))
        now = trio.current_time()
        if seconds < GIVE_UP or now - self._given_up.get(other, -math.inf) < GIVE_UP:
            return False
        del self._known[peer]
        self._given_up[peer] = now
        self._mesh.forget(peer)
        return True

    def _fresh(self, remembered: dict[PeerId, tuple[str, ...]]) -> list[KnownPeer]:
        """What the store does not know yet: addresses, and who is connected now."""
        wall = time.time()
        fresh = []
        for peer, addresses in self._known.items():
            before = self._last_seen.get(peer, 0.0)
            seen = wall if peer in self._mesh.peers and not 0 <= wall - before < SEEN_EVERY else before
            if seen != before or remembered.get(peer) != addresses:
                fresh.append(KnownPeer(peer, addresses, seen))
        return fresh


def own_fact(name: str, labels: dict[str, str], mesh: Mesh, cards: tuple[ModelCard, ...], *, guest: bool) -> PeerFact:
    return PeerFact(
        name or f"{platform.node().split('.')[0] or 'peer'}-{mesh.me[-4:]}",
        labels,
        mesh.addresses[:16],
        meshinfer.__version__,
        os.cpu_count() or 1,
        memory_mb(),
        providers(),
        model_refs(cards),
        guest,
    )


def model_refs(cards: tuple[ModelCard, ...]) -> tuple[ModelRef, ...]:
    return tuple(ModelRef(card.name, card.digest, card.version, len(card.classes)) for card in cards[:128])
