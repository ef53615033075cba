"""Who keeps what of a job, how others come to know it, and what a peer does that meets itself."""

from __future__ import annotations

import shutil
import sqlite3

import pytest
import trio

from meshinfer.model.facts import Cancel, PeerFact
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.job import JobOrder
from meshinfer.node import push, sync
from meshinfer.node.records import TIDY_EVERY
from meshinfer.schedule.interest import ASKED, RELAYED
from meshinfer.schedule.keeping import MAX_SEQ, Refusal
from meshinfer.schedule.reports import SAY_CLAIM, SAY_OUTCOMES
from meshinfer.store import RecordTable
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import Have, Upto
from tests.shell.support import Peer, World, order, record, stranger, until, who

WITHOUT_GOSSIP_TOO = True
SOON = sync.PUSH_AFTER + 0.2


def done(peer: Peer, job: JobOrder) -> int:
    known = peer.jobs.get(job.id)
    return len(known.outcomes) if known else 0


def kept(peer: Peer, job: JobOrder) -> set[PeerId]:
    """Whose records of the job it keeps, in memory and on the disk."""
    on_disk = {row.origin for row in RecordTable(peer.db).load()[0] if row.key.startswith(job.id) and row.kind != "job"}
    assert on_disk == peer.records.log.speakers(job.id)
    return peer.records.log.speakers(job.id)


async def test_a_job_is_kept_by_who_takes_part_in_it(world: World) -> None:
    alice, bob, carol = await world.three()
    bob.holds("film")
    job = alice.publish()
    await until(lambda: done(alice, job))
    await trio.sleep(30)
    assert job.id in carol.jobs
    assert kept(alice, job) == kept(bob, job) == {bob.id}
    assert kept(carol, job) == set()
    assert not carol.jobs[job.id].held


async def test_who_asks_gets_the_story_within_a_second_and_follows_it(world: World) -> None:
    alice, bob, carol = await world.three()
    bob.work = 3.0
    bob.holds("film", "other", "third")
    job = alice.publish()
    await until(lambda: bob.started)
    await trio.sleep(1.5)
    began = trio.current_time()
    await carol.sync.fetch([job.id], 1.0)
    assert trio.current_time() - began < 1.0
    assert bob.id in carol.jobs[job.id].held
    await until(lambda: done(carol, job) == 3)
    assert trio.current_time() - began < 3.0 + 1.0
    assert kept(carol, job) == {bob.id}
    await trio.sleep(ASKED + TIDY_EVERY + 1)
    assert kept(carol, job) == set()
    assert not carol.jobs[job.id].held, "nor is it believed any longer"
    assert kept(alice, job) == {bob.id}


async def test_the_story_outlives_the_publisher(world: World) -> None:
    alice, bob, carol = await world.three()
    bob.holds("film")
    job = alice.publish()
    await until(lambda: done(bob, job))
    await trio.sleep(3)
    await alice.stop(kill=True)
    await carol.sync.fetch([job.id], 1.0)
    assert done(carol, job) == 1
    late = await world.start("dave", "carol")
    await until(lambda: job.id in late.jobs)
    await until(lambda: bob.id in late.mesh.peers)
    await late.sync.fetch([job.id], 1.0)
    assert done(late, job) == 1


async def test_those_who_take_part_hear_of_each_other_at_once(world: World) -> None:
    """Claims too: two holders of one file, of whom one works."""
    alice, bob, carol = await world.three()
    bob.work = carol.work = 2.0
    bob.holds("film")
    carol.holds("film")
    job = alice.publish()
    await until(lambda: bob.started or carol.started)
    worker, other = (bob, carol) if bob.started else (carol, bob)
    assert await until(lambda: other.jobs[job.id].working.get(worker.id)) < SAY_CLAIM + 2 * push.AFTER
    await until(lambda: done(worker, job))
    assert await until(lambda: done(other, job) and done(alice, job)) < SAY_OUTCOMES + 2 * push.AFTER


async def test_footage_that_comes_late_finds_out_first_what_others_have_done(world: World) -> None:
    alice, bob, carol = await world.three()
    bob.holds("film")
    job = alice.publish()
    await until(lambda: done(alice, job))
    await trio.sleep(30)
    carol.holds("film")
    await trio.sleep(10)
    assert carol.started == []
    assert carol.jobs[job.id].outcomes.keys() == bob.jobs[job.id].outcomes.keys()


async def test_a_neighbour_that_takes_no_part_relays_for_those_that_cannot_meet(world: World) -> None:
    """alice - bob - carol: alice publishes, carol has the footage, bob neither."""
    alice, bob, carol = await world.chain()
    carol.holds("film")
    job = alice.publish()
    seconds = await until(lambda: done(alice, job))
    assert seconds < 3 * sync.EVERY
    assert kept(bob, job) == {carol.id}
    await carol.stop()
    await trio.sleep(RELAYED + TIDY_EVERY + 1)
    assert kept(bob, job) == set()
    assert done(alice, job) == 1


