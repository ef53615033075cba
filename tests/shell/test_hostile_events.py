"""Events that are not what they claim to be."""

from __future__ import annotations

import pytest
import trio

from meshinfer.mesh.api import Stream
from meshinfer.model.detection import Event
from meshinfer.node import events
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import EventPack, pack
from meshinfer.wire.messages import EventBatch, Head
from tests.shell.support import Peer, World, found, stranger, subscribe, until, who, works


async def batch_of(alice: Peer, *frames: int) -> tuple[int, EventPack]:
    before = alice.hub.own_head
    alice.find(*(found(n) for n in frames), name=f"f{frames}")
    log = await _all_events(alice)
    return before, pack(alice.records.own.incarnation, log[before:])


async def _all_events(alice: Peer) -> list[Event]:
    return [event async for chunk in alice.archive.chunks(0) for event in chunk]


async def test_nobody_speaks_events_in_anothers_name(world: World) -> None:
    """What is sent is of its sender, whatever cursor it came from: alice's events in mallory's batch are mallory's."""
    alice, bob, _ = await world.three()
    seen = subscribe(bob)
    await trio.sleep(1)
    async with stranger(world, "bob") as mallory:
        _, stolen = await batch_of(alice, 0, 1)
        await mallory.mesh.publish("events", encode(EventBatch(stolen)))
        await trio.sleep(10)
        assert seen.numbers(alice) == [1, 2]
        assert bob.hub.windows[alice.records.own].last == 2


async def test_batches_with_holes_or_of_lost_stores_are_refused(world: World) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    _, whole = await batch_of(alice, 0, 1, 2)
    rows = whole.rows
    async with stranger(world, "alice") as mallory:

        async def says(incarnation: int, *chosen: int) -> None:
            said = EventPack(incarnation, whole.labels, whole.works, tuple(rows[i] for i in chosen))
            await mallory.mesh.publish("events", encode(EventBatch(said)))
            await trio.sleep(0.1)

        await says(5, 0, 2)
        await says(5, 1, 0)
        await says(5)
        assert alice.rejected["events: events that do not follow each other"] == 3
        await says(5, 0, 1)
        await says(4, 0)
        assert alice.rejected["events: events of a store that was lost"] == 1
        await works(alice, bob)


async def test_windows_are_bounded_in_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many origins, many stores of one origin, and events of hundreds of detections."""
    monkeypatch.setattr(events, "MAX_WINDOW", 500)
    monkeypatch.setattr(events, "MAX_WINDOWS", 2000)
    monkeypatch.setattr(events, "MAX_ORIGINS", 8)
    alice = await world.start("alice")
    alice.find(*(found(n, *["person"] * 100) for n in range(20)), name="rich")
    log = await _all_events(alice)
    batch = EventBatch(pack(7, log))
    for n in range(20):
        alice.hub.receive(who(f"origin {n}").peer_id, batch)
        assert len(alice.hub.windows) <= 8
        assert sum(w.weight for w in alice.hub.windows.values()) <= 2000
        assert all(w.weight <= 500 for w in alice.hub.windows.values())
    last = who("origin 19").peer_id
    for incarnation in range(8, 30):
        alice.hub.receive(last, EventBatch(pack(incarnation, log)))
    assert [store.incarnation for store in alice.hub.windows if store.origin == last] == [29]
    assert alice.records.own in alice.hub.windows


async def test_an_origin_that_announces_what_it_does_not_have_is_not_asked_on_and_on(world: World) -> None:
    alice = await world.start("alice", "mallory")
    mallory_id = who("mallory").peer_id
    asked = 0
    async with stranger(world, name="mallory") as mallory:

        async def answer(stream: Stream) -> None:
            nonlocal asked
            asked += 1
            await stream.receive()
            await stream.send(encode(Head(5, 3)))

        mallory.mesh.serve("events", answer)
        await until(lambda: mallory_id in alice.mesh.peers)
        alice.find(found(0))
        (event,) = await _all_events(alice)
        row = pack(5, [event]).rows[0]
        whole = pack(5, [event])
        far = EventPack(5, whole.labels, whole.works, (type(row)(2**50, row.work, row.frame, row.t, row.seen),))
        subscribe(alice)
        await trio.sleep(1)
        await mallory.mesh.publish("events", encode(EventBatch(far)))
        await trio.sleep(30)
        assert asked <= 15
