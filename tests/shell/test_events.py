"""What a subscriber sees: each event once, in the order of its origin, whatever gossip does."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
import trio

from meshinfer.model.ids import PeerId
from meshinfer.node import events, subscription
from meshinfer.node.subscription import Filter, Subscription
from meshinfer.wire.eventpack import pack
from meshinfer.wire.messages import EventBatch, read_event_batch
from tests.shell.support import Peer, World, entry, found, order, subscribe, until, who


def rough(peer: Peer, seed: int, *, lost: float = 0.3, twice: float = 0.2, late: float = 0.3) -> None:
    """Gossip of events reaches this peer lossy, repeated and out of order."""
    rng = random.Random(seed)
    receive = peer.hub.receive

    async def later(origin: PeerId, batch: EventBatch) -> None:
        await trio.sleep(rng.uniform(0.0, 2.0))
        receive(origin, batch)

    def received(origin: PeerId, batch: EventBatch) -> None:
        if rng.random() < lost:
            return
        for _ in range(2 if rng.random() < twice else 1):
            if rng.random() < late:
                peer.nursery.start_soon(later, origin, batch)
            else:
                receive(origin, batch)

    peer.hub.receive = received  # type: ignore[method-assign]  # to listen in


def counted(peer: Peer, name: str) -> Callable[[], int]:
    """How often others ask this peer for its events."""
    asked = 0
    answer = peer.archive._answer

    async def answered(stream: object) -> None:
        nonlocal asked
        asked += 1
        await answer(stream)  # type: ignore[arg-type]  # handed on as given

    peer.mesh.serve("events", answered)
    return lambda: asked


async def test_live_and_in_order(world: World) -> None:
    alice, bob, carol = await world.three()
    readers = [subscribe(peer) for peer in (alice, bob, carol)]
    await trio.sleep(1)
    asked = counted(alice, "alice")
    for n in range(30):
        alice.find(found(2 * n), found(2 * n + 1))
        began = trio.current_time()
        await until(lambda: all(r.frames(alice) == list(range(2 * n + 2)) for r in readers))  # noqa: B023  run within the loop
        assert trio.current_time() - began <= events.EVERY + 0.03
    assert asked() == 0, "gossip was enough"
    assert not any(r.notices for r in readers)


@pytest.mark.parametrize("seed", range(6))
async def test_gossip_may_lose_repeat_and_reorder(world: World, seed: int) -> None:
    alice, bob, carol = await world.three()
    rough(carol, seed)
    reader = subscribe(carol)
    await trio.sleep(1)
    rng = random.Random(seed)
    for n in range(120):
        for peer in (alice, bob):
            if rng.random() < 0.8:
                peer.find(*(found(5 * n + i) for i in range(rng.randint(1, 4))), name=peer.name)
        await trio.sleep(rng.choice((0.0, 0.01, 0.1, 0.3)))
    await until(lambda: [len(reader.numbers(p)) for p in (alice, bob)] == [alice.hub.own_head, bob.hub.own_head])
    for peer in (alice, bob):
        assert reader.numbers(peer) == list(range(1, peer.hub.own_head + 1))
    await trio.sleep(10)
    assert len(reader.events) == alice.hub.own_head + bob.hub.own_head


async def test_with_no_gossip_at_all_the_origin_is_asked(world: World) -> None:
    world.network.drop_gossip = True
    alice, bob, _ = await world.three()
    reader = subscribe(bob)
    await trio.sleep(1)
    for n in range(5):
        alice.find(found(n))
        seconds = await until(lambda: len(reader.frames(alice)) > n)  # noqa: B023  run within the loop
        assert seconds <= subscription.ASK_AGAIN + 0.1
    assert reader.frames(alice) == list(range(5))


async def test_a_lost_last_batch_is_noticed(world: World) -> None:
    alice, bob, _ = await world.three()
    reader = subscribe(bob)
    await trio.sleep(1)
    alice.find(found(0))
    await until(lambda: reader.frames(alice) == [0])
    world.network.drop_gossip = True
    alice.find(found(1))
    assert await until(lambda: reader.frames(alice) == [0, 1]) <= subscription.ASK_AGAIN + 0.1


async def test_a_gap_is_filled_as_soon_as_it_shows(world: World) -> None:
    alice, bob, _ = await world.three()
    reader = subscribe(bob)
    await trio.sleep(1)
    world.network.drop_gossip = True
    alice.find(*(found(n) for n in range(10)))
    await trio.sleep(0.2)
    world.network.drop_gossip = False
    alice.find(found(10))
    assert await until(lambda: reader.frames(alice) == list(range(11))) < 0.2


async def test_a_frame_that_two_peers_analysed_is_told_once(world: World) -> None:
    alice, bob, carol = await world.three()
    reader = subscribe(carol)
    await trio.sleep(1)
    for n in range(10):
        alice.find(found(n))
        bob.find(found(n))
        await trio.sleep(0.01)
    await trio.sleep(5)
    assert sorted(event.frame for event in reader.events) == list(range(10))


async def test_a_copy_that_is_filtered_out_hides_no_other(world: World) -> None:
    """Both hold the film, under different sources: who asks for one source sees that one's events."""
    alice, bob, carol = await world.three()
    reader = subscribe(carol, Filter(source="gate"))
    await trio.sleep(1)
    alice.find(found(0), source="dock")
    await trio.sleep(1)
    bob.find(found(0), source="gate")
    await until(lambda: reader.frames(bob) == [0], 5)


