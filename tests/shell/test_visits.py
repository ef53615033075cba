"""Peers with a part in one job, too far apart for a relay, come to know the same."""

from __future__ import annotations

import pytest

from meshinfer.mesh.memory import MemoryMesh
from meshinfer.node import sync
from meshinfer.schedule.visits import FAILED
from tests.shell.support import Peer, World, until

WITHOUT_GOSSIP_TOO = True


class Unlinked(Peer):
    """It learns where others are, and dials only whom it was told to."""

    def _wire(self, mesh: MemoryMesh) -> None:
        super()._wire(mesh)
        self.neighbours._arrange = tuple  # type: ignore[method-assign]  # tests only


@pytest.fixture
async def row(world: World) -> list[Peer]:
    """Each knows the one before: five hops from the first to the last."""
    world.kind = Unlinked
    peers = [await world.start("peer0")]
    peers += [await world.start(f"peer{i}", f"peer{i - 1}") for i in range(1, 6)]
    await until(lambda: all(len(p.driver.state.peers) == 6 for p in peers))
    return peers


def outcomes(peer: Peer, job: str) -> int:
    return sum(len(known.outcomes) for known in peer.jobs.values() if known.id == job)


async def test_a_holder_that_no_relay_reaches_tells_the_publisher_in_seconds(world: World, row: list[Peer]) -> None:
    first, last = row[0], row[-1]
    last.holds("film")
    job = first.publish()
    await until(lambda: last.started)
    assert await until(lambda: outcomes(first, job.id)) < 2 * sync.EVERY


async def test_two_holders_meet_though_the_publisher_is_gone(world: World, row: list[Peer]) -> None:
    last = row[-1]
    publisher = await world.start("alice", "peer2")
    await until(lambda: all(len(p.driver.state.peers) == 7 for p in row))
    job = publisher.publish()
    await until(lambda: all(job.id in p.jobs for p in row))
    await publisher.stop(kill=True)
    row[0].holds("film")
    last.holds("other")
    await until(lambda: outcomes(row[0], job.id) == outcomes(last, job.id) == 2, within=FAILED)
