"""The doctor among real peers on the memory mesh: links are cut, gossip is lost, others answer badly or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from meshinfer.mesh.api import MAX_FRAME, Handler, Stream
from meshinfer.model.facts import PeerFact
from meshinfer.node.checkup import AGAIN_AFTER, HEALTH, PATIENCE, Doctor
from meshinfer.schedule.stimuli import RoomChanged
from meshinfer.store import StoreFull
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_LACKING, MAX_LINKS, Checkup, Health, Lacking, read_health
from tests.shell.support import Peer, WallClock, World, found, order, record, stranger, until, who
from tests.shell.test_hostile import garbage


def doctor(peer: Peer, lag_ms: float = 1.0) -> Doctor:
    return Doctor(peer.mesh, peer.driver, peer.records, peer.hub, peer.catalog, peer.db, lambda: {"p99": lag_ms})


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshinfer.node.checkup.time", WallClock)


def _plain(health: Health) -> dict[str, Any]:
    return {field: getattr(health, field) for field in health.__struct_fields__}


async def wrong(asks: Doctor) -> list[tuple[str, str]]:
    checks = await asks.examine()
    assert all(c["todo"] for c in checks if not c["ok"])
    return [(c["check"], c["what"]) for c in checks if not c["ok"]]


async def test_three_that_are_well(world: World) -> None:
    asks, *_ = map(doctor, await world.three())
    began = trio.current_time()
    checks = await asks.examine()
    assert [c for c in checks if not c["ok"]] == []
    assert trio.current_time() - began < 2, "one look is enough"
    assert {c["check"] for c in checks} >= {"reach", "answers", "overlay", "gossip", "records", "clocks", "store"}


async def test_a_chain_is_a_bridge_that_everybody_sees(world: World) -> None:
    for asks in [doctor(peer) for peer in await world.chain()]:
        said = await wrong(asks)
        assert "bob" in dict(said)["overlay"] or "this peer" in dict(said)["overlay"]


async def test_a_mesh_of_many_is_well_and_asked_beyond_the_neighbours(world: World) -> None:
    """Who is no neighbour is dialed to be asked, and the links made for it are not taken for the mesh's."""
    peers = [await world.start("p0"), *[await world.start(f"p{n}", "p0") for n in range(1, 20)]]
    asks, *_ = map(doctor, peers)
    await until(lambda: all(6 <= len(p.mesh.peers) <= 10 and len(p.driver.state.peers) == 20 for p in peers), 120)
    checks = await asks.examine()
    assert [c for c in checks if not c["ok"]] == []
    assert "19 of 19 peers answered" in next(c["what"] for c in checks if c["check"] == "answers")
    await peers[9].stop(kill=True)
    said = dict(await wrong(asks))
    assert set(said) == {"reach"}
    assert "p9" in said["reach"]


async def test_who_is_kept_out_is_told_with_the_reason(world: World) -> None:
    alice, bob, _ = await world.three()
    asks = doctor(alice)
    for _n in range(12):
        alice.mesh.blame(bob.id, "garbage on the sync stream")
    await until(lambda: bob.id not in alice.mesh.peers)
    said = dict(await wrong(asks))
    assert "garbage on the sync stream" in said["offenders"]
    assert "bob" in said["offenders"]


async def test_a_cut_link_is_named_and_who_is_cut_off(world: World) -> None:
    alice, *others = await world.three()
    asks, *_ = map(doctor, (alice, *others))
    for name in ("alice", "bob"):
        world.cut(name, "carol")
    await until(lambda: len(alice.mesh.peers) == 1)
    ((check, what),) = await wrong(asks)
    assert check == "reach"
    assert "carol" in what
    assert "the link is cut" in what
    for name in ("alice", "bob"):
        world.heal(name, "carol")
    await until(lambda: len(alice.mesh.peers) == 2, 60)
    await trio.sleep(1)
    assert await wrong(asks) == []


async def test_a_peer_that_hears_nobody(world: World) -> None:
    alice, _ = await world.start("alice"), await world.start("bob", "alice")
    asks = doctor(alice)
    await until(lambda: len(alice.driver.state.peers) == 2)
    world.cut("alice", "bob")
    await until(lambda: not alice.mesh.peers)
    assert "connected to nobody" in (await wrong(asks))[0][1]


