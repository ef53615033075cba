"""Who is dialed, who is remembered, and for how long."""

from __future__ import annotations

import pytest
import trio

from meshinfer.model.facts import PeerFact
from meshinfer.node import neighbours, sync
from meshinfer.store import PeerTable
from tests.shell.support import Peer, World, record, stranger, until, where, who

WITHOUT_GOSSIP_TOO = True


def fact(*addresses: str, guest: bool = False) -> PeerFact:
    return PeerFact("m", {}, addresses, "1", 1, 1, guest=guest)


def remembered(peer: Peer) -> dict[str, tuple[str, ...]]:
    return {known.peer: known.addresses for known in PeerTable(peer.db).load()}


async def test_peers_find_each_other_by_their_records(world: World) -> None:
    """bob and carol know only alice. What carol said before she was connected comes with a round of sync."""
    await world.start("alice")
    bob = await world.start("bob", "alice")
    carol = await world.start("carol", "alice")
    assert await until(lambda: carol.id in bob.mesh.peers) < 2.5 * sync.EVERY


async def test_a_mesh_comes_back_without_its_first_bootstrap_peer(world: World) -> None:
    alice, bob, carol = await world.three()
    await trio.sleep(neighbours.REMEMBER_EVERY)
    for peer in (alice, bob, carol):
        await peer.stop(kill=True)
    world._options["bob"]["knows"] = world._options["carol"]["knows"] = ()
    bob, carol = await world.start("bob"), await world.start("carol")
    assert await until(lambda: carol.id in bob.mesh.peers) < 2.0


async def test_an_address_counts_only_for_who_signed_it(world: World) -> None:
    """mallory says that carol can be reached at his own address, and that he is at bob's."""
    alice = await world.start("alice")
    await world.start("bob")
    async with stranger(world, "alice") as mallory:
        carol, bob = who("carol").peer_id, who("bob").peer_id
        lies = fact(f"/memory/mallory/p2p/{carol}", where("bob"), where("mallory"))
        await mallory.tells(alice.id, record(lies, 1))
        await until(lambda: mallory.mesh.me in alice.driver.state.peers)
        await trio.sleep(30)
        assert carol not in alice.mesh.unreached()
        assert bob not in alice.mesh.peers
        assert remembered(alice) == {mallory.mesh.me: (where("mallory"),)}


async def test_guests_are_neither_dialed_nor_remembered(world: World) -> None:
    alice, bob, _ = await world.three()
    guest = await world.start("guest", "alice", guest=True)
    await until(lambda: guest.id in bob.driver.state.peers)
    await trio.sleep(neighbours.REMEMBER_EVERY + 1)
    assert guest.id not in remembered(alice)
    assert guest.id not in remembered(bob)
    await guest.stop()
    await trio.sleep(5)
    assert guest.id not in alice.mesh.unreached()
    assert guest.id not in bob.mesh.unreached()


async def test_only_so_many_are_dialed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_DIALED", 8)
    alice = await world.start("alice")
    async with stranger(world, "alice") as mallory:
        for n in range(30):
            await mallory.tells(alice.id, record(fact(where(f"ghost {n}")), 1, by=f"ghost {n}"))
        await until(lambda: len(alice.driver.state.peers) == 31)
        await trio.sleep(15)
        assert len(alice.mesh.unreached()) == 8
        assert len(remembered(alice)) == 8


async def test_the_dead_make_room_for_the_living(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh whose peers came and went for months: those that answer no more do not keep a new one out."""
    monkeypatch.setattr(neighbours, "MAX_DIALED", 8)
    alice = await world.start("alice")
    async with stranger(world, "alice") as mallory:
        for n in range(12):
            await mallory.tells(alice.id, record(fact(where(f"ghost {n}")), 1, by=f"ghost {n}"))
        await until(lambda: len(alice.driver.state.peers) == 13)
        await trio.sleep(20)
        zoe = await world.start("zoe")
        await until(lambda: zoe.id in zoe.driver.state.peers)
        zoes = zoe.records.log.get(zoe.id, "peer", "")
        assert zoes is not None
        await mallory.tells(alice.id, zoes.record)
        await until(lambda: zoe.id in alice.mesh.peers, neighbours.GIVE_UP * 3)
        assert len(alice.mesh.unreached()) <= 8
        await trio.sleep(neighbours.GIVE_UP * 3)
        assert zoe.id in alice.mesh.peers, "who is connected is not given up"


async def test_when_a_peer_was_last_seen_is_when_it_was_connected(world: World) -> None:
    """A start does not make those that it only knows from the store look alive."""
    alice = await world.start("alice")
    bob = await world.start("bob", "alice")
    await until(lambda: bob.id in remembered(alice), 20)
    await trio.sleep(20)
    await bob.stop()
    await trio.sleep(5000)
    (before,) = PeerTable(alice.db).load()
    await alice.stop()
    alice = await world.start("alice")
    await trio.sleep(100)
    (after,) = PeerTable(alice.db).load()
    assert after.last_seen == before.last_seen
    bob = await world.start("bob")
    await until(lambda: bob.id in alice.mesh.peers, 60)
    await trio.sleep(15)
    (again,) = PeerTable(alice.db).load()
    assert again.last_seen > before.last_seen + 5000


async def test_a_peer_that_moves_is_found_at_its_new_address(world: World) -> None:
    alice, bob, carol = await world.three()
    moved = fact("/memory/elsewhere/p2p/" + carol.id)
    carol.records.state(moved)
    await until(lambda: "/memory/elsewhere/p2p/" + carol.id in remembered(bob).get(carol.id, ()), 15)
    assert carol.id in alice.mesh.peers
