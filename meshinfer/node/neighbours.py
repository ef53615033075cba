"""Who is out there: our own `peer` record, the addresses learned from others', and what the store remembers of them.

Nobody introduces peers but the records themselves, so a mesh comes back without the peer that it began with.
"""

from __future__ import annotations

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


def memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


class Neighbours:
    def __init__(self, mesh: Mesh, records: Records, driver: Driver, db: Database, me: PeerFact) -> None:
        self._mesh, self._records, self._driver = mesh, records, driver
        self._table = PeerTable(db)
        self.fact = me
        self._known: dict[PeerId, tuple[str, ...]] = {}

    def state_again(self, **changes: object) -> None:
        """Our own record, where it differs from what we last said."""
        self.fact = replace(self.fact, **changes)
        held = self._records.log.get(self._mesh.me, "peer", "")
        if held is None or held.record.fact != self.fact or held.record.incarnation != self._records.own.incarnation:
            self._records.state(self.fact)

    async def serve(self) -> None:
        """Dial whom the store knows and the records name; remember them."""
        for known in await trio.to_thread.run_sync(self._table.load):
            self._know(PeerId(known.peer), known.addresses)
        remembered: dict[PeerId, tuple[str, ...]] = {}
        while True:
            for peer, fact in sorted(self._driver.state.peers.items()):
                if not fact.guest:
                    self._know(peer, fact.addresses)
            fresh = [
                KnownPeer(peer, addresses, time.time())
                for peer, addresses in self._known.items()
                if remembered.get(peer) != addresses
            ]
            if fresh:
                try:
                    await trio.to_thread.run_sync(self._table.save, fresh)
                    remembered.update((PeerId(k.peer), k.addresses) for k in fresh)
                except StoreError:
                    pass  # housekeeping says that the disk is full; this is tried again
            with trio.move_on_after(REMEMBER_EVERY):
                known_before = len(self._driver.state.peers)
                while len(self._driver.state.peers) == known_before:
                    await self._driver.changed()

    def _know(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        """An address in a record counts only for the peer that signed it."""
        own = tuple(a for a in addresses if a.endswith(f"/p2p/{peer}"))
        if peer == self._mesh.me or not own or self._known.get(peer) == own:
            return
        if len(self._known) >= MAX_DIALED and peer not in self._known:
            return
        self._known[peer] = own
        self._mesh.know(own)


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
