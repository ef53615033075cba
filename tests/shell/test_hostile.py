"""Garbage on every stream protocol and every topic: counted, answered by a closed stream, and the next honest exchange
works. What a peer may say of others is nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import trio

from meshinfer.errors import ProtocolError
from meshinfer.mesh.api import MAX_FRAME, MAX_MESSAGE, Stream, Topic
from meshinfer.model.facts import Cancel, Claim, Fact, Manifest
from meshinfer.model.ids import JobId
from meshinfer.model.job import JobOrder, job_id
from meshinfer.model.logs import LogId
from meshinfer.node import records
from meshinfer.node.replay import replay_from
from meshinfer.node.sync import PROTOCOL as SYNC
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import EventPack
from meshinfer.wire.messages import (
    MAX_VECTOR,
    Aged,
    Announcement,
    Ask,
    CatalogOf,
    CatalogPage,
    Complete,
    Events,
    Have,
    Head,
    Page,
    Replay,
    ResultsOf,
    Tasks,
    Upto,
    read_sync,
    read_verdict,
)
from tests.shell.support import MODEL, World, entry, order, record, stranger, until, who, works

STREAMS = ("sync", "events", "results", "ask", "catalog")
TOPICS: tuple[Topic, ...] = ("peers", "jobs", "events")


def deep(levels: int = 20_000) -> bytes:
    return b"\x82\xa4type\xa4have\xa1z" + b"\x91" * levels + b"\xc0"


def garbage() -> list[bytes]:
    rng = random.Random(7)
    good = [encode(m) for m in (Have(()), Complete(()), Page(()), Replay(after=0), ResultsOf(order().id), CatalogOf())]
    flipped = []
    for data in good * 3:
        bad = bytearray(data)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        flipped.append(bytes(bad))
    return [
        b"",
        b"\xc0",
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        deep(),
        encode({"type": "have", "vector": "no"}),
        encode({"type": "nothing"}),
        encode(7),
        encode([1, 2, 3]),
        encode(Complete(())),
        encode(Page(())),
        encode(Head(1, 1)),
        encode(Ask()),
        rng.randbytes(1000),
        rng.randbytes(60_000),
        *flipped,
    ]


@pytest.mark.parametrize("protocol", STREAMS)
async def test_garbage_on_a_stream(world: World, protocol: str) -> None:
    world.network.forgives = True  # else the first ten would be the last
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    async with stranger(world, "alice") as mallory:
        for data in (*garbage(), bytes(MAX_FRAME)):
            for answer in await mallory.says(alice.id, protocol, data):
                assert len(answer) < 1000  # one that happened to be a question
        await mallory.says(alice.id, protocol)  # opened and closed without a word
        assert alice.mesh.counters[f"serve_{protocol}_failed"] >= 15
        assert f"serve_{protocol}_crashed" not in alice.mesh.counters
        await works(alice, bob)


@pytest.mark.parametrize("topic", TOPICS)
async def test_garbage_on_a_topic(world: World, topic: Topic) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    async with stranger(world, "alice") as mallory:
        sent = [*garbage(), bytes(MAX_MESSAGE), encode(Announcement((b"x" * 100, b""))), encode(Announcement(()))]
        for data in sent:
            await mallory.mesh.publish(topic, data)
        await trio.sleep(1)
        assert sum(alice.rejected.values()) >= 30  # the rest is a page of no records, which is an announcement too
        await works(alice, bob)


async def test_reasons_are_counted_in_bounded_memory(world: World) -> None:
    alice = await world.start("alice")
    for n in range(5000):
        records.count(alice.rejected, f"peer {n} " + "x" * 500)
    assert len(alice.rejected) <= records.MAX_REASONS + 1
    assert all(len(why) <= 120 for why in alice.rejected)
    assert sum(alice.rejected.values()) == 5000


@pytest.mark.parametrize("by_gossip", [True, False], ids=["gossip", "sync"])
async def test_records_that_are_not_genuine(world: World, by_gossip: bool) -> None:
    """Of another mesh, signed by another, of another version, under a wrong key, cut off, stuffed."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    good = record(order("good"), 9)
    forged = [
        record(order("a"), 1, mesh="another").sealed,
        record(order("b"), 2, by="bob", signer="mallory").sealed,
        good.sealed[:-1],
        good.sealed + b"\0",
        b"\x93\x02" + good.sealed[2:],
        encode([1, b"", bytes(64)]),
        encode([1, b"x" * 40_000, bytes(64)]),
    ]
    async with stranger(world, "alice") as mallory:
        for sealed in forged:
            before = len(alice.records.log)
            if by_gossip:
                await mallory.mesh.publish("jobs", encode(Announcement((sealed,))))
            else:
                await mallory.says(alice.id, SYNC, encode(Have(())), encode(Page((Aged(sealed, 0.0),))))
            await trio.sleep(0.1)
            assert len(alice.records.log) == before
        refused = sum(n for why, n in alice.rejected.items() if why.startswith("jobs: "))
        counted = refused if by_gossip else alice.mesh.counters["serve_sync_failed"]
        assert counted == len(forged)
        await mallory.announce("jobs", good)
        await until(lambda: good.key in bob.jobs, 8)
        await works(alice, bob)


