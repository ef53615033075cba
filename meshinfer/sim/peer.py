"""A simulated peer: a real `ScheduleState` in a shell that keeps, sends and works on virtual time.

Everything above "one life" is the machine's and survives the process: its footage, its store, its clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from meshinfer.errors import ProtocolError
from meshinfer.model.catalog import Entry, SourceSummary
from meshinfer.model.facts import Fact, PeerFact
from meshinfer.model.ids import ContentId, JobId, ModelDigest, PeerId, TaskId
from meshinfer.model.record import Record
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.sketch import sketch
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.visits import Visits
from meshinfer.schedule.worklist import WEIGHT
from meshinfer.sim.agenda import Agenda, Process
from meshinfer.sim.books import LOOKED, Books, Unsealer
from meshinfer.sim.chance import Rng
from meshinfer.sim.chronicle import Chronicle
from meshinfer.sim.fetch import Fetching
from meshinfer.sim.gossip import Gossip
from meshinfer.sim.handover import Handover
from meshinfer.sim.identity import Keys, keys
from meshinfer.sim.network import Network
from meshinfer.sim.push import Push
from meshinfer.sim.runner import Runner
from meshinfer.sim.scenario import Scenario
from meshinfer.sim.store import Store
from meshinfer.sim.sync import Syncs
from meshinfer.sim.watch import Watch
from meshinfer.wire.messages import read_announcement

MODEL = ModelDigest("5" * 64)
CLASSES = ("person",)
SOURCE = "cam"
TIDY_EVERY = 20.0

EPOCH = 1_800_000_000.0
"""Unix seconds at virtual time 0."""


class Crashed(Exception):
    """A process is no more: raised at one of its steps, caught by the world."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer.process.name)
        self.peer = peer


class Around(NamedTuple):
    """What a peer shares with the others: the world it lives in."""

    agenda: Agenda
    network: Network
    gossip: Gossip
    rng: Rng
    scenario: Scenario
    chronicle: Chronicle
    unsealer: Unsealer
    watch: Watch


