"""Records of our own are durable before anyone hears of them; those of others wait for the disk."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio

from meshinfer.model.facts import Cancel, Claim, Fact, Holding, Manifest, Outcome, Outcomes, Running
from meshinfer.model.ids import JobId
from meshinfer.model.record import Record
from meshinfer.node import records
from meshinfer.node.driver import Driver
from meshinfer.node.pace import Pace
from meshinfer.node.records import Records
from meshinfer.schedule.state import ScheduleState
from meshinfer.store import RecordTable, StoreFull
from meshinfer.wire.messages import MAX_ANNOUNCEMENT, read_announcement
from meshinfer.wire.records import unseal
from tests.shell.support import MESH, Peer, World, order, record, until, who

WITHOUT_GOSSIP_TOO = True


def fill_the_disk(peer: Peer) -> trio.Event:
    """Writes fail until the event is set."""
    free = trio.Event()
    save = RecordTable.save

    def save_or_not(*args: object, **kwargs: object) -> None:
        if not free.is_set():
            raise StoreFull("no room left")
        save(peer.records._table, *args, **kwargs)  # type: ignore[arg-type]  # handed on as given

    peer.records._table.save = save_or_not  # type: ignore[method-assign]  # the disk that fails
    return free


def announced(peer: Peer) -> list[tuple[float, str, list[Record]]]:
    """What it announces from now on, and when."""
    said: list[tuple[float, str, list[Record]]] = []
    publish = peer.mesh.publish

    async def heard(topic: str, data: bytes) -> None:
        if topic != "events":
            assert len(data) < 64 * 1024
            batch = [unseal(sealed, mesh=MESH) for sealed in read_announcement(data).records]
            said.append((trio.current_time(), topic, batch))
        await publish(topic, data)  # type: ignore[arg-type]  # handed on as given

    peer.mesh.publish = heard  # type: ignore[method-assign]  # to listen in
    return said


async def test_what_is_announced_is_in_the_store_already(world: World) -> None:
    alice = await world.start("alice")
    stored: list[bool] = []
    publish = alice.mesh.publish

    async def check(topic: str, data: bytes) -> None:
        held = {row.data for row in RecordTable(alice.db).load()[0]}
        stored.extend(sealed in held for sealed in read_announcement(data).records)
        await publish(topic, data)  # type: ignore[arg-type]  # handed on as given

    alice.mesh.publish = check  # type: ignore[method-assign]  # to listen in
    for n in range(50):
        alice.publish(str(n))
        await trio.sleep(0.02)
    await until(lambda: len(stored) >= 50)
    assert all(stored)


async def test_a_number_is_never_used_again_after_a_crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between taking a number and writing its record, and between writing and announcing."""
    alice = await world.start("alice")
    await until(lambda: alice.records.log.vector())
    used = {row.seq for row in RecordTable(alice.db).load()[0]}

    def dies(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        taken = alice.records._table.next_seq(2)  # as `_write` does, and then the process is gone
        assert taken not in used
        used |= {taken, taken + 1}
        job = alice.publish(str(taken))
        await alice.records.flush()  # written; killed before the announcer has its turn
        seq = next(row.seq for row in RecordTable(alice.db).load()[0] if row.key == job.id)
        assert seq not in used
        used.add(seq)
        await alice.stop(kill=True)
        alice = await world.start("alice")
        assert job.id in alice.jobs
        held = alice.records.log.get(alice.id, "job", job.id)
        assert held is not None
        assert held.record.seq == seq
    bob = await world.start("bob", "alice")
    await until(lambda: len(bob.jobs) == 3)


async def test_a_full_store_loses_nothing_and_says_nothing_before_it_has_room(world: World) -> None:
    alice, bob, _ = await world.three()
    free = fill_the_disk(alice)
    said = announced(alice)
    mine = [alice.publish(str(n)).id for n in range(10)]
    theirs = bob.publish("bob").id
    await trio.sleep(30)
    assert said == []
    assert theirs in alice.jobs, "what others say is still believed"
    assert not any(job in alice.jobs for job in mine)
    free.set()
    await until(lambda: all(job in bob.jobs for job in mine), 3)
    order_said = [r.key for _, _, batch in said for r in batch if r.kind == "job"]
    assert order_said == mine, "in the order in which they were stated"
    await alice.stop(kill=True)
    alice = await world.start("alice")
    assert {theirs, *mine} <= alice.jobs.keys()


async def test_whoever_brings_more_than_can_be_written_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded memory on a full disk: several senders wait, and all go on when there is room."""
    monkeypatch.setattr(records, "MAX_UNWRITTEN", 20)
    alice = await world.start("alice")
    await trio.sleep(1)
    free = fill_the_disk(alice)
    heard = 0

    async def send(start: int) -> None:
        nonlocal heard
        for seq in range(start, start + 50):
            await alice.records.hear(record(Cancel(JobId(f"{seq:016x}"), ""), seq).sealed, 0.0)
            heard += 1

    async with trio.open_nursery() as nursery:
        for start in (1, 101, 201):
            nursery.start_soon(send, start)
        await trio.sleep(20)
        assert heard == 20
        assert len(alice.records._unwritten) == 20
        free.set()
    assert heard == 150
    await trio.sleep(1)
    assert len(RecordTable(alice.db).load()[0]) == 151


async def test_stated_facts_survive_a_cancelled_flush(world: World) -> None:
    """Shutdown in the moment in which a record is stated: the last flush writes it."""
    alice = await world.start("alice")
    await trio.sleep(1)
    job = alice.publish()
    with trio.CancelScope() as scope:
        scope.cancel()
        await alice.records.flush()
    await alice.stop()
    alice = await world.start("alice")
    assert job.id in alice.jobs


async def test_what_is_heard_while_the_store_is_read_is_written_too(world: World) -> None:
    """Neighbours sync with a peer as soon as it is connected, which may be before it has read everything."""
    alice = await world.start("alice")
    for n in range(50):
        alice.publish(str(n))
    await until(lambda: len(alice.jobs) == 50)
    again = Records(alice.mesh, MESH, alice.identity, alice.db, Driver(ScheduleState(alice.id), lambda effect: None))
    news = record(order("news"), 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(again.load)
        while len(again.log) < 10:
            await trio.lowlevel.checkpoint()
        assert await again.hear(news.sealed, 0.0)
    assert len(again.log) >= 51
    await again.flush()
    assert news.key in {row.key for row in RecordTable(alice.db).load()[0]}


async def test_a_fact_too_long_for_a_record_is_counted_and_the_node_goes_on(world: World) -> None:
    alice, bob, _ = await world.three()
    alice.neighbours.state_again(labels={f"key{i}": "ü" * 255 for i in range(64)}, name="ü" * 128, version="x" * 20000)
    job = alice.publish()
    await until(lambda: job.id in bob.jobs, 5)
    assert any("over the limit" in why for why in alice.records.rejected)


async def test_a_lost_store_takes_back_what_was_bound_to_it(world: World) -> None:
    """bob comes back with his key and an empty store: the mesh gives him his jobs back, and forgets his work."""
    alice, bob, carol = await world.three()
    bob.holds("film")
    job = bob.publish()
    await until(lambda: job.id in alice.jobs and job.id in carol.jobs)
    for peer in (alice, carol):
        peer.records.follow(job.id)
    await until(lambda: all(p.jobs[job.id].outcomes for p in (alice, carol)))
    await trio.sleep(3)
    assert all(bob.id in p.jobs[job.id].held for p in (alice, carol))
    before = bob.records.own.incarnation
    await bob.stop()
    world.lose_store("bob")
    bob = await world.start("bob")
    assert bob.records.own.incarnation > before
    await until(lambda: job.id in bob.jobs, 5)
    await until(lambda: all(bob.id not in p.jobs[job.id].held for p in (alice, carol)), 5)
    for peer in (alice, carol):
        state = peer.jobs[job.id]
        assert bob.id not in state.claims
        assert not any(bob.id in by_peer for by_peer in state.outcomes.values())
        assert state.cancelled is None
        kinds = {held.record.kind for held in peer.records.log._live.values() if held.record.origin == bob.id}
        assert kinds == {"peer", "job"}
    # It is not in anybody's store either.
    await carol.stop()
    carol = await world.start("carol")
    assert bob.id not in carol.jobs[job.id].held
    # He does it again.
    for peer in (alice, carol):
        peer.records.follow(job.id)
    bob.holds("film")
    await until(lambda: all(p.jobs[job.id].outcomes for p in (alice, bob, carol)), 10)


async def test_facts_that_outrun_their_job_count_once_it_comes(world: World) -> None:
    alice = await world.start("alice")
    job = order()
    unit, task = bytes(12), bytes(16)
    facts: list[Fact] = [
        Outcomes(job.id, (Outcome(task, True, 10, 3, 1.0),)),
        Claim(job.id, (Running(task),), 1, 1, 1.0),
        Manifest(job.id, 0, 1, (Holding(unit),)),
        job,
    ]
    for seq, fact in enumerate(facts, start=1):
        await alice.records.hear(record(fact, seq).sealed, 0.0)
    state = alice.jobs[job.id]
    mallory = who("mallory").peer_id
    assert not state.held, "it is no concern of hers"
    alice.records.follow(job.id)
    await until(lambda: state.held)
    assert state.held[mallory] == {"00" * 12: 1}  # type: ignore[comparison-overlap]  # ids are strings
    assert mallory in state.outcomes["00" * 16]  # type: ignore[index]  # a task's id


async def test_two_records_under_one_number_are_counted(world: World) -> None:
    """Two peers with one identity and a copied store."""
    alice = await world.start("alice")
    assert await alice.records.hear(record(order("a"), 1).sealed, 0.0)
    assert not await alice.records.hear(record(order("b"), 1).sealed, 0.0)
    assert alice.records.rejected == {"a record under a number that another has": 1}


# ---- pace -----------------------------------------------------------------------------------------------------------


async def test_pace_is_a_burst_and_then_a_turn_each_fifth_of_a_second(world: World) -> None:
    pace = Pace(rate=5, burst=20)
    began = trio.current_time()
    turns = []
    for _ in range(30):
        await pace.turn()
        turns.append(trio.current_time() - began)
    assert turns[:20] == [0.0] * 20
    assert turns[20:] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    await trio.sleep(2.0)  # ten turns are saved up
    began = trio.current_time()
    for _ in range(10):
        await pace.turn()
    assert trio.current_time() == began
    await pace.turn()
    assert trio.current_time() - began == pytest.approx(0.2)
    await trio.sleep(1000)  # never more than the burst
    began = trio.current_time()
    for _ in range(21):
        await pace.turn()
    assert trio.current_time() - began == pytest.approx(0.2)


async def test_announcements_are_batched_paced_and_below_the_limit(world: World) -> None:
    alice = await world.start("alice")
    await trio.sleep(10)
    said = announced(alice)
    for n in range(200):
        alice.publish(str(n), detect={"classes": tuple(f"{i:060d}" for i in range(100))})
    for n in range(100):
        alice.publish(f"small {n}")
        await trio.sleep(0.01)
    await until(lambda: sum(len(batch) for _, _, batch in said) == 300)
    assert len({r.seq for _, _, batch in said for r in batch}) == 300
    sizes = [sum(len(r.sealed) for r in batch) for _, _, batch in said]
    assert max(sizes) <= MAX_ANNOUNCEMENT
    times = [t for t, _, _ in said]
    assert all(later - earlier >= 0.19 for earlier, later in pairwise(times[20:]))
    assert len(said) <= 20 + 5 * (times[-1] - times[0]) + 1
