"""Who is dialed, who is remembered, and for how long."""

from __future__ import annotations

import pytest
import trio

from meshinfer.errors import MeshError
from meshinfer.mesh.api import Stream
from meshinfer.model.catalog import SourceSummary
from meshinfer.model.facts import PeerFact
from meshinfer.model.ids import PeerId
from meshinfer.node import neighbours, sync, wiring
from meshinfer.schedule.sketch import sketch
from meshinfer.store import PeerTable
from tests.shell.support import Peer, World, entry, record, stranger, until, where, who

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


async def test_only_so_many_are_dialed_and_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records cost whoever makes them nothing."""
    monkeypatch.setattr(neighbours, "MAX_KNOWN", 20)
    alice = await world.start("alice")
    async with stranger(world, "alice") as mallory:
        for n in range(40):
            await mallory.tells(alice.id, record(fact(where(f"ghost {n}")), 1, by=f"ghost {n}"))
        await until(lambda: len(alice.driver.state.peers) == 41)
        for _ in range(100):
            await trio.sleep(1)
            assert len(alice.mesh.unreached()) <= wiring.ALONE + wiring.FAR
        assert len(remembered(alice)) <= 40
        assert len(alice.neighbours._known) == 20


async def test_the_dead_make_room_for_the_living(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh whose peers came and went for months: those that answer no more do not keep a new one out."""
    monkeypatch.setattr(neighbours, "MAX_KNOWN", 20)
    alice = await world.start("alice")
    async with stranger(world, "alice") as mallory:
        for n in range(60):
            await mallory.tells(alice.id, record(fact(where(f"ghost {n}")), 1, by=f"ghost {n}"))
        await until(lambda: len(alice.driver.state.peers) == 61)
        await trio.sleep(20)
        zoe = await world.start("zoe")
        await until(lambda: zoe.id in zoe.driver.state.peers)
        zoes = zoe.records.log.get(zoe.id, "peer", "")
        assert zoes is not None
        await mallory.tells(alice.id, zoes.record)
        await until(lambda: zoe.id in alice.mesh.peers, 60)
        await trio.sleep(900)
        assert zoe.id in alice.mesh.peers, "who is connected is not given up"


def residents(peer: Peer) -> frozenset[PeerId]:
    return peer.neighbours._linked()


async def many(world: World, count: int) -> list[Peer]:
    """They all know only the first."""
    first = await world.start("p0")
    return [first, *[await world.start(f"p{n}", "p0") for n in range(1, count)]]


async def test_a_mesh_of_many_has_no_centre_and_hangs_together_without_its_first_peer(world: World) -> None:
    first, *others = peers = await many(world, 24)
    await until(lambda: all(wiring.LOW <= len(residents(p)) <= wiring.HIGH + 2 for p in peers), 120)
    assert all(len(p.driver.state.peers) == 24 for p in peers)
    await first.stop(kill=True)
    for peer in others[:7]:
        await peer.stop(kill=True)
    alive = others[7:]
    await until(lambda: all(len(residents(p)) >= wiring.LOW for p in alive), 60)
    alive[0].neighbours.state_again(labels={"news": "yes"})
    await until(lambda: all(p.driver.state.peers[alive[0].id].labels for p in alive), 10)


@pytest.mark.needs_gossip
async def test_who_has_the_same_footage_gets_a_link(world: World) -> None:
    peers = await many(world, 24)
    one, two = peers[5], peers[17]
    await until(lambda: all(wiring.LOW <= len(residents(p)) <= wiring.HIGH + 2 for p in peers), 120)
    if two.id in one.mesh.peers:  # by chance: then there is nothing to see
        one.neighbours._wiring.parted(two.id)
        two.neighbours._wiring.parted(one.id)
        one.mesh.forget(two.id)
        two.mesh.forget(one.id)
        one.neighbours._dialed.pop(two.id, None)
        two.neighbours._dialed.pop(one.id, None)
        await one.mesh.hang_up(two.id)
    for peer in (one, two):
        peer.holds("film", f"of {peer.name}")
        peer.records.state(summary(peer, "film", f"of {peer.name}"))
    assert await until(lambda: two.id in one.mesh.peers) < 1.0
    await trio.sleep(120)
    assert two.id in one.mesh.peers
    assert len(residents(one)) <= wiring.HIGH + 3


def summary(peer: Peer, *names: str) -> SourceSummary:
    contents = [entry(name).content for name in names]
    return SourceSummary("cam", ("video",), {}, len(names), 0, 0, 0.0, digest=peer.name, sketch=sketch(contents))