async def test_a_partition_that_heals_is_forgotten_in_seconds(world: World) -> None:
    """Each side has gone on meanwhile; those that meet first tell the others."""
    alice, bob, carol = await world.three()
    dave = await world.start("dave", "alice", "bob", "carol")
    await until(lambda: len(dave.mesh.peers) == 3)
    for here in ("alice", "bob"):
        for there in ("carol", "dave"):
            world.cut(here, there)
    bob.holds("film")
    dave.holds("other")
    jobs = [alice.publish("one"), carol.publish("two")]
    await until(lambda: done(alice, jobs[0]) and done(carol, jobs[1]))
    await trio.sleep(20)
    for here in ("alice", "bob"):
        for there in ("carol", "dave"):
            if (here, there) != ("alice", "carol"):
                world.heal(here, there)
    await until(lambda: bob.id in dave.mesh.peers and bob.id in carol.mesh.peers and dave.id in alice.mesh.peers, 60)
    peers = (alice, bob, carol, dave)
    assert await until(lambda: all(job.id in p.jobs for job in jobs for p in peers)) < 2.0
    assert await until(lambda: done(alice, jobs[0]) == done(carol, jobs[1]) == done(bob, jobs[0]) == 2) < 5.0


# ---- what is let go -------------------------------------------------------------------------------------------------


async def test_a_job_that_is_long_over_is_gone_from_memory_and_disk(world: World) -> None:
    alice, bob, carol = await world.three()
    bob.holds("film")
    job = alice.publish(expires=60.0)
    await until(lambda: done(alice, job))
    alice.records.state(Cancel(job.id, "enough"))
    await trio.sleep(3600 + 60 + TIDY_EVERY + 2)
    for peer in (alice, bob, carol):
        assert job.id not in peer.jobs
        assert not [row for row in RecordTable(peer.db).load()[0] if row.kind not in ("peer", "source")]
        with peer.db.reading() as c:
            assert c.execute("SELECT count(*) FROM vectors WHERE job != ''").fetchone() == (0,)
            assert c.execute("SELECT count(*) FROM counters WHERE name LIKE 'seq/%'").fetchone() == (0,)
    await bob.stop()
    bob = await world.start("bob")
    await trio.sleep(30)
    assert job.id not in bob.jobs


async def test_a_forgotten_peer_stays_away_until_it_comes(world: World) -> None:
    alice, bob, carol = await world.three()
    job = carol.publish()
    await until(lambda: job.id in alice.jobs)
    await trio.sleep(5)
    await carol.stop()
    await trio.sleep(1)
    assert alice.records.forget(carol.id) == 2
    assert carol.id not in alice.driver.state.peers
    assert job.id not in alice.jobs
    await trio.sleep(30)
    assert carol.id in bob.driver.state.peers
    assert carol.id not in alice.driver.state.peers, "though bob still tells of her"
    await alice.stop()
    alice = await world.start("alice")
    await trio.sleep(30)
    assert carol.id not in alice.driver.state.peers
    carol = await world.start("carol")
    await until(lambda: carol.id in alice.driver.state.peers and job.id in alice.jobs)


# ---- hostility ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (encode(Have((Upto(who("x").peer_id, 1, 5, (6, 7)),))), "runs"),
        (encode(Have((Upto(who("x").peer_id, 1, 5, (9, 8)),))), "runs"),
        (encode(Have((Upto(who("x").peer_id, 1, 5, (9,)),))), "runs"),
        (encode(Have((Upto(who("x").peer_id, 1, 5, (9, 9, 10, 12)),))), "runs"),
    ],
)
async def test_vectors_that_are_none(world: World, data: bytes, why: str) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    async with stranger(world, "alice") as mallory:
        assert await mallory.says(alice.id, "sync", data) == []
        assert alice.mesh.counters["serve_sync_failed"] == 1
    job = alice.publish()
    await until(lambda: job.id in bob.jobs, 5)


async def test_who_brings_what_no_honest_peer_has_is_named(world: World) -> None:
    alice = await world.start("alice")
    blamed: list[tuple[PeerId, str]] = []
    alice.records.blame = lambda peer, why: blamed.append((peer, why))
    fact = PeerFact("ghost", {}, (), "1", 1, 1)
    async with stranger(world, "alice") as mallory:
        forged = record(order(), 1, by="ghost", signer="mallory")
        await mallory.tells(alice.id, forged)
        await mallory.tells(alice.id, record(fact, MAX_SEQ + 1, by="ghost"))
        await mallory.says(alice.id, "sync", encode(Have((), more=True)), encode(Have((), more=True)), b"\xc0")
        assert {peer for peer, _ in blamed} == {mallory.mesh.me}
        whys = [why for _, why in blamed]
        assert any("signature" in why for why in whys)
        assert Refusal.TOO_HIGH.value in whys
        assert alice.records.rejected[Refusal.TOO_HIGH.value] == 1


