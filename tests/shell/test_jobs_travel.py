"""How a job reaches every peer, whatever the network does."""

from __future__ import annotations

import pytest
import trio

from meshinfer.model.facts import Cancel
from meshinfer.model.ids import PeerId
from meshinfer.model.logs import LogId
from meshinfer.model.record import Record
from meshinfer.node import records, sync
from meshinfer.node.records import Records
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import Have, Page, read_sync
from meshinfer.wire.records import unseal
from tests.shell.support import MESH, Peer, World, stranger, until

WITHOUT_GOSSIP_TOO = True

SOON = sync.PUSH_AFTER + 0.1


def everywhere(job: str, *peers: Peer) -> bool:
    return all(job in peer.jobs for peer in peers)


@pytest.mark.needs_gossip
async def test_by_gossip_within_a_tenth_of_a_second(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "URGENT", frozenset())  # without the push
    alice, bob, carol = await world.three()
    job = alice.publish()
    assert await until(lambda: everywhere(job.id, bob, carol)) < 0.1


async def test_with_all_gossip_dropped_it_is_pushed_soon(world: World) -> None:
    world.network.drop_gossip = True
    alice, bob, carol = await world.three()
    job = alice.publish()
    assert await until(lambda: everywhere(job.id, bob, carol)) < SOON


async def test_other_records_come_within_the_next_syncs(world: World) -> None:
    """Not urgent, no gossip: a neighbour is asked every few seconds, so three peers know within two rounds of each."""
    world.network.drop_gossip = True
    alice, bob, carol = await world.three()
    alice.neighbours.state_again(labels={"site": "hamburg"})
    seconds = await until(
        lambda: all(p.driver.state.peers[alice.id].labels == {"site": "hamburg"} for p in (bob, carol))
    )
    assert seconds <= 2 * sync.EVERY * 1.2 + 0.1


async def test_across_a_cut_that_heals(world: World) -> None:
    alice, bob, carol = await world.three()
    world.cut("alice", "carol")
    world.cut("bob", "carol")
    await trio.sleep(1)
    first, second = alice.publish("first"), carol.publish("second")
    await trio.sleep(60)
    assert first.id not in carol.jobs
    assert second.id not in alice.jobs
    world.heal("alice", "carol")
    await until(lambda: carol.mesh.peers, 20)
    assert await until(lambda: everywhere(first.id, carol) and everywhere(second.id, alice)) < 0.5
    assert await until(lambda: everywhere(second.id, bob)) <= sync.EVERY * 2.5


@pytest.mark.parametrize("drop_gossip", [False, True])
async def test_a_neighbour_passes_it_on(world: World, drop_gossip: bool) -> None:
    """alice - bob - carol. Without gossip bob's next round of sync brings it on: he has it from somebody else, so it
    is no push of his own."""
    world.network.drop_gossip = drop_gossip
    alice, bob, carol = await world.chain()
    job = alice.publish()
    seconds = await until(lambda: everywhere(job.id, bob, carol))
    assert seconds <= (sync.EVERY * 2.5 if drop_gossip else 0.1)
    assert alice.id not in carol.mesh.peers


async def test_the_publisher_may_leave_once_a_neighbour_has_it(world: World) -> None:
    world.network.drop_gossip = True
    alice, bob, carol = await world.chain()
    job = alice.publish()
    await until(lambda: job.id in bob.jobs)
    await alice.stop(kill=True)
    await until(lambda: job.id in carol.jobs)
    late = await world.start("dave", "carol")
    assert await until(lambda: job.id in late.jobs) < 1.0


async def test_a_restarted_peer_knows_it_without_asking_anybody(world: World) -> None:
    alice, bob, carol = await world.three()
    job = alice.publish()
    await until(lambda: everywhere(job.id, bob, carol))
    await trio.sleep(1)
    for peer in (alice, bob, carol):
        await peer.stop(kill=True)
    again = await world.start("bob")
    assert job.id in again.jobs
    assert not again.mesh.peers


async def test_what_the_store_holds_is_not_fetched_again(world: World) -> None:
    alice, bob, _ = await world.three()
    job = alice.publish()
    await until(lambda: job.id in bob.jobs)
    await trio.sleep(1)
    await bob.stop()
    bob = await world.start("bob")
    heard: list[bytes] = []
    hear = Records.hear

    async def counted(sealed: bytes, age: float, by: PeerId) -> Record | None:
        if unseal(sealed, mesh=MESH).origin != bob.id:  # the last of its own comes back: somebody else might speak so
            heard.append(sealed)
        return await hear(bob.records, sealed, age, by)

    bob.records.hear = counted  # type: ignore[method-assign]  # to count
    await trio.sleep(60)
    assert bob.mesh.peers
    assert heard == []