async def test_gossip_that_gets_nowhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks, both in vain. Sync would bring the record in the end, so it is kept away."""
    peers = await world.three()
    asks, *_ = map(doctor, peers)
    world.network.drop_gossip = True
    for peer in peers:

        async def idle(_: Any) -> None:
            await trio.sleep(0.01)

        monkeypatch.setattr(peer.sync, "with_peer", idle)
    began = trio.current_time()
    assert await wrong(asks) == [("gossip", "nobody hears what this peer announces")]
    assert AGAIN_AFTER < trio.current_time() - began < 10
    world.network.drop_gossip = False
    assert await wrong(asks) == []


async def test_records_that_do_not_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a peer that is no more: bob has them, and his syncs bring nothing."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    asks, _ = doctor(alice), doctor(bob)
    await until(lambda: len(alice.driver.state.peers) == 2)

    async def idle(_: Any) -> None:
        await trio.sleep(0.01)

    with monkeypatch.context() as kept_apart:
        for peer in (alice, bob):
            kept_apart.setattr(peer.sync, "with_peer", idle)
        fact = PeerFact("carol", {}, (), "1", 1, 1, guest=True)
        await bob.records.hear(record(fact, 1, by="carol").sealed, 0.0)
        assert [check for check, _ in await wrong(asks)] == ["records"]
    began = trio.current_time()
    assert await wrong(asks) == [], "a sync between the two looks closes it"
    assert trio.current_time() - began < 10


async def test_a_record_that_nobody_can_complete_is_no_gap(world: World) -> None:
    """A job of a peer that is no more, heard ahead of its prefix: both have it, and no vector will ever say so."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    asks, _ = doctor(alice), doctor(bob)
    await until(lambda: len(alice.driver.state.peers) == 2)
    await bob.records.hear(record(order(), 5, by="carol").sealed, 0.0)
    await until(lambda: alice.jobs)
    assert await wrong(asks) == []


async def test_a_store_that_takes_no_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asks, *_ = map(doctor, peers := await world.three())

    def full(*_: object, **__: object) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(peers[0].records._table, "save", full)
    assert await wrong(asks) == [("gossip", "nothing could be announced: the store took no record in time")]


async def test_half_the_way_is_taken_off_a_clock(world: World) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice", skew=8.0)
    asks, _ = doctor(alice), doctor(bob)
    await until(lambda: len(alice.driver.state.peers) == 2)
    world.network.latency = 1.0
    assert "8 s ahead" in dict(await wrong(asks))["clocks"]


async def test_live_events_that_do_not_come(world: World) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice", work=300.0)
    asks, _ = doctor(alice), doctor(bob)
    await until(lambda: len(alice.driver.state.peers) == 2)
    bob.holds("film")
    job = alice.publish()
    await until(lambda: bob.driver.state.running)

    async def find_all_the_time() -> None:
        for frame in range(1000):
            bob.find(found(frame), of=job)
            await trio.sleep(0.1)

    bob.nursery.start_soon(find_all_the_time)
    await trio.sleep(1)
    assert await wrong(asks) == []
    world.network.drop_gossip = True
    await trio.sleep(1)
    assert "live events of bob" in dict(await wrong(asks))["events"]


async def test_a_clock_an_hour_ahead_and_a_loop_that_lags(world: World) -> None:
    alice = await world.start("alice")
    bob = await world.start("bob", "alice", skew=3600.0)
    asks, _ = doctor(alice), doctor(bob, lag_ms=200.0)
    await until(lambda: len(alice.driver.state.peers) == 2)
    said = dict(await wrong(asks))
    assert "3600 s ahead" in said.pop("clocks")
    assert said == {}, "up for seconds: its lag is not judged"
    await trio.sleep(60)
    assert "200 ms" in dict(await wrong(asks))["loop"]