def hostile_facts() -> list[Callable[[JobOrder], Fact]]:
    return [
        lambda job: Manifest(job.id, 999, 1, (bytes(16),)),
        lambda job: Manifest(job.id, 0, 1000, (), 2**53),
        lambda job: Claim(job.id, (bytes(16),) * 256, 2**53, 2**53, 1e10),
        lambda job: Cancel(JobId("0" * 16), "x" * 512),
    ]


async def test_genuine_records_that_make_no_sense(world: World) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    job = alice.publish("real")
    async with stranger(world, "alice") as mallory:
        for seq, fact in enumerate(hostile_facts(), start=1):
            await mallory.announce("jobs", record(fact(job), seq))
        await trio.sleep(2)
        assert not any(why.startswith("jobs") for why in alice.rejected)
        assert bob.jobs[job.id].cancelled is None
        await works(alice, bob)


@pytest.mark.parametrize(
    "spec",
    [b"\x81\xa5model\xa2\xff\xfe", b"\x81\xa1z" + b"\x91" * 16_000 + b"\xc0", b"", b"\xc1", b"\x81\xa5model\xa0"],
    ids=["no utf-8", "deep", "empty", "no msgpack", "no name"],
)
async def test_a_job_with_a_broken_spec_harms_nobody(world: World, spec: bytes) -> None:
    """It is genuine, so it is kept and passed on; nobody runs it, and a restart survives it."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    salt = b"12345678"
    bad = JobOrder(job_id(spec, MODEL, salt), spec, MODEL, salt, 0.0)
    async with stranger(world, "alice") as mallory:
        await mallory.announce("jobs", record(bad, 1))
        await until(lambda: bad.id in bob.jobs, 8)
        answers = await mallory.says(bob.id, "ask", encode(Ask(spec=spec, model=MODEL))) if mallory.mesh.peers else []
        assert all(read_verdict(a).verdict == "declines" for a in answers)
        answers = await mallory.says(alice.id, "ask", encode(Ask(spec=spec, model=MODEL)))
        assert [read_verdict(a).verdict for a in answers] == ["declines"]
        await works(alice, bob)
    await bob.stop()
    bob = await world.start("bob")
    assert bad.id in bob.jobs


async def test_a_sync_may_not_promise_what_nobody_has_seen(world: World) -> None:
    """A lying `Complete` neither invents stores nor closes a log beyond what was heard of it."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    await until(lambda: alice.id in bob.driver.state.peers)
    async with stranger(world, "bob") as mallory:
        lies = tuple(Upto(p, n, 2**53) for p in (alice.id, bob.id, who("nobody").peer_id) for n in (1, 2**62))
        lies += (Upto(alice.id, alice.records.own.incarnation, 2**53),)
        await mallory.says(bob.id, SYNC, encode(Have(())), encode(Complete(lies)))
        await trio.sleep(1)
        vector = bob.records.log.vector()
        assert {log.origin for log in vector} == {alice.id, bob.id}
        log = LogId(*alice.records.own)
        assert vector[log].n <= alice.records.log.vector()[log].n
        await works(alice, bob)


async def test_a_vector_over_its_limit_is_refused(world: World) -> None:
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    async with stranger(world, "alice") as mallory:
        vector = tuple(Upto(alice.id, n + 1, 1) for n in range(MAX_VECTOR))
        answers = await mallory.says(alice.id, SYNC, encode(Have(vector)))
        assert isinstance(read_sync(answers[-1]), Complete)
        many = encode(Have((*vector, Upto(alice.id, MAX_VECTOR + 1, 1))))
        assert await mallory.says(alice.id, SYNC, many) == []
        await works(alice, bob)