async def test_an_old_job_is_not_made_young_by_who_announces_it(world: World) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    await until(lambda: bob.mesh.peers)
    job = alice.publish(expires=60.0)
    await until(lambda: job.id in bob.jobs)
    held = alice.records.log.get(alice.id, "job", job.id)
    assert held is not None
    await trio.sleep(3600 + 60 + TIDY_EVERY + 2)
    async with stranger(world, "bob") as mallory:
        await mallory.announce("jobs", held.record)
        await mallory.tells(bob.id, held.record)
        await trio.sleep(10)
        assert job.id not in bob.jobs
        assert job.id not in alice.jobs
    # Who was not there is told by mallory alone: that one believes it, and nobody else.


# ---- meeting itself -------------------------------------------------------------------------------------------------


def watch_identity(peer: Peer) -> list[str]:
    said: list[str] = []
    peer.records._on_identity = lambda kind, detail: said.append(kind)
    return said


async def test_a_restored_backup_becomes_a_new_store(world: World) -> None:
    """alice goes on from yesterday's copy of her folder: numbers would mean two things."""
    alice, bob, carol = await world.three()
    alice.holds("film")
    first = bob.publish("first")
    await until(lambda: done(bob, first))
    await trio.sleep(3)
    await alice.stop()
    shutil.copytree(world.folder / "alice", world.folder / "backup")
    alice = await world.start("alice")
    alice.holds("film")
    second = alice.publish("second")
    await until(lambda: second.id in bob.jobs and done(alice, second))
    await trio.sleep(3)
    before = alice.records.own.incarnation
    await alice.stop()
    shutil.rmtree(world.folder / "alice")
    shutil.copytree(world.folder / "backup", world.folder / "alice")
    alice = await world.start("alice")
    said = watch_identity(alice)
    third = alice.publish("third")
    await until(lambda: alice.records.own.incarnation > before)
    assert said == ["renewed"]
    await until(lambda: all(third.id in p.jobs and second.id in p.jobs for p in (alice, bob, carol)))
    await trio.sleep(15)
    assert done(alice, first) == done(bob, first) == 1, "what it still has is said anew"
    assert all(p.records.log.newest(alice.id) == alice.records.own.incarnation for p in (bob, carol))
    assert said == ["renewed"]
    assert alice.db.incarnation == alice.records.own.incarnation


async def test_a_record_that_a_power_cut_took_comes_back_from_others(world: World) -> None:
    """Its number was on the disk before it was said, so it is known to be ours."""
    alice, bob, _ = await world.three()
    job = alice.publish()
    await until(lambda: job.id in bob.jobs)
    await trio.sleep(2)
    before = alice.records.own
    await alice.stop(kill=True)
    with sqlite3.connect(world.folder / "alice" / "store.db") as c:
        c.execute("DELETE FROM records WHERE kind = 'job'")
        c.execute("UPDATE vectors SET n = 1 WHERE origin = ?", (alice.id,))
    alice = await world.start("alice")
    said = watch_identity(alice)
    assert job.id not in alice.jobs
    await until(lambda: job.id in alice.jobs)
    await trio.sleep(10)
    assert (alice.records.own, said) == (before, [])


async def test_a_store_made_by_a_clock_that_was_behind_is_made_newer(world: World) -> None:
    alice, bob, _ = await world.three()
    job = alice.publish()
    await until(lambda: job.id in bob.jobs)
    before = alice.records.own.incarnation
    await alice.stop()
    world.lose_store("alice")
    world._options["alice"]["skew"] = -20_000.0
    alice = await world.start("alice")
    alice.holds("film")
    await until(lambda: alice.records.own.incarnation > before)
    again = alice.publish("again")
    await until(lambda: again.id in bob.jobs and job.id in alice.jobs)
    await bob.sync.fetch([again.id], 1.0)
    await until(lambda: done(bob, again), 10)


async def test_another_process_with_our_key_is_named_and_nobody_races_it(world: World) -> None:
    """A stranger signs as alice, always with a newer store than hers."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    said = watch_identity(alice)
    await trio.sleep(1)
    fact = PeerFact("twin", {}, (), "1", 1, 1)
    async with stranger(world, "alice") as mallory:
        for n in range(1, 6):
            twin = record(fact, 100, by="alice", incarnation=alice.records.own.incarnation + n)
            await mallory.tells(alice.id, twin)
            await trio.sleep(3)
    assert said[0] == "renewed"
    assert said.count("renewed") == 1
    assert "cloned" in said
    assert alice.records.rejected[Refusal.NEWER_SELF.value] >= 2
    assert bob.mesh.peers


async def test_a_job_unknown_to_all_is_nobodys_concern(world: World) -> None:
    alice = await world.start("alice")
    await alice.sync.fetch([JobId("0" * 16)], 1.0)
    await trio.sleep(ASKED + TIDY_EVERY + 1)
    assert alice.records.keeping.interest.kept == {}
