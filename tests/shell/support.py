"""Peers without an engine on the in-memory mesh: everything else of a node is real, its store a file.

Where a task runs, `Peer` ends it after `work` seconds. Time is virtual; the wall clock of each peer goes with it,
`skew` seconds off.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio

from meshinfer.errors import MeshError
from meshinfer.media.catalog import Catalog
from meshinfer.mesh.api import Handler, Stream, Topic
from meshinfer.mesh.identity import Identity
from meshinfer.mesh.memory import MemoryMesh, MemoryNetwork
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Detection, Event, FrameResult
from meshinfer.model.facts import Fact, Outcome, PeerFact
from meshinfer.model.ids import ContentId, JobId, ModelDigest, PeerId, TaskId
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec
from meshinfer.model.record import Record
from meshinfer.node import gossip
from meshinfer.node.driver import Driver
from meshinfer.node.events import EventHub
from meshinfer.node.findings import Findings
from meshinfer.node.neighbours import Neighbours
from meshinfer.node.questions import Questions
from meshinfer.node.records import Records
from meshinfer.node.replay import EventArchive
from meshinfer.node.rollout import Rollout
from meshinfer.node.subscription import Filter, Subscription
from meshinfer.node.sync import Sync
from meshinfer.schedule.job import JobState
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import (
    CatalogChanged,
    Connected,
    Disconnected,
    Effect,
    ModelsChanged,
    Start,
    State,
    Stop,
    TaskEnded,
)
from meshinfer.store import Database, EventLog, TaskTable
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import Aged, Announcement, Ask, Page, ResultsEnd, ResultsOf
from meshinfer.wire.records import seal

MESH = "test"
MODEL = ModelDigest("5" * 64)
EPOCH = 1_800_000_000.0
_skew: ContextVar[float] = ContextVar("skew", default=0.0)


class WallClock:
    """Stands in for the module `time` where nodes read the wall clock."""

    @staticmethod
    def time() -> float:
        return EPOCH + trio.current_time() + _skew.get()


def who(name: str) -> Identity:
    return Identity.from_seed(sha256(name.encode()).digest())


def where(name: str) -> str:
    return f"/memory/{name}/p2p/{who(name).peer_id}"


def order(nonce: str = "n", **spec: Any) -> JobOrder:
    packed, salt = pack_spec(JobSpec(**{"model": "m", **spec})), nonce.encode().ljust(8, b"-")
    return JobOrder(job_id(packed, MODEL, salt), packed, MODEL, salt, 0.0)


def entry(name: str, source: str = "cam") -> Entry:
    content = ContentId(sha256(name.encode()).hexdigest()[:32])
    return Entry(content, source, name, "video", {}, 1, 8, 8, 10, 10.0, 1.0)


def record(
    fact: Fact, seq: int, *, by: str = "mallory", incarnation: int = 1, mesh: str = MESH, signer: str = ""
) -> Record:
    author = who(by)
    sign = who(signer or by).sign
    return seal(fact, mesh=mesh, origin=author.peer_id, incarnation=incarnation, seq=seq, sign=sign)


def found(frame: int, *labels: str, score: float = 0.9) -> FrameResult:
    boxes = tuple(Detection(label, score, (1.0, 1.0, 2.0, 2.0)) for label in labels or ("person",))
    return FrameResult(frame, frame / 10, 8, 8, boxes)


async def until(true: Callable[[], object], within: float = 30.0) -> float:
    """Wait for it; how many (virtual) seconds it took."""
    began = trio.current_time()
    while not true():
        assert trio.current_time() - began < within, f"not within {within} s"
        await trio.sleep(0.01)
    return trio.current_time() - began


class Peer:
    def __init__(self, world: World, name: str, *, knows: tuple[str, ...], skew: float, work: float, guest: bool):
        self.world, self.name, self.knows, self.skew, self.work, self.guest = world, name, knows, skew, work, guest
        self.identity = who(name)
        self.id = self.identity.peer_id
        self.rejected: Counter[str] = Counter()
        self.performed: list[Effect] = []
        self.stopped: set[TaskId] = set()
        self.over = trio.Event()

    async def run(self, *, task_status: Any) -> None:
        _skew.set(self.skew)
        folder = self.world.folder / self.name
        folder.mkdir(exist_ok=True)
        self.db = Database.open(folder / "store.db", wall=WallClock.time)
        bootstrap = tuple(map(where, self.knows))
        try:
            async with self.world.network.mesh(self.identity, listen=(self.name,), bootstrap=bootstrap) as mesh:
                self._skewed(mesh)
                self._wire(mesh)
                await self._serve(task_status)
        finally:
            self.db.close()
            self.over.set()

    def _skewed(self, mesh: MemoryMesh) -> None:
        """Handlers run in the caller's context: give them the clock of the peer they belong to."""
        serve = mesh.serve

        def with_clock(protocol: str, handler: Handler) -> None:
            async def here(stream: Stream) -> None:
                _skew.set(self.skew)
                await handler(stream)

            serve(protocol, here)

        mesh.serve = with_clock  # type: ignore[method-assign]  # tests only

    def _wire(self, mesh: MemoryMesh) -> None:
        self.mesh = mesh
        log = EventLog(self.db, self.id)
        self.tasks = TaskTable(self.db, self.id)
        self.driver = Driver(ScheduleState(self.id, fetches=self.fetches), self._perform)
        self.records = Records(mesh, MESH, self.identity, self.db, self.driver)
        self.hub = EventHub(mesh, self.records.own, log.head())
        self.archive = EventArchive(mesh, log, self.db.incarnation)
        self.rollout = Rollout(self.driver, self.records)
        self.catalog = Catalog([])
        self.questions = Questions(mesh, self.driver, self.catalog)
        self.findings = Findings(mesh, log, self.tasks, self.catalog, self.db.incarnation, share_pixels=False)
        self.sync = Sync(mesh, self.records, self.rejected, random.Random(self.name))
        me = PeerFact(self.name, {}, mesh.addresses, "1", 1, 1, guest=self.guest)
        bootstrap = tuple(map(where, self.knows))
        self.neighbours = Neighbours(
            mesh, self.records, self.driver, self.db, me, bootstrap, random.Random(f"links of {self.name}")
        )

    async def _serve(self, task_status: Any) -> None:
        await self.records.load()
        with trio.CancelScope() as self.scope:
            async with self.mesh.changes() as changes, trio.open_nursery() as self.nursery:
                for peer in sorted(self.mesh.peers):
                    self.driver.feed(Connected(peer))
                self.nursery.start_soon(self._watch, changes)
                services = (self.driver, self.records, self.hub, self.sync, self.neighbours, self.rollout, *self.more)
                for service in services:
                    self.nursery.start_soon(service.serve)
                self.nursery.start_soon(gossip.listen, self.mesh, self.records, self.hub, self.rejected)
                self.neighbours.state_again()
                task_status.started(self)
        if not self.killed:
            await self.records.flush()

    killed = False
    fetches = False
    more: tuple[Any, ...] = ()
    """Other parts of a node that `_wire` has made: they are served too."""

    async def _watch(self, changes: Any) -> None:
        async for change in changes:
            self.driver.feed(Connected(change.peer) if change.up else Disconnected(change.peer))

    def _perform(self, effect: Effect) -> None:
        self.performed.append(effect)
        match effect:
            case State(fact):
                self.records.state(fact)
            case Start(job, task, _):
                self.nursery.start_soon(self._work_on, job, task)
            case Stop(_, tasks):
                self.stopped.update(tasks)

    async def _work_on(self, job: JobId, task: TaskId) -> None:
        await trio.sleep(self.work)
        if task not in self.stopped:
            self.driver.feed(TaskEnded(task, self.outcome(job, task)))

    def outcome(self, job: JobId, task: TaskId) -> Outcome:
        """What its tasks come to."""
        return Outcome(bytes.fromhex(task), True, 10, 3, self.work, "d")

    # ---- what tests do -----------------------------------------------------------------------------------------------

    @property
    def jobs(self) -> dict[JobId, JobState]:
        return self.driver.state.jobs

    @property
    def started(self) -> list[TaskId]:
        return [effect.task for effect in self.performed if isinstance(effect, Start)]

    def holds(self, *names: str) -> None:
        self.driver.feed(ModelsChanged({MODEL: ("person", "car")}))
        self.driver.feed(CatalogChanged(tuple(map(entry, names))))

    def publish(self, nonce: str = "n", **spec: Any) -> JobOrder:
        made = order(nonce, **spec)
        self.records.state(made)
        return made

    def find(self, *frames: FrameResult, name: str = "film", source: str = "cam", of: JobOrder | None = None) -> None:
        """Events, as the engine's collector makes them: stored first, then told."""
        clock = _skew.set(self.skew)
        job = (of or order()).id
        task = TaskId(sha256(f"{job}{name}".encode()).hexdigest()[:32])
        row = self.tasks.begin(task, job, entry(name, source))
        last = max(frame.frame for frame in frames) + 1
        events = self.tasks.commit(task, frames, run=row.run, next_frame=last, analysed=last, seconds=1.0)
        assert events is not None
        self.hub.recorded(events)
        _skew.reset(clock)

    async def stop(self, *, kill: bool = False) -> None:
        self.killed = kill
        self.scope.cancel()
        await self.over.wait()


