"""A peer over libp2p that keeps links, records and events, and runs nothing: many fit into one process."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from meshinfer.mesh.api import PeerChange
from meshinfer.mesh.libp2p import Libp2pMesh
from meshinfer.model.facts import PeerFact
from meshinfer.model.ids import PeerId
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec
from meshinfer.node import gossip
from meshinfer.node.driver import Driver
from meshinfer.node.events import EventHub
from meshinfer.node.neighbours import Neighbours
from meshinfer.node.records import Records
from meshinfer.node.sync import Sync
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import Connected, Disconnected, State
from meshinfer.store import Database
from tests.mesh.support import identity, join_libp2p
from tests.shell.support import MODEL


class LightPeer:
    def __init__(self, name: str, mesh: Libp2pMesh, db: Database, bootstrap: tuple[str, ...]) -> None:
        self.name, self.mesh = name, mesh
        self.rejected: Counter[str] = Counter()
        self.driver = Driver(
            ScheduleState(mesh.me), lambda e: self.records.state(e.fact) if isinstance(e, State) else None
        )
        self.records = Records(mesh, "test", identity(name), db, self.driver)
        self.hub = EventHub(mesh, self.records.own, 0)
        self.sync = Sync(mesh, self.records, self.rejected, random.Random(name))
        me = PeerFact(name, {}, mesh.addresses, "1", 1, 1)
        self.neighbours = Neighbours(mesh, self.records, self.driver, db, me, bootstrap, random.Random(name))

    async def serve(self) -> None:
        await self.records.load()
        async with self.mesh.changes() as changes, trio.open_nursery() as nursery:
            for peer in sorted(self.mesh.peers):
                self.driver.feed(Connected(peer))
            nursery.start_soon(self._watch, changes)
            for service in (self.driver, self.records, self.hub, self.sync, self.neighbours):
                nursery.start_soon(service.serve)
            nursery.start_soon(self.listen)
            self.neighbours.state_again()

    async def listen(self) -> None:
        await gossip.listen(self.mesh, self.records, self.hub, self.rejected)

    async def _watch(self, changes: trio.MemoryReceiveChannel[PeerChange]) -> None:
        async for change in changes:
            self.driver.feed(Connected(change.peer) if change.up else Disconnected(change.peer))

    @property
    def links(self) -> frozenset[PeerId]:
        return self.mesh.peers

    def publish(self, nonce: str) -> JobOrder:
        packed, salt = pack_spec(JobSpec("m")), nonce.encode().ljust(8, b"-")
        order = JobOrder(job_id(packed, MODEL, salt), packed, MODEL, salt, 0.0)
        self.records.state(order)
        return order


@asynccontextmanager
async def light_peer(
    name: str, folder: Path, bootstrap: tuple[str, ...] = (), make: type[LightPeer] = LightPeer
) -> AsyncIterator[LightPeer]:
    folder.mkdir(parents=True, exist_ok=True)
    db = Database.open(folder / f"{name}.db")
    try:
        async with join_libp2p(name, bootstrap=bootstrap) as mesh, trio.open_nursery() as nursery:
            peer = make(name, mesh, db, bootstrap)
            nursery.start_soon(peer.serve)
            yield peer
            nursery.cancel_scope.cancel()
    finally:
        db.close()


def is_settled(peers: list[LightPeer], links: float) -> bool:
    """Whether all know all, and have no more links than that on average."""
    return (
        all(len(p.driver.state.peers) == len(peers) for p in peers)
        and sum(len(p.links) for p in peers) <= len(peers) * links
    )