async def test_what_we_ask_and_get_nonsense_for(world: World) -> None:
    """The other direction: the stranger answers our streams with garbage, or never ends."""
    world.network.forgives = True  # else the first ten would be the last
    alice = await world.start("alice", "mallory")
    mallory_id = who("mallory").peer_id

    async with stranger(world, name="mallory") as mallory:
        for data in garbage():

            async def answer(stream: Stream, data: bytes = data) -> None:
                await stream.receive()
                await stream.send(data)

            for protocol in STREAMS:
                mallory.mesh.serve(protocol, answer)
            await until(lambda: mallory_id in alice.mesh.peers)
            if data not in (encode(Complete(())), encode(Page(()))):
                with pytest.raises(ProtocolError):
                    await alice.sync.with_peer(mallory_id)
            with pytest.raises(ProtocolError):
                await alice.questions.ask(mallory_id, Ask(job=order().id))
            if data != encode(Head(1, 1)):
                with pytest.raises(ProtocolError):
                    async for _ in replay_from(alice.mesh, mallory_id, Replay(after=0)):
                        pass
            with pytest.raises(ProtocolError):
                async for _ in alice.findings.of(mallory_id, ResultsOf(order().id)):
                    pass
            with pytest.raises(ProtocolError):
                async for _ in alice.questions.catalog_of(mallory_id):
                    pass


async def test_endless_answers_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sync.MAX_PAGES", "questions.MAX_PAGES", "findings.MAX_MESSAGES"):
        monkeypatch.setattr(f"meshinfer.node.{module}", 50)
    alice = await world.start("alice", "mallory")
    mallory_id = who("mallory").peer_id
    endless = {
        "sync": Page(()),
        "results": Tasks(()),
        "catalog": CatalogPage(()),
        "events": Events(EventPack(1, (), (), ())),
    }
    async with stranger(world, name="mallory") as mallory:
        for protocol, message in endless.items():

            async def answer(stream: Stream, data: bytes = encode(message)) -> None:
                await stream.receive()
                while True:
                    await stream.send(data)

            mallory.mesh.serve(protocol, answer)
        await until(lambda: mallory_id in alice.mesh.peers)
        with pytest.raises(ProtocolError, match="without end"):
            await alice.sync.with_peer(mallory_id)
        with pytest.raises(ProtocolError, match="without end"):
            async for _ in alice.findings.of(mallory_id, ResultsOf(order().id)):
                pass
        with pytest.raises(ProtocolError, match="without end"):
            async for _ in alice.questions.catalog_of(mallory_id):
                pass
        with pytest.raises(ProtocolError, match="without events"):
            async for _ in replay_from(alice.mesh, mallory_id, Replay(after=0)):
                pass


async def test_silence_is_not_waited_for(world: World) -> None:
    """A stream that is opened and says nothing is given up on, on both sides."""
    alice = await world.start("alice", "mallory")
    mallory_id = who("mallory").peer_id
    async with stranger(world, name="mallory") as mallory:

        async def frozen(stream: Stream) -> None:
            await trio.sleep_forever()

        for protocol in STREAMS:
            mallory.mesh.serve(protocol, frozen)
        await until(lambda: mallory_id in alice.mesh.peers)
        for protocol in STREAMS:
            async with mallory.mesh.open(alice.id, protocol):
                await trio.sleep(90)
                assert alice.mesh.counters[f"serve_{protocol}_failed"] >= 1
        assert not any(name.endswith("_crashed") for name in alice.mesh.counters)


async def test_catalogs_and_reports_of_long_names_fit_their_frames(world: World) -> None:
    """Names of a kilobyte, labels and errors: pages are cut by bytes, not by number."""
    alice, bob = await world.start("alice"), await world.start("bob", "alice")
    await until(lambda: bob.mesh.peers)
    held = {("cam", f"{n}" + "ü" * 1000): entry(f"{n}" + "ü" * 1000) for n in range(300)}
    alice.catalog._snapshot = (held, {})
    pages = [page async for page in bob.questions.catalog_of(alice.id)]
    assert sum(len(page.entries) for page in pages) == 300
    job = order()
    for n in range(200):
        task = f"{n:032x}"
        row = alice.tasks.begin(task, job.id, entry(f"{n}" + "ü" * 1000))  # type: ignore[arg-type]  # a task's id
        alice.tasks.fail(task, "input", "ü" * 500, run=row.run)  # type: ignore[arg-type]  # a task's id
    tasks = [m async for m in bob.findings.of(alice.id, ResultsOf(job.id)) if isinstance(m, Tasks)]
    assert sum(len(m.tasks) for m in tasks) == 200