class World:
    """Peers by name, which may be stopped and started again from their folders."""

    def __init__(self, network: MemoryNetwork, folder: Path, nursery: trio.Nursery) -> None:
        self.network, self.folder, self._nursery = network, folder, nursery
        self._options: dict[str, dict[str, Any]] = {}
        self.kind: type[Peer] = Peer

    async def start(self, name: str, *knows: str, skew: float = 0.0, work: float = 1.0, guest: bool = False) -> Peer:
        self._options.setdefault(name, {"knows": knows, "skew": skew, "work": work, "guest": guest})
        peer = self.kind(self, name, **self._options[name])
        started: Peer = await self._nursery.start(peer.run)
        return started

    async def three(self) -> tuple[Peer, Peer, Peer]:
        """alice, bob and carol, all connected and settled."""
        peers = await self.start("alice"), await self.start("bob", "alice"), await self.start("carol", "alice", "bob")
        await until(lambda: all(len(p.mesh.peers) == 2 and len(p.driver.state.peers) == 3 for p in peers))
        await trio.sleep(1.0)
        return peers

    async def chain(self) -> tuple[Peer, Peer, Peer]:
        """alice - bob - carol: alice and carol are never connected."""
        self.cut("alice", "carol")
        peers = await self.start("alice"), await self.start("bob", "alice"), await self.start("carol", "bob")
        await until(lambda: all(len(p.driver.state.peers) == 3 for p in peers))
        await trio.sleep(1.0)
        return peers

    def cut(self, a: str, b: str) -> None:
        self.network.cut(who(a).peer_id, who(b).peer_id)

    def heal(self, a: str, b: str) -> None:
        self.network.heal(who(a).peer_id, who(b).peer_id)

    def lose_store(self, name: str) -> None:
        for file in (self.folder / name).iterdir():
            file.unlink()