async def test_expiry_counts_durations_whatever_the_clocks_say(world: World) -> None:
    """Clocks most of a day apart: the job lives a minute everywhere, also at who hears of it late or restarts."""
    alice = await world.start("alice", skew=40_000.0)
    bob = await world.start("bob", "alice", skew=-40_000.0)
    job = alice.publish(expires=60.0)
    published = trio.current_time()
    await until(lambda: job.id in bob.jobs)
    await trio.sleep(30)
    carol = await world.start("carol", "bob", skew=20_000.0)
    await until(lambda: job.id in carol.jobs)
    await bob.stop()
    bob = await world.start("bob")
    for peer in (alice, bob, carol):
        assert peer.jobs[job.id].born == pytest.approx(published, abs=0.2)
        assert peer.jobs[job.id].expires_at == pytest.approx(published + 60, abs=0.2)
    await trio.sleep_until(published + 61)
    carol.holds("film")
    assert carol.started == []


async def test_a_cancel_is_as_fast_as_a_job_and_stops_what_runs(world: World) -> None:
    world.network.drop_gossip = True
    alice, bob, _ = await world.three()
    bob.work = 100.0
    bob.holds("film")
    job = alice.publish()
    await until(lambda: bob.started)
    alice.records.state(Cancel(job.id, "enough"))
    assert await until(lambda: bob.stopped) < SOON
    assert bob.stopped == set(bob.started)


async def test_a_job_runs_where_the_data_is_and_all_learn_how_it_ended(world: World) -> None:
    alice, bob, carol = await world.three()
    bob.holds("film", "other")
    carol.holds("third")
    job = alice.publish()
    await until(lambda: len(alice.jobs[job.id].outcomes) == 3 if job.id in alice.jobs else False)
    assert (len(alice.started), len(bob.started), len(carol.started)) == (0, 2, 1)
    assert all(o.done for by_peer in alice.jobs[job.id].outcomes.values() for o in by_peer.values())


async def test_a_frozen_neighbour_delays_nobody(world: World) -> None:
    """It takes streams and never answers: jobs are still pushed to the others, and syncs go on."""
    world.network.drop_gossip = True
    alice, bob = await world.start("alice"), await world.start("bob", "alice")

    async with stranger(world, "alice") as mallory:

        async def freeze(stream: object) -> None:
            await trio.sleep_forever()

        mallory.mesh.serve(sync.PROTOCOL, freeze)
        await until(lambda: len(alice.mesh.peers) == 2)
        for n in range(3):
            job = alice.publish(str(n))
            seconds = await until(lambda: job.id in bob.jobs)  # noqa: B023  run within the loop
            assert seconds < SOON
        for n in range(4):
            alice.neighbours.state_again(labels={"n": str(n)})
            wanted = {"n": str(n)}
            seconds = await until(
                lambda: bob.driver.state.peers[alice.id].labels == wanted  # noqa: B023  run within the loop
            )
            assert seconds <= 3 * sync.EVERY


async def backlog(alice: Peer) -> None:
    """6 MB of jobs: some sixty frames."""
    for n in range(400):
        alice.publish(str(n), name="x" * 120, detect={"classes": tuple(f"{i:050d}" for i in range(280))})
    await until(lambda: len(alice.jobs) == 400)


async def test_a_large_backlog_comes_in_pages_in_one_sync(world: World) -> None:
    world.network.drop_gossip = True
    alice = await world.start("alice")
    await backlog(alice)
    bob = await world.start("bob", "alice")
    assert await until(lambda: len(bob.jobs) == 400) < sync.EVERY * 0.8
    await until(lambda: bob.records.log.vector() == alice.records.log.vector())


async def test_a_sync_that_breaks_off_keeps_what_came_and_is_taken_up_again(world: World) -> None:
    world.network.drop_gossip, world.network.latency = True, 0.1
    alice = await world.start("alice")
    await backlog(alice)
    bob = await world.start("bob", "alice")
    await until(lambda: len(bob.jobs) > 50)
    world.cut("alice", "bob")
    await trio.sleep(1)
    part = len(bob.jobs)
    assert 50 < part < 400
    assert bob.records.log.vector()[LogId(*alice.records.own)].n < 400
    await bob.stop(kill=True)  # and what came is in the store
    bob = await world.start("bob")
    assert len(bob.jobs) == part
    world.heal("alice", "bob")
    await until(lambda: len(bob.jobs) == 400)
    assert not bob.rejected


async def test_a_page_carries_each_records_age(world: World) -> None:
    alice = await world.start("alice")
    alice.publish()
    await trio.sleep(42)
    async with stranger(world, "alice") as mallory:
        answers = await mallory.says(alice.id, "sync", encode(Have(())))
        page = next(m for m in map(read_sync, answers) if isinstance(m, Page))
        assert all(41 < r.age < 43 for r in page.records)


async def test_a_known_record_keeps_its_first_age(world: World) -> None:
    """A job heard again, from a peer that says that it is new, does not live longer."""
    alice, bob, _ = await world.three()
    job = alice.publish()
    await until(lambda: job.id in bob.jobs)
    born = bob.jobs[job.id].born
    held = bob.records.log.get(alice.id, "job", job.id)
    assert held is not None
    await trio.sleep(20)
    assert not await bob.records.hear(held.record.sealed, 0.0)
    assert bob.jobs[job.id].born == born
