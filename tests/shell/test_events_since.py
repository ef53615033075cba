"""A subscription that begins earlier: since some time ago, since a cursor, across restarts and lost stores."""

from __future__ import annotations

import trio

from meshinfer.model.detection import Cursor
from tests.shell.support import World, found, subscribe, until, who


async def test_since_ten_minutes(world: World) -> None:
    """By the origin's clock and the subscriber's duration: their clocks are days apart."""
    alice = await world.start("alice", skew=3 * 86_400.0)
    bob = await world.start("bob", "alice")
    for n in range(20):
        alice.find(found(n))
        await trio.sleep(60)
    reader = subscribe(bob, ago=600.0)
    await until(lambda: reader.frames(alice))
    await trio.sleep(1)
    assert reader.frames(alice) in (list(range(10, 20)), list(range(11, 20)))
    alice.find(found(20))
    await until(lambda: reader.frames(alice)[-1] == 20)
    own = subscribe(alice, ago=600.0)
    await until(lambda: own.frames(alice))
    await trio.sleep(1)
    assert own.frames(alice) in (list(range(10, 21)), list(range(11, 21)))


async def test_since_nothing_is_since_now(world: World) -> None:
    alice, bob, _ = await world.three()
    alice.find(*(found(n) for n in range(10)))
    await trio.sleep(1)
    reader = subscribe(bob)
    await trio.sleep(10)
    assert reader.events == []


async def test_a_peer_that_connects_later_is_followed_from_when_the_subscription_began(world: World) -> None:
    alice, bob, carol = await world.three()
    world.cut("alice", "carol")
    world.cut("bob", "carol")
    await trio.sleep(1)
    carol.find(found(0))
    await trio.sleep(1)
    reader = subscribe(alice)
    await trio.sleep(5)
    carol.find(found(1))
    await trio.sleep(5)
    world.heal("alice", "carol")
    await until(lambda: reader.frames(carol), 30)
    await trio.sleep(5)
    assert reader.frames(carol) == [1]
    assert bob.id in alice.mesh.peers


async def test_since_a_cursor(world: World) -> None:
    alice, bob, _ = await world.three()
    alice.find(*(found(n) for n in range(1500)))
    bob.find(found(7))
    await trio.sleep(1)
    reader = subscribe(bob, cursor=Cursor(alice.id, alice.records.own.incarnation, 400))
    await until(lambda: len(reader.events) == 1100)
    assert reader.numbers(alice) == list(range(401, 1501))
    assert reader.numbers(bob) == []
    alice.find(found(1500))
    await until(lambda: reader.numbers(alice)[-1] == 1501)


async def test_a_cursor_of_a_lost_store_gets_all_of_the_new_one(world: World) -> None:
    alice, bob, _ = await world.three()
    alice.find(*(found(n) for n in range(10)))
    await trio.sleep(1)
    cursor = Cursor(alice.id, alice.records.own.incarnation, 10)
    await alice.stop()
    world.lose_store("alice")
    alice = await world.start("alice")
    alice.find(*(found(n, "car") for n in range(3)), name="other")
    reader = subscribe(bob, cursor=cursor)
    await until(lambda: reader.numbers(alice) == [1, 2, 3], 20)
    await trio.sleep(10)
    assert len(reader.events) == 3


async def test_a_store_lost_in_the_middle_tells_no_frame_twice(world: World) -> None:
    alice, bob, _ = await world.three()
    reader = subscribe(bob)
    await trio.sleep(1)
    alice.find(*(found(n) for n in range(3)))
    await until(lambda: len(reader.events) == 3)
    await alice.stop()
    world.lose_store("alice")
    alice = await world.start("alice")
    alice.find(*(found(n) for n in range(5)))  # all over again, and further
    await until(lambda: reader.frames(alice) == list(range(5)), 30)
    await trio.sleep(5)
    assert reader.frames(alice) == list(range(5))


async def test_since_a_thousand_years_is_since_ever(world: World) -> None:
    alice, bob, _ = await world.three()
    alice.find(found(0))
    await trio.sleep(1)
    reader = subscribe(bob, ago=1e300)
    await until(lambda: reader.frames(alice) == [0])
    assert not reader.notices


async def test_a_restarted_origin_goes_on_where_it_was(world: World) -> None:
    alice, bob, _ = await world.three()
    reader = subscribe(bob)
    await trio.sleep(1)
    alice.find(found(0), found(1))
    await alice.stop(kill=True)  # before the batch was sent
    await trio.sleep(5)
    alice = await world.start("alice")
    alice.find(found(2))
    await until(lambda: reader.frames(alice) == [0, 1, 2], 30)
    assert reader.numbers(alice) == [1, 2, 3]


async def test_a_cursor_of_a_peer_that_is_not_there_waits_for_it_and_says_so(world: World) -> None:
    bob = await world.start("bob")
    reader = subscribe(bob, cursor=Cursor(who("alice").peer_id, 1, 5))
    await trio.sleep(5)
    assert len(reader.notices) == 1
    alice = await world.start("alice", "bob")
    alice.find(found(0))
    await until(lambda: reader.frames(alice) == [0], 10)