class Stranger:
    """A connected peer that says what it likes."""

    def __init__(self, mesh: MemoryMesh) -> None:
        self.mesh = mesh

    async def announce(self, topic: Topic, *records: Record) -> None:
        await self.mesh.publish(topic, encode(Announcement(tuple(r.sealed for r in records))))

    async def tells(self, peer: PeerId, *records: Record, age: float = 0.0) -> None:
        """Over a stream, where records may be of anybody."""
        await self.says(peer, "sync", encode(Page(tuple(Aged(r.sealed, age) for r in records))))

    async def says(self, peer: PeerId, protocol: str, *frames: bytes) -> list[bytes]:
        """What the peer answers until it ends or breaks off."""
        answers = []
        with suppress(MeshError):
            async with self.mesh.open(peer, protocol) as stream:
                for frame in frames:
                    await stream.send(frame)
                await stream.finish()
                while (answer := await stream.receive()) is not None:
                    answers.append(answer)
        return answers


@asynccontextmanager
async def stranger(world: World, *knows: str, name: str = "mallory") -> AsyncIterator[Stranger]:
    bootstrap = tuple(map(where, knows))
    async with world.network.mesh(who(name), listen=(name,), bootstrap=bootstrap) as mesh:
        await until(lambda: len(mesh.peers) == len(knows))
        yield Stranger(mesh)


class Reader:
    """A subscriber that reads on."""

    def __init__(self, peer: Peer, wanted: Filter, **since: Any) -> None:
        self.subscription = Subscription(peer.mesh, peer.hub, peer.archive, wanted=wanted, **since)
        self.events: list[Event] = []
        self.notices: list[str] = []
        self.scope = trio.CancelScope()
        self._peer = peer

    async def run(self) -> None:
        _skew.set(self._peer.skew)
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.subscription.serve)
                async for item in self.subscription.items():
                    if isinstance(item, str):
                        self.notices.append(item)
                    else:
                        self.events.append(item)

    def numbers(self, origin: Peer) -> list[int]:
        return [event.cursor.n for event in self.events if event.peer == origin.id]

    def frames(self, origin: Peer) -> list[int]:
        return [event.frame for event in self.events if event.peer == origin.id]


def subscribe(peer: Peer, wanted: Filter | None = None, **since: Any) -> Reader:
    reader = Reader(peer, wanted or Filter(), **since)
    peer.nursery.start_soon(reader.run)
    return reader


async def inline(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """`trio.to_thread.run_sync` in the loop's own thread: the virtual clock cannot see others."""
    await trio.lowlevel.checkpoint_if_cancelled()
    result = function(*args)
    await trio.lowlevel.cancel_shielded_checkpoint()
    return result


def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    for module in ("records", "replay", "neighbours", "rollout"):
        monkeypatch.setattr(f"meshinfer.node.{module}.time", WallClock)


async def works(alice: Peer, bob: Peer) -> None:
    """Jobs, events and answers go between them as ever."""
    seen = subscribe(bob)
    await trio.sleep(1)
    job = alice.publish(f"after {trio.current_time()}")
    await until(lambda: job.id in bob.jobs, 2)
    n = alice.hub.own_head
    alice.find(found(n))
    await until(lambda: seen.numbers(alice) == [n + 1], 2)
    seen.scope.cancel()
    verdict = await bob.questions.ask(alice.id, Ask(job=job.id))
    assert verdict.verdict == "declines"
    results = [m async for m in bob.findings.of(alice.id, ResultsOf(order().id))]
    assert isinstance(results[-1], ResultsEnd)
    assert [page async for page in bob.questions.catalog_of(alice.id)] == []
