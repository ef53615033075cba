"""The in-memory mesh under virtual time: cut, heal, lost gossip, latency. The contract itself is in tests/mesh."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from meshinfer.errors import MeshError
from meshinfer.mesh.api import Message, PeerChange, Stream
from meshinfer.mesh.memory import MemoryNetwork
from meshinfer.model.ids import PeerId

ALICE, BOB, CAROL = PeerId("alice"), PeerId("bob"), PeerId("carol")


def where(peer: PeerId) -> tuple[str, ...]:
    return (f"/memory/{peer}/p2p/{peer}",)


async def waits(stream: Stream) -> None:
    await stream.receive()


async def test_a_cut_ends_streams_and_connection_and_heal_brings_it_back(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with (
        network.mesh(ALICE, listen=("alice",)) as alice,
        network.mesh(BOB, bootstrap=where(ALICE)) as bob,
        bob.changes() as changes,
    ):
        alice.serve("waits", waits)
        assert await changes.receive() == PeerChange(ALICE, up=True)
        stream_broke = trio.Event()

        async def talk() -> None:
            with pytest.raises(MeshError):
                async with bob.open(ALICE, "waits") as stream:
                    await stream.receive()
            stream_broke.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            await trio.sleep(1)
            network.cut(ALICE, BOB)
        assert stream_broke.is_set()
        assert await changes.receive() == PeerChange(ALICE, up=False)
        assert alice.peers == bob.peers == frozenset()
        await trio.sleep(300)
        assert "the link is cut" in bob.unreached()[ALICE].error
        assert bob.unreached()[ALICE].seconds == pytest.approx(300, abs=1)
        network.heal(ALICE, BOB)
        healed = trio.current_time()
        assert await changes.receive() == PeerChange(ALICE, up=True)
        assert trio.current_time() - healed <= 15 * 1.3 + 0.01


async def test_gossip_can_be_lost_while_streams_work(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(drop_gossip=True)
    async with network.mesh(ALICE, listen=("alice",)) as alice, network.mesh(BOB, bootstrap=where(ALICE)) as bob:
        await bob._links.wait(ALICE, up=True)
        alice.serve("waits", waits)
        await bob.publish("jobs", b"lost")
        async with bob.open(ALICE, "waits"):
            pass
        network.drop_gossip = False
        await bob.publish("jobs", b"heard")
        async for message in alice.messages():
            assert message == Message("jobs", BOB, b"heard")
            break


async def test_latency_is_virtual_and_per_hop(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0.5)
    async with (
        network.mesh(ALICE, listen=("alice",)) as alice,
        network.mesh(BOB, listen=("bob",), bootstrap=where(ALICE)) as bob,
        network.mesh(CAROL, bootstrap=where(BOB)) as carol,
    ):
        await carol._links.wait(BOB, up=True)
        await bob._links.wait(ALICE, up=True)
        start = trio.current_time()
        await carol.publish("events", b"x")
        async for _ in alice.messages():
            break
        assert trio.current_time() - start == pytest.approx(1.0)


async def test_a_peer_that_is_down_is_dialed_with_growing_pauses_up_to_the_cap(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(latency=0)
    async with network.mesh(ALICE, bootstrap=where(BOB)) as alice:
        tries: list[float] = []
        seen = 0
        while trio.current_time() < 200:
            await trio.sleep(0.05)
            if alice.counters.get("dials_failed", 0) > seen:
                seen = alice.counters["dials_failed"]
                tries.append(trio.current_time())
        pauses = [b - a for a, b in pairwise(tries)]
        assert pauses[0] < 1
        assert max(pauses) <= 15 * 1.3 + 0.1
        assert all(pause >= 15 * 0.7 - 0.1 for pause in pauses[6:])


async def test_runs_are_equal_for_equal_seeds(autojump_clock: MockClock) -> None:
    async def tries(seed: int) -> float:
        network = MemoryNetwork(seed=seed)
        start = trio.current_time()
        async with network.mesh(ALICE, bootstrap=where(BOB)) as alice:
            while alice.counters.get("dials_failed", 0) < 5:
                await trio.sleep(0.001)
        return round(trio.current_time() - start, 3)

    assert await tries(1) == await tries(1) != await tries(2)


async def test_a_name_is_listened_on_once(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with network.mesh(ALICE, listen=("here",)):
        with pytest.raises(MeshError, match="already in use"):
            async with network.mesh(BOB, listen=("here",)):
                pass
