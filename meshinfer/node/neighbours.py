"""Who is out there and who is linked: our own `peer` record, the addresses learned from others', the links that
`wiring` wants, and what the store remembers of them.

Nobody introduces peers but the records themselves, so a mesh comes back without the peer that it began with.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import trio
from msgspec.structs import replace

from meshinfer.errors import MeshError, ProtocolError, StoreError
from meshinfer.mesh.api import Mesh, PeerChange, Stream
from meshinfer.model.facts import PeerFact
from meshinfer.model.ids import PeerId
from meshinfer.node.driver import Driver
from meshinfer.node.records import Records
from meshinfer.node.sharing import Sharing, compare
from meshinfer.node.wiring import Seen, Wiring
from meshinfer.store import Database, KnownPeer, PeerTable
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import Part, Parted, read_part, read_parted

PART = "part"

MAX_KNOWN = 1024
"""Peers whose addresses are kept. A record of one more takes the place of one that was never met."""

LOOK_EVERY = 5.0
"""Seconds between two looks at the links, where nothing happened in between."""

SETTLE = 0.2
"""Seconds between two looks where much happens."""

MAX_NEAR = 64
NEAR_PATIENCE = 3.0
"""Peers that are linked for one question, and the seconds that it waits for them."""

REMEMBER_EVERY = 10.0
SEEN_EVERY = 600.0
"""Seconds between two notes of when a connected peer was last seen: whoever is not any more is dialed last."""


class Neighbours:
    def __init__(
        self,
        mesh: Mesh,
        records: Records,
        driver: Driver,
        db: Database,
        me: PeerFact,
        bootstrap: tuple[str, ...],
        dice: random.Random,
    ) -> None:
        """`bootstrap`: addresses that the user gave, which `mesh` dials already."""
        self._mesh, self._records, self._driver = mesh, records, driver
        self._table = PeerTable(db)
        self.fact = me
        self._bootstrap: dict[PeerId, tuple[str, ...]] = {}
        for address in bootstrap:
            peer = PeerId(address.rpartition("/p2p/")[2])
            self._bootstrap[peer] = (*self._bootstrap.get(peer, ()), address)
        self._wiring, self._sharing = Wiring(dice, guest=me.guest), Sharing(driver.state)
        self._known: dict[PeerId, tuple[str, ...]] = {}
        self._dialed: dict[PeerId, tuple[str, ...]] = dict(self._bootstrap)
        """Whom the mesh dials for us, at which addresses."""
        self._needed: Counter[PeerId] = Counter()
        self._stirred = trio.Event()
        self._last_seen: dict[PeerId, float] = {}
        """Unix seconds, as it is in the store."""
        mesh.serve(PART, self._on_part)

    def state_again(self, **changes: object) -> None:
        """Our own record, where it differs from what we last said."""
        self.fact = replace(self.fact, **changes)
        held = self._records.log.get(self._mesh.me, "peer", "")
        if held is None or held.record.fact != self.fact or held.record.incarnation != self._records.own.incarnation:
            self._records.state(self.fact)

    async def serve(self) -> None:
        """Keep the links that are wanted; remember who was met."""
        remembered = await self._recall()
        async with self._mesh.changes() as changes, trio.open_nursery() as nursery:
            nursery.start_soon(self._remember, remembered)
            nursery.start_soon(self._notice_links, changes)
            nursery.start_soon(self._notice_news)
            while True:
                self._stirred = trio.Event()
                self._learn()
                await self._compare()
                for peer in self._arrange():
                    nursery.start_soon(self._part_from, peer)
                await trio.sleep(SETTLE)
                with trio.move_on_after(LOOK_EVERY):
                    await self._stirred.wait()

    @asynccontextmanager
    async def near(self, peers: Iterable[PeerId] | None = None) -> AsyncIterator[None]:
        """Links to these peers (to everybody), as far as they can be reached in seconds, for as long as it lasts: for
        what a person wants to know of all of them."""
        state = self._driver.state
        wanted = self._known.keys() & (self._known.keys() if peers is None else set(peers))
        some = Counter(sorted(wanted)[:MAX_NEAR])
        self._needed += some
        try:
            with trio.move_on_after(NEAR_PATIENCE):
                async with trio.open_nursery() as nursery:
                    for peer in some:
                        nursery.start_soon(self._reach, peer)
                while not self._mesh.peers & some.keys() <= state.connected:
                    await self._driver.changed()
            yield
        finally:
            self._needed -= some

    async def _reach(self, peer: PeerId) -> None:
        if peer not in self._mesh.unreached():  # it is dialed all the time as it is
            with suppress(MeshError):
                await self._mesh.reach(peer)

    # ---- links -------------------------------------------------------------------------------------------------------

    def _arrange(self) -> tuple[PeerId, ...]:
        """Dial and forget as planned; whom to ask for leave to part."""
        mesh, linked = self._mesh, self._linked()
        out = mesh.kept_out()
        known = self._known.keys() - out.keys()
        away = {peer: unreached.seconds for peer, unreached in mesh.unreached().items()}
        seen = Seen(linked, self._sharing.ranked(), known, away, frozenset(self._needed))
        plan = self._wiring.plan(seen, trio.current_time())
        wanted = {peer: self._known.get(peer, ()) for peer in sorted(plan.dial)}
        if self._wiring.lacks(linked):
            for peer, addresses in self._bootstrap.items():
                wanted[peer] = tuple(dict.fromkeys((*addresses, *wanted.get(peer, ()))))
        for peer in sorted(self._dialed.keys() - wanted.keys()):
            mesh.forget(peer)
        for peer, addresses in wanted.items():
            if self._dialed.get(peer) != addresses:
                mesh.know(addresses)
        self._dialed = wanted
        return plan.ask

    def _linked(self) -> frozenset[PeerId]:
        """Neighbours: who is connected and has said that it is no guest."""
        peers = self._driver.state.peers
        return frozenset(peer for peer in self._mesh.peers if peer in peers and not peers[peer].guest)

    async def _part_from(self, peer: PeerId) -> None:
        """Close the link, if the other end can do without it and nothing is under way on it."""
        agreed = False
        with suppress(MeshError, ProtocolError, trio.TooSlowError), trio.fail_after(LOOK_EVERY):
            if not self._mesh.busy(peer):
                async with self._mesh.open(peer, PART) as stream:
                    await stream.send(encode(Part(self._wiring.random_links(self._linked()))))
                    agreed = read_parted(await stream.receive() or b"").agreed
        if not agreed or self._mesh.busy(peer):
            self._wiring.refused(peer)
            return
        self._wiring.parted(peer)
        self._dialed.pop(peer, None)
        await self._mesh.hang_up(peer)

    async def _on_part(self, stream: Stream) -> None:
        links = read_part(await stream.receive() or b"").links
        agreed = stream.peer not in self._needed and self._wiring.may_go(stream.peer, links, self._linked())
        if agreed:
            self._wiring.parted(stream.peer)
            self._dialed.pop(stream.peer, None)
            self._mesh.forget(stream.peer)
        await stream.send(encode(Parted(agreed)))

    async def _notice_links(self, changes: trio.MemoryReceiveChannel[PeerChange]) -> None:
        async for _ in changes:
            self._stirred.set()

    async def _notice_news(self) -> None:
        """Peers, and peers with sources, that were not known: whom to dial is looked at anew."""
        state, before = self._driver.state, (0, 0)
        while True:
            now = len(state.peers), len(state.sources)
            if now != before:
                before = now
                self._stirred.set()
                await trio.sleep(SETTLE)
            else:
                await self._driver.changed()

    async def _compare(self) -> None:
        """Look our contents up in sketches that are new; the rest at the next look, which is soon."""
        if stale := self._sharing.stale():
            contents = self._sharing.contents()
            if contents:
                self._sharing.note(await trio.to_thread.run_sync(compare, contents, stale))
                self._stirred.set()

    # ---- addresses ---------------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        for peer, fact in self._driver.state.peers.items():
            if not fact.guest:
                self._know(peer, fact.addresses)

    def _know(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        """An address in a record counts only for the peer that signed it."""
        own = tuple(a for a in addresses if a.endswith(f"/p2p/{peer}"))
        if peer == self._mesh.me or not own or self._known.get(peer) == own:
            return
        if len(self._known) >= MAX_KNOWN and peer not in self._known and not self._make_room():
            return
        self._known[peer] = own
        self._mesh.introduce(own)

    async def forget(self, peer: PeerId) -> None:
        """Dial it no more, also after a restart. Raises StoreError."""
        self._known.pop(peer, None)
        self._dialed.pop(peer, None)
        self._last_seen.pop(peer, None)
        self._mesh.forget(peer)
        await trio.to_thread.run_sync(self._table.forget, peer)

    def _make_room(self) -> bool:
        """Forget one that was never met. Whether there was one."""
        for peer in self._known:
            if not self._last_seen.get(peer) and peer not in self._mesh.peers and peer not in self._dialed:
                del self._known[peer]
                return True
        return False

    async def _recall(self) -> dict[PeerId, tuple[str, ...]]:
        remembered: dict[PeerId, tuple[str, ...]] = {}
        for known in await trio.to_thread.run_sync(self._table.load):
            peer = PeerId(known.peer)
            remembered[peer], self._last_seen[peer] = known.addresses, known.last_seen
            self._know(peer, known.addresses)
        return remembered

    async def _remember(self, remembered: dict[PeerId, tuple[str, ...]]) -> None:
        while True:
            if fresh := self._fresh(remembered):
                try:
                    await trio.to_thread.run_sync(self._table.save, fresh)
                    remembered.update((PeerId(k.peer), k.addresses) for k in fresh)
                    self._last_seen.update((PeerId(k.peer), k.last_seen) for k in fresh)
                except StoreError:
                    pass  # housekeeping says that the disk is full; this is tried again
            await trio.sleep(REMEMBER_EVERY)

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
