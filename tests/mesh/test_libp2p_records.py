"""Records over real connections with every announcement lost: jobs, and how they end, still arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import trio

from meshinfer.mesh.libp2p import Libp2pMesh
from meshinfer.mesh.memory import MemoryMesh
from meshinfer.model.facts import Cancel
from meshinfer.store import Database
from tests.mesh.support import ANY_PORT, until
from tests.mesh.support import open_mesh as open_libp2p
from tests.shell.support import MESH, Peer, World, who

PATIENCE = 60.0
"""Seconds: it takes about one, on a machine with nothing else to do."""


@asynccontextmanager
async def deaf_and_dumb(name: str, folder: Path, *bootstrap: str) -> AsyncIterator[Peer]:
    """A peer on libp2p that announces to nobody."""
    peer = Peer(cast(World, None), name, knows=(), skew=0.0, work=0.2, guest=False)
    peer.db = Database.open(folder / f"{name}.db")
    async with open_libp2p(who(name), listen=ANY_PORT, mesh=MESH, bootstrap=bootstrap) as mesh:

        async def lose(topic: str, data: bytes) -> None:
            pass

        mesh.publish = lose  # type: ignore[method-assign]  # the switch of this test
        peer._wire(cast(MemoryMesh, mesh))
        async with trio.open_nursery() as services:
            await services.start(peer._serve)
            yield peer
            peer.scope.cancel()


def address(peer: Peer) -> str:
    return cast(Libp2pMesh, peer.mesh).addresses[0]


async def test_a_job_with_every_announcement_lost(tmp_path: Path) -> None:
    """alice publishes, bob and carol hold footage, dave only asks."""
    async with (
        deaf_and_dumb("alice", tmp_path) as alice,
        deaf_and_dumb("bob", tmp_path, address(alice)) as bob,
        deaf_and_dumb("carol", tmp_path, address(alice)) as carol,
        deaf_and_dumb("dave", tmp_path, address(alice)) as dave,
    ):
        peers = (alice, bob, carol, dave)
        await until(lambda: all(len(p.driver.state.peers) == 4 for p in peers), PATIENCE)
        bob.holds("film", "other")
        carol.holds("third")
        job = alice.publish()
        await until(lambda: all(job.id in p.jobs for p in peers), PATIENCE)
        for p in (alice, bob, carol):
            await until(lambda p=p: len(p.jobs[job.id].outcomes) == 3, PATIENCE)
        assert not dave.records.log.speakers(job.id)
        await dave.sync.fetch([job.id], PATIENCE)
        assert len(dave.jobs[job.id].outcomes) == 3
        dave.records.state(Cancel(job.id, "enough"))
        await until(lambda: all(p.jobs[job.id].cancelled for p in peers), PATIENCE)