async def test_filters(world: World) -> None:
    alice, bob, carol = await world.three()
    one, two = order("one"), order("two")
    wanted = {
        "all": Filter(),
        "job": Filter(job=two.id),
        "label": Filter(labels=("car",)),
        "either": Filter(labels=("car", "person")),
        "score": Filter(min_score=0.8),
        "source": Filter(source="gate"),
        "peer": Filter(peer=bob.id),
        "none": Filter(peer=bob.id, labels=("dog",)),
    }
    readers = {name: subscribe(carol, filter_) for name, filter_ in wanted.items()}
    await trio.sleep(1)
    alice.find(found(0, "person", "car"), of=one)
    alice.find(found(1, "person", score=0.5), name="b", of=two)
    alice.find(found(2, "dog"), name="c", source="gate", of=one)
    bob.find(found(3, "person"), name="d", of=one)
    await trio.sleep(5)

    def frames(name: str) -> list[int]:
        return sorted(event.frame for event in readers[name].events)

    assert {name: frames(name) for name in wanted} == {
        "all": [0, 1, 2, 3],
        "job": [1],
        "label": [0],
        "either": [0, 1, 3],
        "score": [0, 2, 3],
        "source": [2],
        "peer": [3],
        "none": [],
    }
    assert [d.label for d in readers["label"].events[0].detections] == ["car"]
    whole = next(event for event in readers["all"].events if event.frame == 0)
    assert [d.label for d in whole.detections] == ["person", "car"]


async def test_an_origin_that_goes_away_is_waited_for_and_that_is_said(world: World) -> None:
    alice, bob, carol = await world.three()
    reader = subscribe(carol)
    await trio.sleep(1)
    alice.find(found(0))
    await until(lambda: reader.frames(alice) == [0])
    world.cut("alice", "carol")
    world.cut("alice", "bob")
    await trio.sleep(1)
    alice.find(*(found(n) for n in range(1, 50)))
    bob.find(found(7), name="bobs")
    await until(lambda: reader.frames(bob) == [7], 1)
    await trio.sleep(60)
    assert len(reader.notices) == 1
    assert alice.id[-6:] in reader.notices[0]
    assert reader.frames(alice) == [0]
    world.heal("alice", "carol")
    await until(lambda: reader.frames(alice) == list(range(50)), 30)


