"""A node's records and its disk: power cuts, clocks that go back, a database that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection

import pytest
import trio

from meshinfer.store import Database, RecordTable
from tests.shell import support
from tests.shell.support import Peer, World, found, subscribe, until
from tests.shell.test_records import announced

DAY = 86_400.0


def log_of(db: Database) -> Path:
    return db.path.with_name(db.path.name + "-wal")


def synced(db: Database) -> list[int]:
    """How long the log was at each sync from now on; it is never copied into the file."""
    sizes: list[int] = []
    transaction = db.transaction

    @contextmanager
    def noted(*, durable: bool = False) -> Iterator[Connection]:
        with transaction(durable=durable) as c:
            yield c
        if durable:
            sizes.append(log_of(db).stat().st_size)

    with db.reading() as c:
        c.execute("PRAGMA wal_autocheckpoint = 0")
    db.transaction = noted  # type: ignore[method-assign]  # this one only
    return sizes


async def test_a_power_cut_takes_nothing_that_others_heard(world: World, tmp_path: Path) -> None:
    """With only what had been synced when an announcement went out, its records are there and their numbers taken."""
    alice, bob, _ = await world.three()
    sizes, said = synced(alice.db), announced(alice)
    jobs = set()
    for n in range(5):
        jobs.add(alice.publish(str(n)).id)
        bob.publish(f"bob{n}")  # written too, and not waited for
        await trio.sleep(0.3)
        await until(lambda: {r.key for _, _, batch in said for r in batch if r.kind == "job"} == jobs)
        copy = tmp_path / f"{n}.db"
        copy.write_bytes(alice.db.path.read_bytes())
        copy.with_name(copy.name + "-wal").write_bytes(log_of(alice.db).read_bytes()[: sizes[-1]])
        with closing(Database.open(copy)) as db:
            assert jobs <= {row.key for row in RecordTable(db).load()[0]}
            heard = max(r.seq for _, _, batch in said for r in batch)
            assert RecordTable(db).next_seq() > heard


def lose_database(world: World, name: str) -> None:
    for file in (world.folder / name).glob("store.db*"):
        file.unlink()


async def test_a_database_lost_on_a_machine_whose_clock_went_back(world: World) -> None:
    """The new store counts for more than the old one all the same: what it says is heard."""
    alice, bob, carol = await world.three()
    before = alice.records.own.incarnation
    await alice.stop()
    lose_database(world, "alice")
    world._options["alice"]["skew"] = -30 * DAY
    alice = await world.start("alice")
    assert alice.records.own.incarnation == before + 1
    alice.holds("film")
    job = alice.publish()
    for peer in (bob, carol):
        await until(lambda p=peer: job.id in p.jobs, 10)  # type: ignore[misc]  # bound now
        peer.records.follow(job.id)
        await until(lambda p=peer: alice.id in p.jobs[job.id].held, 10)  # type: ignore[misc]  # as above
        told = peer.records.log.get(alice.id, "peer", "")
        assert told is not None
        assert told.record.incarnation == before + 1


async def test_clocks_that_go_back_while_peers_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a day, on all of them: jobs run, events come, restarts find everything, addresses are remembered."""
    alice, bob, carol = await world.three()
    before = alice.publish("before")
    alice.holds("film")
    await until(lambda: before.id in carol.jobs and alice.jobs[before.id].outcomes)
    reader = subscribe(carol)
    alice.find(found(0), of=before)
    monkeypatch.setattr(support, "EPOCH", support.EPOCH - DAY)
    after = bob.publish("after")
    await until(lambda: after.id in carol.jobs and bob.jobs[after.id].outcomes)
    alice.find(found(1), name="more", of=after)
    await until(lambda: reader.numbers(alice) == [1, 2])
    recent = subscribe(bob, ago=60.0)
    await until(lambda: recent.numbers(alice) == [1, 2], 40)  # too much rather than too little
    await restarted(world, alice, {before.id, after.id})


async def restarted(world: World, peer: Peer, jobs: set[str]) -> None:
    incarnation = peer.records.own.incarnation
    await peer.stop(kill=True)
    again = await world.start(peer.name)
    assert again.records.own.incarnation == incarnation
    assert jobs <= again.jobs.keys()
    await until(lambda: len(again.mesh.peers) == 2)