class Peer:
    def __init__(
        self, around: Around, index: int, entries: tuple[Entry, ...], cores: int, own: Keys | None = None
    ) -> None:
        """`own`: of another peer, whose identity it was copied with."""
        self.around, self.index, self.entries = around, index, entries
        self.keys = own or keys(index + 1)
        self.id = self.keys.peer
        self.process = Process(f"p{index}")
        self.fact = PeerFact(self.process.name, {}, (), "1", cores, 1)
        self.failing: frozenset[ContentId] = frozenset()
        """Contents that this machine fails to analyse."""
        self.had: set[ContentId] = set()
        """Contents that lay here once."""
        self.models: dict[ModelDigest, tuple[str, ...]] = {MODEL: CLASSES}
        self.honest, self.slowness = True, 1.0
        self.lies: set[bytes] = set()
        """Records that it made up."""
        self.rejected = Counter[str]()
        self.store: Store | None = None
        self.set_back = 0
        """Incarnation of the store that was last replaced by an earlier copy of it."""
        self.gone = False
        """It never comes back."""
        self.fragile = 0.0
        """Chance of dying at each step."""
        self.analysed: Counter[TaskId] = Counter()
        """Pieces of each task that were worked through here, in all lives."""

    # ---- one life ----------------------------------------------------------------------------------------------------

    def start(self, *, lose_store: bool = False) -> None:
        rng, agenda, skew = self.around.rng, self.around.agenda, self.around.scenario.faults.skew
        if lose_store or self.store is None:  # a new store is newer, whatever the clock was set to meanwhile
            before = self.store.incarnation if self.store else 0
            self._wall_offset = EPOCH + rng.uniform(-skew, skew)
            self.store = Store(max(before + 1, int(self.wall() * 1000)))
        self._wall_offset = EPOCH + rng.uniform(-skew, skew)
        self._clock_offset = rng.uniform(0, 100_000) - agenda.now
        self.process.life += 1
        self.process.alive, self.process.stopped_until = True, 0.0
        self.since = agenda.now
        self.around.chronicle.note(self.process.name, f"starts, store {self.store.incarnation}")
        window = WEIGHT["video"] * rng.choice(self.around.scenario.window)
        self.state = ScheduleState(self.id, window=window, fetches=True)
        self.books = Books(self, self.keys, self.store, self.around.unsealer)
        self.books.rejected, self.books.lies = self.rejected, self.lies  # of all lives
        self.visits = Visits(self.books.keeping)
        self.neighbours: set[int] = set()
        self._connections = frozenset[PeerId]()
        self.syncs = Syncs(self, self.books, self.index, rng)
        self.push = Push(self, self.books, self.syncs, rng)
        self.handover = Handover(self, self.index)
        self.fetching = Fetching(self, self.around.network.ends, rng)
        self.runner = Runner(self, rng, self.around.scenario.work)
        self._wake: float | None = None
        self.found: tuple[Entry, ...] = ()
        """What the schedule knows of."""
        self._scanned = False
        self.feed(st.ModelsChanged(self.models))
        self.books.load()
        self.later(rng.uniform(0.0, 0.3), "scan", self._scan)
        self._state_again(self.fact, "peer", "")
        self.later(TIDY_EVERY, "tidy", self._tidy)

    def _scan(self) -> None:
        """Look at the footage, a few files at a time."""
        new = [entry for entry in self.entries if entry not in self.found]
        part, over = tuple(new[:5]), len(new) <= 5
        gone = tuple((entry.source, entry.name) for entry in self.found if entry not in self.entries)
        self.found = (*(entry for entry in self.found if entry in self.entries), *part)
        self._scanned = self._scanned or over
        self.feed(st.CatalogChanged(part, gone, complete=over))
        if over:
            bits = sketch(entry.content for entry in self.entries)
            n = len(self.entries)
            self._state_again(SourceSummary(SOURCE, ("video",), {}, n, 0, 0, 0.0, sketch=bits), "source", SOURCE)
        else:
            self.later(self.around.rng.uniform(0.0, 0.2), "scan", self._scan)

    def _state_again(self, fact: Fact, kind: str, key: str) -> None:
        """Where it differs from what we last said."""
        held = self.books.log.get(self.id, kind, key)
        if held is None or held.record.fact != fact or held.record.incarnation != self.books.own.incarnation:
            self.books.state(fact)

    # ---- what records and syncs need ---------------------------------------------------------------------------------

    def clock(self) -> float:
        return self.around.agenda.now + self._clock_offset

    def wall(self) -> float:
        return self.around.agenda.now + self._wall_offset

    def later(self, delay: float, label: str, do: Callable[[], None]) -> None:
        self.around.agenda.after(delay, label, do, self.process)

    def point(self, what: str) -> None:
        """Raises Crashed, when it comes to that."""
        if self.fragile and self.around.rng.random() < self.fragile:
            self.around.chronicle.note(self.process.name, f"dies: {what}")
            raise Crashed(self)

    def begins(self, task: TaskId) -> None:
        self.around.watch.begins(self, task)

    def writing(self) -> float:
        return self.around.rng.uniform(0.001, 0.03)

    def publish(self, data: bytes) -> None:
        self.around.watch.leaves(self, data)
        self.around.gossip.publish(self.index, data)

    def takes_part(self, job: JobId) -> bool:
        return self.state.takes_part(job)

    def id_of(self, other: int) -> PeerId:
        return self.around.network.ends[other].id

    def connections(self) -> frozenset[PeerId]:
        return self._connections

    def visit(self) -> None:
        network = self.around.network
        trying = network.kept(self.index) - self._connections
        if candidates := self.visits.whom(self._connections, trying, self.clock()):
            peer = self.around.rng.choice(candidates)
            if not network.visit(self.index, next(end.index for end in network.ends if end.id == peer)):
                self.visits.failed(peer, self.clock())

    def joined(self) -> None:
        self.push.joined()

    def stated(self, records: list[Record]) -> None:
        self.push.stated(records)

    def contradict(self, other: PeerId, record: Record) -> None:
        for end in [end for end in sorted(self.neighbours) if self.id_of(end) == other]:
            self.push.tell(end, record)

    def news(self) -> None:
        self.push.news()

    def push_soon(self) -> None:
        self.push.urgent()

    def note(self, what: str, task: TaskId) -> None:
        self.around.chronicle.note(self.process.name, what, task)

    def look(self, job: JobId) -> None:
        """Somebody asks about a job here, and loses interest."""
        if job in self.state.jobs:
            self.books.follow(job)
            self.later(LOOKED + 0.001, "looked", self.books.tidy)

    def _tidy(self) -> None:
        self.books.tidy()
        self.later(TIDY_EVERY, "tidy", self._tidy)

    def send(self, other: int, stream: int, data: bytes) -> None:
        self.around.watch.leaves(self, data)
        self.around.network.send(self.index, other, stream, data)

    # ---- the network -------------------------------------------------------------------------------------------------

    def connected(self, other: int) -> None:
        self._met(self.neighbours | {other})
        self.feed(st.Connected(self.id_of(other)))
        if self.index < other:  # both sides know of the connection: one of them asks
            self.syncs.start(other)

    def _met(self, neighbours: set[int]) -> None:
        self.neighbours, self._connections = neighbours, frozenset(map(self.id_of, neighbours))

    def disconnected(self, other: int) -> None:
        self._met(self.neighbours - {other})
        self.syncs.broken(other)
        self.feed(st.Disconnected(self.id_of(other)))

    def gossip(self, data: bytes) -> None:
        try:
            for sealed in _announced(data):
                self.books.hear(sealed, 0.0)
        except ProtocolError as e:
            self.books.rejected[str(e)] += 1

    def frame(self, other: int, stream: int, data: bytes) -> None:
        try:
            if stream < 0:
                self.handover.frame(other, stream, data)
            else:
                self.syncs.frame(other, stream, data)
        except ProtocolError as e:
            self.books.rejected[str(e)] += 1

    # ---- the schedule ------------------------------------------------------------------------------------------------

    def feed(self, stimulus: st.Stimulus) -> None:
        for effect in self.state.handle(stimulus, self.clock()):
            self.point(f"about to {type(effect).__name__.lower()}")
            match effect:
                case st.State(fact):
                    self.books.state(fact)
                case st.Start(_, task, entry, first):
                    self.around.watch.starts(self, task, entry)
                    self.runner.start(task, entry)
                    self.note(f"starts {entry.name} from frame {first}", task)
                case st.Stop(_, tasks):
                    self._let_go(tasks, "stops")
                case st.Yield(_, tasks):
                    self._let_go(tasks, "lets go")
                case st.AskWork() | st.Grant():
                    self.handover.perform(effect)
                case st.Fetch() | st.Forgo():
                    self.fetching.perform(effect)
        self.around.watch.handled(self, stimulus)
        deadline = self.state.next_deadline()
        if deadline is not None and deadline != self._wake:
            self._wake = deadline
            # Adding and taking away an offset loses the last bits: late by a hair, as real timers are, never early.
            self.later(deadline - self.clock() + 1e-6, "tick", lambda: self._tick(deadline))

    def _let_go(self, tasks: Iterable[TaskId], how: str) -> None:
        for task in tasks:
            self.runner.let_go(task)
            self.around.watch.lets_go(self, task)
            self.note(how, task)

    def _tick(self, deadline: float) -> None:
        if self._wake == deadline:
            self._wake = None
            self.feed(st.Tick())

    # ---- what befalls it ---------------------------------------------------------------------------------------------

    def disk_freed(self) -> None:
        """The next look at the disk finds room."""
        self.around.chronicle.note(self.process.name, "its disk is free again")
        if self.process.alive:
            self.later(self.around.rng.uniform(0, 1), "room", lambda: self.feed(st.RoomChanged(True)))

    def set_wall(self, offset: float) -> None:
        """Its wall clock jumps."""
        self._wall_offset = offset

    def set_entries(self, entries: tuple[Entry, ...]) -> None:
        """Files came or went: the next look finds it."""
        self.had.update(entry.content for entry in self.entries)
        self.entries = entries
        if self.process.alive and self._scanned:
            self.later(self.around.rng.uniform(0, 1), "scan", self._scan)

    def set_models(self, models: dict[ModelDigest, tuple[str, ...]]) -> None:
        self.models = models
        if self.process.alive:
            self.later(0.0, "models", lambda: self.feed(st.ModelsChanged(self.models)))


@lru_cache(maxsize=2048)
def _announced(data: bytes) -> tuple[bytes, ...]:
    """The same bytes come to everybody."""
    return read_announcement(data).records