async def test_an_origin_heard_only_through_others_is_told_as_it_passes(world: World) -> None:
    """alice and carol both sit behind a NAT: bob passes alice's events on, and nobody can ask her."""
    alice, bob, carol = await world.chain()
    alice.find(found(0))
    await trio.sleep(1)
    reader = subscribe(carol)
    await trio.sleep(1)
    for n in range(1, 10):
        alice.find(found(n))
        await trio.sleep(1)
    assert reader.frames(alice) == list(range(1, 10)), "what was before the subscription is not told"
    assert len(reader.notices) == 1
    began = trio.current_time()
    alice.find(found(10))
    await until(lambda: reader.frames(alice)[-1] == 10)
    assert trio.current_time() - began < 0.1
    world.network.drop_gossip = True
    alice.find(*(found(n) for n in range(11, 15)))
    await trio.sleep(1)
    world.network.drop_gossip = False
    alice.find(found(15))
    await until(lambda: reader.frames(alice)[-1] == 15, 5)
    assert len(reader.notices) == 2
    assert reader.notices[1].startswith("4 events")
    assert bob.id in carol.mesh.peers


async def test_guests_that_come_and_go_leave_no_follower_behind(world: World) -> None:
    alice = await world.start("alice")
    reader = subscribe(alice)
    for n in range(5):
        guest = await world.start(f"guest{n}", "alice", guest=True)
        await until(lambda: guest.id in reader.subscription._following)  # noqa: B023  run within the loop
        await trio.sleep(2)
        await guest.stop()
    await trio.sleep(10)
    assert reader.subscription._following == {alice.id}
    assert not reader.notices


async def test_origins_that_somebody_makes_up_leave_no_follower_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys cost nothing: whoever passes messages on may speak as hundreds of origins."""
    monkeypatch.setattr(events, "MAX_ORIGINS", 4)
    alice = await world.start("alice")
    reader = subscribe(alice)
    alice.find(found(0))
    (chunk,) = [chunk async for chunk in alice.archive.chunks(0)]
    for n in range(40):
        await trio.sleep(1)
        alice.hub.receive(who(f"ghost {n}").peer_id, EventBatch(pack(7, chunk)))
    await trio.sleep(10)
    assert len(reader.subscription._following) <= 4


async def test_what_one_job_found_is_an_equal_job_s_too(world: World) -> None:
    """Told once to who hears everything; to who wants the second job, as the second's: replayed, and live."""
    alice, bob, _ = await world.three()
    first, second = order("one"), order("two")
    alice.find(found(9), name="another", of=order("other"))
    alice.find(found(0), found(1), of=first)
    alice.find(found(8), name="another", of=order("other"))
    (row,) = alice.tasks.of_job(first.id)
    alice.tasks.finish(row.task, run=row.run)
    alice.tasks.begin(row.task, second.id, entry("film"))
    other = alice.tasks.of_job(order("other").id)[0].task
    every = subscribe(bob, ago=1000)
    of_first = subscribe(bob, Filter(job=first.id), ago=1000)
    of_second = [subscribe(p, Filter(job=second.id), ago=1000, serves=lambda t: t != other) for p in (alice, bob)]
    await until(lambda: all(len(r.events) == 2 for r in (of_first, *of_second)) and len(every.events) == 4)
    alice.find(found(7), name="another", of=order("other"))
    alice.find(found(2), name="more", of=first)
    await until(lambda: len(every.events) == 6)
    await trio.sleep(10)
    assert [(e.job, e.frame) for e in of_first.events] == [(first.id, 0), (first.id, 1), (first.id, 2)]
    for reader in of_second:
        assert [(e.job, e.frame) for e in reader.events] == [(second.id, 0), (second.id, 1), (second.id, 2)]
    assert {e.job for e in every.events if e.frame < 3} == {first.id}