async def test_a_link_that_both_can_spare_goes_and_one_in_use_stays(world: World) -> None:
    """alice has eleven neighbours, each of which has many: bob, who is talking to her, is not hung up on."""
    peers = await many(world, 14)
    alice = peers[0]

    async def talks(stream: Stream) -> None:
        while (frame := await stream.receive()) is not None:
            await stream.send(frame)

    alice.mesh.serve("talks", talks)
    await until(lambda: len(residents(alice)) > wiring.HIGH)
    bob = next(p for p in peers if p.id in alice.mesh.peers)
    async with bob.mesh.open(alice.id, "talks") as stream:
        await until(lambda: len(residents(alice)) <= wiring.HIGH, 120)
        await stream.send(b"still here")
        assert await stream.receive() == b"still here"


async def test_a_stream_to_a_peer_that_is_not_connected_dials_it(world: World) -> None:
    peers = await many(world, 24)
    await until(lambda: all(wiring.LOW <= len(residents(p)) <= wiring.HIGH + 2 for p in peers), 120)
    one = peers[3]
    two = next(p for p in peers if p.id not in one.mesh.peers and p is not one)

    async def hello(stream: Stream) -> None:
        await stream.send(b"hello")

    two.mesh.serve("hello", hello)
    async with one.mesh.open(two.id, "hello") as stream:
        assert await stream.receive() == b"hello"
    gone = next(p for p in peers if p.id not in one.mesh.peers and p not in (one, two))
    await gone.stop()
    began = trio.current_time()
    with pytest.raises(MeshError, match="not connected"):
        async with one.mesh.open(gone.id, "hello"):
            pass
    assert trio.current_time() - began < 10


async def test_all_are_near_while_somebody_wants_to_know_of_all(world: World) -> None:
    """One of them is gone: that takes seconds at most. Afterwards the links go, in their own time."""
    peers = await many(world, 24)
    await until(lambda: all(wiring.LOW <= len(residents(p)) <= wiring.HIGH + 2 for p in peers), 120)
    one, gone = peers[3], peers[9]
    await gone.stop(kill=True)
    began = trio.current_time()
    async with one.neighbours.near():
        assert trio.current_time() - began <= neighbours.NEAR_PATIENCE
        assert one.driver.state.connected == {p.id for p in peers if p not in (one, gone)}
        await trio.sleep(60)
        assert len(one.mesh.peers) == 22
    await until(lambda: len(residents(one)) <= wiring.HIGH + 2, 120)
    async with one.neighbours.near([peers[5].id]):
        assert peers[5].id in one.driver.state.connected


async def test_a_guest_has_few_links_and_leaves_when_it_leaves(world: World) -> None:
    peers = await many(world, 24)
    guest = await world.start("guest", "p0", guest=True)
    await until(lambda: len(residents(guest)) >= wiring.LOW)
    await trio.sleep(60)
    assert len(guest.mesh.peers) <= wiring.HIGH
    assert all(guest.id not in p.mesh.unreached() for p in peers)
    await guest.stop()
    await trio.sleep(5)
    assert all(guest.id not in p.mesh.unreached() for p in peers)


@pytest.mark.needs_gossip
async def test_a_persistent_offender_is_kept_out_and_comes_back_when_it_is_over(world: World) -> None:
    """Gossip that is garbage: whose it is, is signed, so bob, who passes it on, is not blamed."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    await until(lambda: len(alice.driver.state.peers) == 2)
    async with stranger(world, "bob") as mallory:
        await mallory.mesh.publish("jobs", b"once may happen")
        await until(lambda: bob.mesh.counters.get("offences"))
        assert not bob.mesh.kept_out()
        assert mallory.mesh.me in bob.mesh.peers
        for _ in range(20):
            await mallory.mesh.publish("jobs", b"garbage")
        await until(lambda: mallory.mesh.me in bob.mesh.kept_out())
        assert set(alice.mesh.kept_out()) <= {mallory.mesh.me}
        assert mallory.mesh.me not in bob.mesh.peers
        assert alice.id in bob.mesh.peers
        await trio.sleep(40)
        assert mallory.mesh.me not in bob.mesh.peers, "it dials in vain"
        await until(lambda: mallory.mesh.me in bob.mesh.peers, 60)


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
    await until(lambda: "/memory/elsewhere/p2p/" + carol.id in remembered(bob).get(carol.id, ()), 40)
    assert carol.id in alice.mesh.peers