async def test_no_room_and_no_file_here_or_there(world: World) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    asks, asked = doctor(alice), doctor(bob)
    await until(lambda: len(alice.driver.state.peers) == 2)
    bob.driver.feed(RoomChanged(False, "3 MB of disk left"))
    (bob.world.folder / "bob" / "store.db").unlink()
    for one in (asks, asked):
        said = dict(await wrong(one))
        assert "3 MB of disk left" in said["disk"]
        assert "gone" in said["store"]


async def test_answers_that_are_none(world: World) -> None:
    """Silence, garbage, an early end, too much: each is named, and none takes longer than the patience."""
    world.network.forgives = True  # else the first ten would be the last
    alice = await world.start("alice")
    asks = doctor(alice)
    fine = Health(0.0, "1", 1.0, (alice.id,), 0.0, 1, 1, 0, 0, 1)
    too_many = tuple(Lacking(alice.id, 1, 1, 1) for _ in range(MAX_LACKING + 1))

    async def silent(stream: Stream) -> None:
        await trio.sleep_forever()

    async def early(stream: Stream) -> None:
        await stream.receive()

    def says(data: bytes) -> Handler:
        async def say(stream: Stream) -> None:
            await stream.receive()
            await stream.send(data)

        return say

    answers: list[Handler] = [
        silent,
        early,
        says(encode(fine)[:-1] + b"x"),
        says(bytes(MAX_FRAME)),
        *map(says, garbage()[:8]),
    ]
    answers.append(says(encode({**_plain(fine), "lacking": too_many})))
    answers.append(says(encode({**_plain(fine), "connected": ["1" * 50] * (MAX_LINKS + 1)})))
    answers.append(says(encode({**_plain(fine), "clock": float("nan")})))
    async with stranger(world, "alice") as mallory:
        for answer in answers:
            mallory.mesh.serve(HEALTH, answer)
            began = trio.current_time()
            said = dict(await wrong(asks))
            assert mallory.mesh.me[-6:] in said["answers"]
            assert trio.current_time() - began < 2 * PATIENCE + AGAIN_AFTER + 3


async def test_a_liar_harms_its_own_lines_only(world: World) -> None:
    """Links and gaps that it makes up, of peers that nobody knows, in words that would move the cursor."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    asks, _ = doctor(alice), doctor(bob)
    await until(lambda: len(alice.driver.state.peers) == 2)
    made_up = tuple(who(f"p{n}").peer_id for n in range(MAX_LINKS))
    lies = Health(
        -1e15, "\x1b[2J", 1e10, made_up, 1e10, 0, 0, 2**53, 2**53, 2**53, "x" * 512, 2**53,
        tuple(Lacking(peer, 2**62, 2**53, 2**53) for peer in made_up[:MAX_LACKING]),
    )  # fmt: skip

    async def lie(stream: Stream) -> None:
        await stream.receive()
        await stream.send(encode(lies))

    async with stranger(world, "alice") as mallory:
        mallory.mesh.serve(HEALTH, lie)
        checks = await asks.examine()
        bad = [c for c in checks if not c["ok"]]
        assert all(mallory.mesh.me[-6:] in c["what"] or c["what"].endswith("of the kind") for c in bad)
        assert len(checks) < 40


async def test_garbage_is_refused_and_a_question_answered(world: World) -> None:
    world.network.forgives = True  # else the first ten would be the last
    alice = await world.start("alice")
    doctor(alice)
    async with stranger(world, "alice") as mallory:
        for data in (*garbage(), bytes(MAX_FRAME)):
            for answer in await mallory.says(alice.id, HEALTH, data):
                assert len(answer) < 1000  # a damaged vector may still be one
        assert f"serve_{HEALTH}_crashed" not in alice.mesh.counters
        assert alice.mesh.counters[f"serve_{HEALTH}_failed"] >= 15
        (data,) = await mallory.says(alice.id, HEALTH, encode(Checkup(())))
        told = read_health(data)
        assert told.connected == (mallory.mesh.me,)
        assert [(lacking.origin, lacking.records) for lacking in told.lacking] == [(alice.id, 1)]


async def test_where_nobody_else_is(world: World) -> None:
    checks = await doctor(await world.start("alice")).examine()
    assert all(c["ok"] for c in checks)
    assert "it is alone" in checks[0]["what"]