async def test_two_subscribers_do_not_share_anything(world: World) -> None:
    alice, bob, _ = await world.three()
    first = subscribe(bob, Filter(labels=("car",)))
    await trio.sleep(1)
    alice.find(found(0, "car"), found(1, "person"))
    await until(lambda: first.frames(alice) == [0])
    second = subscribe(bob, ago=60.0)
    await until(lambda: second.frames(alice) == [0, 1])
    first.scope.cancel()
    alice.find(found(2, "car"))
    await until(lambda: second.frames(alice) == [0, 1, 2])
    assert first.frames(alice) == [0]


async def test_a_subscriber_that_leaves_leaves_nothing(world: World) -> None:
    alice, bob, _ = await world.three()
    await trio.sleep(10)
    before = len(bob.nursery.child_tasks)
    readers = [subscribe(bob, ago=600.0) for _ in range(5)]
    alice.find(*(found(n) for n in range(100)))
    await trio.sleep(5)
    assert len(bob.nursery.child_tasks) > before
    asked = counted(alice, "alice")
    for reader in readers:
        reader.scope.cancel()
    await trio.sleep(30)
    assert len(bob.nursery.child_tasks) == before
    assert asked() == 0
    assert len(bob.hub.windows) <= 3


async def test_a_slow_subscriber_costs_a_buffer_and_misses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads one event a second while thousands come: others are not held up, and it gets them all in the end."""
    monkeypatch.setattr(subscription, "BUFFER", 16)
    monkeypatch.setattr(events, "WINDOW", 50)
    alice, bob, _ = await world.three()
    slow = Subscription(bob.mesh, bob.hub, bob.archive, wanted=Filter())
    read: list[int] = []
    pause = 1.0

    async def reads() -> None:
        async for item in slow.items():
            assert not isinstance(item, str)
            read.append(item.frame)
            await trio.sleep(pause)

    fast = subscribe(bob)
    bob.nursery.start_soon(slow.serve)
    bob.nursery.start_soon(reads)
    await trio.sleep(1)
    for n in range(60):
        alice.find(*(found(20 * n + i) for i in range(20)))
        await trio.sleep(0.5)
        assert slow._send.statistics().current_buffer_used <= 16
        assert len(bob.hub.windows[alice.records.own].events) <= 50
    await until(lambda: fast.frames(alice) == list(range(1200)), 5)
    assert len(read) < 40
    pause = 0.0
    await until(lambda: len(read) == 1200, 60)
    assert read == list(range(1200))


async def test_batches_leave_at_most_every_fiftieth_of_a_second_and_fit(world: World) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    await trio.sleep(1)
    said: list[tuple[float, int]] = []
    publish = alice.mesh.publish

    async def heard(topic: str, data: bytes) -> None:
        if topic == "events":
            assert len(data) <= 60 * 1024
            said.append((trio.current_time(), len(read_event_batch(data).pack.rows)))
        await publish(topic, data)  # type: ignore[arg-type]  # handed on as given

    alice.mesh.publish = heard  # type: ignore[method-assign]  # to listen in
    reader = subscribe(bob)
    await trio.sleep(1)
    for n in range(50):
        alice.find(found(n))
        await trio.sleep(0.003)
    alice.find(*(found(n, *["person"] * 250) for n in range(50, 250)))  # far more than one message
    await until(lambda: len(reader.events) == 250)
    await until(lambda: sum(rows for _, rows in said) == 250)
    times = [t for t, _ in said]
    assert all(b - a >= events.EVERY - 1e-9 for a, b in pairwise(times))
    assert len(said) >= 8


async def test_an_event_too_big_for_gossip_is_fetched(world: World) -> None:
    """300 detections whose labels are 256 bytes each."""
    alice, bob, _ = await world.three()
    reader = subscribe(bob)
    await trio.sleep(1)
    alice.find(found(0, *(f"{n:03d}" + "\N{GRINNING FACE}" * 61 for n in range(300))))
    await until(lambda: reader.frames(alice) == [0], 5)
    assert alice.hub.counters["events_not_sent_live"] == 1
    alice.find(found(1))
    await until(lambda: reader.frames(alice) == [0, 1], 5)
