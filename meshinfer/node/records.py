"""The peer's records: stated by us or heard from others, kept in the log and the store, announced, fed to the
schedule.

Order of things for a record of our own: durable, then believed, then announced. A sequence number that others have
seen is never used twice, whatever happens to this process. Records of others are believed at once and written soon;
the vector is saved in the same transaction, so what a crash loses is what the next sync brings.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

import trio

from meshinfer.errors import ProtocolError
from meshinfer.mesh.api import Mesh, Topic
from meshinfer.mesh.identity import Identity
from meshinfer.model.facts import Fact
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.logs import LogId
from meshinfer.model.record import Record
from meshinfer.node.driver import Driver
from meshinfer.node.pace import Pace
from meshinfer.schedule.keeping import Keeping, Refusal, Taken
from meshinfer.schedule.log import Fate, RecordLog, Slot, StoreId, job_of
from meshinfer.schedule.stimuli import JobForgotten
from meshinfer.store import Database, RecordTable, Stored, StoreFull
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_ANNOUNCEMENT, Aged, Announcement
from meshinfer.wire.records import address_of, seal, unseal
from meshinfer.wire.vectors import View

TOPIC_OF: dict[str, Topic] = {"peer": "peers", "source": "peers", "model": "peers"}
URGENT = frozenset({"job", "cancel", "channel"})
"""Kinds that people wait for: pushed to neighbours at once, besides the gossip."""

MAX_UNWRITTEN = 2000
"""Records heard and not yet written. Whoever hands us more waits for the disk."""

MAX_UNSAID = 5000
"""Own records that wait to be announced, of each topic. Beyond, the oldest are left to the next syncs."""

TIDY_EVERY = 20.0
"""Seconds between two looks at what is over."""

BLAMED = frozenset({Refusal.TOO_HIGH, Refusal.TOO_MANY_PEERS, Refusal.TOO_MANY_RECORDS})
"""What no honest neighbour passes on. That clocks differ is nobody's fault."""

WRITE_EVERY = 0.05
FULL_DISK_PAUSE = 1.0

MAX_REASONS = 1000
"""Different reasons that are counted: others choose the words."""


def count(rejected: Counter[str], why: str) -> None:
    """One more that was refused because of `why`."""
    why = why[:120]
    rejected[why if why in rejected or len(rejected) < MAX_REASONS else "other reasons"] += 1


class Records:
    """The log with its store and its voice.

    `blame(peer, why)`: a neighbour brought what no honest one
    has. `on_identity(kind, detail)`: somebody else goes by our name (`cloned`), or did with a newer store (`renewed`).
    """

    def __init__(
        self,
        mesh: Mesh,
        mesh_name: str,
        identity: Identity,
        db: Database,
        driver: Driver,
        *,
        blame: Callable[[PeerId, str], None] = lambda peer, why: None,
        on_identity: Callable[[str, str], None] = lambda kind, detail: None,
    ) -> None:
        self._mesh, self._mesh_name, self._identity, self._driver = mesh, mesh_name, identity, driver
        self.own = StoreId(identity.peer_id, db.incarnation)
        self.log = RecordLog(self.own)
        self.keeping = Keeping(self.log, driver.state.takes_part)
        self.rejected: Counter[str] = Counter()
        self.blame, self._on_identity = blame, on_identity
        self.urgent = trio.Event()
        """Set when a record was stated that people wait for."""
        self.joined = trio.Event()
        """Set when this peer has come to take part in a job."""
        self.on_stated: Callable[[list[Record]], None] = lambda records: None
        self.contradict: Callable[[PeerId, Record], None] = lambda peer, record: None
        self._db, self._table = db, RecordTable(db)
        self._to_state: deque[Fact] = deque()
        self._unwritten: list[Stored] = []
        self._being_written = 0
        self._gone: list[Slot] = []
        self._over: list[JobId] = []
        self._renewal: int | None = None
        self._renewed = False
        self._to_announce: dict[Topic, deque[Record]] = {t: deque(maxlen=MAX_UNSAID) for t in ("peers", "jobs")}
        self._work = trio.Event()
        self._stated = trio.Event()
        self._voice: dict[Topic, trio.Event] = {"peers": trio.Event(), "jobs": trio.Event()}
        self._room = trio.Event()
        self._restored = trio.Event()

    async def load(self) -> None:
        """Take up what the store holds. Jobs first: what is said about them follows, by us before others."""
        stored, vector = await trio.to_thread.run_sync(self._table.load)
        self.keeping.given = await trio.to_thread.run_sync(self._table.given)
        self.log.restore(vector)
        self._restored.set()
        now, wall = trio.current_time(), time.time()
        order = {"peer": 0, "source": 1, "cancel": 2, "job": 3}
        me = self.own.origin
        for row in sorted(stored, key=lambda row: (order.get(row.kind, 9), row.origin != me, row.origin, row.seq)):
            try:
                record = unseal(row.data, mesh=self._mesh_name)
            except ProtocolError as e:
                count(self.rejected, f"stored record: {e}")
                continue
            job = job_of(record.kind, record.key)
            if job is None or record.origin == me or self.keeping.interest.keeps(job, now):
                self._apply(self.keeping.offer(record, now - max(0.0, wall - row.heard), now, stored=True))
            else:
                self._gone.append(Slot(record.origin, record.kind, record.key))
            await trio.lowlevel.checkpoint()
        self._apply(self.keeping.restored(now))

    def state(self, fact: Fact) -> None:
        """Make a record of this soon."""
        self._to_state.append(fact)
        if (job := job_of(*address_of(fact))) is not None:
            self.keeping.interest.begin(job, trio.current_time())
            self._tell_joined()
        self._stated.set()
        self._work.set()

    async def hear(
        self, sealed: bytes, age: float, by: PeerId | None = None, *, of: PeerId | None = None
    ) -> Record | None:
        """Take in a record that a neighbour brings; returned if it was news. Raises ProtocolError for one that is not
        genuine, or not `of` the peer that it must be of."""
        record = unseal(sealed, mesh=self._mesh_name)
        if of is not None and record.origin != of:
            raise ProtocolError("a record of another than who announces it")
        await self._restored.wait()
        while len(self._unwritten) + self._being_written >= MAX_UNWRITTEN:
            self._work.set()
            await self._room.wait()
        now = trio.current_time()
        return record if self._believe(record, now - age, now, by) else None

    def _believe(self, record: Record, born: float, now: float, by: PeerId | None) -> bool:
        taken = self.keeping.hear(record, born, now, wall=time.time(), by=by)
        match taken.fate:
            case Refusal.NOT_KEPT:
                pass
            case Refusal():
                count(self.rejected, taken.fate.value)
                if taken.fate in BLAMED and by is not None:
                    self.blame(by, taken.fate.value)
                if taken.fate in (Refusal.NEWER_SELF, Refusal.OTHER_SELF):
                    self._another_self(record, taken.fate)
            case Fate.FORKED:
                count(self.rejected, taken.fate.value)
                if record.origin == self.own.origin:
                    self._another_self(record, taken.fate)
                elif record.origin == by and (other := self.log.under_number_of(record)) is not None:
                    self.contradict(by, other)  # that one is to know that its numbers mean two things
            case Fate.NEW:
                wall = time.time() - (now - born)
                self._unwritten.append(
                    Stored(record.origin, record.incarnation, record.seq, record.kind, record.key, record.sealed, wall)
                )
        self._apply(taken)
        self._tell_joined()
        return taken.fate is Fate.NEW

    def _apply(self, taken: Taken) -> None:
        self._gone.extend(taken.gone)
        for stimulus in taken.stimuli:
            if isinstance(stimulus, JobForgotten):
                self._over.append(stimulus.job)
            self._driver.feed(stimulus)
        if self._gone or self._unwritten:
            self._work.set()

    # ---- who keeps what ----------------------------------------------------------------------------------------------

    def follow(self, *jobs: JobId) -> None:
        """Keep the logs of these jobs for a while: somebody asks."""
        for job in jobs:
            self.keeping.interest.follow(job, trio.current_time())
        self._tell_joined()

    def relay(self, jobs: Iterable[JobId]) -> None:
        """A neighbour asks that the logs of these be kept for it."""
        self.keeping.interest.relay(jobs, trio.current_time())
        self._tell_joined()

    def _tell_joined(self) -> None:
        if self.keeping.interest.begun:
            self.joined.set()

    def take_joined(self) -> list[JobId]:
        """Jobs in which this peer has come to take part. What was heard of them before counts now."""
        self.joined = trio.Event()
        jobs, self.keeping.interest.begun = self.keeping.interest.begun, []
        now = trio.current_time()
        for job in jobs:
            for early in self.keeping.overheard.take(job):
                self._believe(early.record, early.born, now, None)
        return jobs

    def view(self, jobs: Iterable[JobId], by: PeerId | None = None) -> View:
        """What was seen, as a vector says it; `by`: the neighbour that it is for."""
        named = list(jobs)
        relay = self.keeping.interest.to_relay(named, by, self._mesh.peers) if by is not None else []
        return View(self.log.seen_of(named), named, relay, self.log.lives)

    def lacking(self, theirs: View, peer: PeerId) -> list[Aged]:
        """What a peer with this view lacks, ready to travel."""
        now = trio.current_time()
        lacking = self.keeping.lacking(theirs.logs, theirs.jobs, peer)
        return [Aged(held.record.sealed, max(0.0, now - held.born)) for held in lacking]

    def ends(self, peer: PeerId, theirs: View, mine: View) -> None:
        self.keeping.ends(peer, theirs.logs, mine.jobs, mine.lives)
        self._work.set()

    def welcome(self, peer: PeerId) -> None:
        """A peer has connected: if it was forgotten, what it says counts again."""
        self.log.welcome(peer)

    def forget(self, peer: PeerId) -> int:
        """Let go of all that a retired peer said. How many records that were."""
        before = len(self.log)
        self._apply(self.keeping.forget(peer))
        self._work.set()
        return before - len(self.log)

    # ---- somebody else by our name -----------------------------------------------------------------------------------

    def _another_self(self, record: Record, why: Fate | Refusal) -> None:
        """This store is older than what others know of us: it was restored, or made by a clock that was behind. So it
        becomes a new one. But if that has just been done, another process uses the same key."""
        if self._renewed or self._renewal is not None:
            if record.incarnation >= self.own.incarnation and self._renewed:
                self._on_identity("cloned", f"{why.value}: {record.kind} {record.seq} of store {record.incarnation}")
            return
        self._renewal = max(record.incarnation, self.own.incarnation) + 1
        self._work.set()

    async def _renew(self, at_least: int) -> None:
        incarnation = await trio.to_thread.run_sync(self._db.renew_incarnation, at_least)
        self._renewal, self._renewed = None, True
        self.own = StoreId(self.own.origin, incarnation)
        self._to_state.extendleft(reversed(self.keeping.renew(self.own)))
        self._on_identity("renewed", str(incarnation))

    # ---- writing -----------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Write what was heard and stated; announce what was stated; let go of what is over."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce_all, "peers")
            nursery.start_soon(self._announce_all, "jobs")
            nursery.start_soon(self._tidy)
            while True:
                await self._work.wait()
                self._work = trio.Event()
                await self.flush()
                # Others' records can wait and be written together; our own are waited for.
                self._stated = trio.Event()
                with trio.move_on_after(WRITE_EVERY):
                    while not self._to_state:
                        await self._stated.wait()

    async def _tidy(self) -> None:
        while True:
            await trio.sleep(TIDY_EVERY)
            self._apply(self.keeping.expire(trio.current_time(), self._mesh.peers))

    async def flush(self) -> None:
        """Bring the store up to date with everything stated and heard so far."""
        try:
            if self._renewal is not None:
                await self._renew(self._renewal)
            await self._flush()
        except StoreFull:
            self._work.set()
            await trio.sleep(FULL_DISK_PAUSE)

    async def _flush(self) -> None:
        facts = [self._to_state.popleft() for _ in range(len(self._to_state))]
        others, gone, over = self._unwritten, self._gone, self._over
        self._unwritten, self._gone, self._over, self._being_written = [], [], [], len(others)
        vector = self.log.moved()
        if not (facts or others or gone or over or vector):
            return  # a sync that brought no news
        try:
            # What came and went again before it was written is not written; what came anew is not removed.
            rows = [row for row in others if self.log.get(PeerId(row.origin), row.kind, row.key) is not None]
            removed = [slot for slot in gone if self.log.get(*slot) is None]
            records = await trio.to_thread.run_sync(self._write, facts, rows, removed, vector, over)
        except BaseException:
            # What we cannot make durable we don't say: others must not see a number reused. Also where it was cancelled
            # before it began: the flush at the end takes it up.
            self._to_state.extendleft(reversed(facts))
            self._unwritten, self._gone, self._being_written = others + self._unwritten, gone + self._gone, 0
            self._over = over + self._over
            self.log.not_written(vector)
            self._work.set()
            raise
        self._being_written = 0
        self._room.set()
        self._room = trio.Event()
        now = trio.current_time()
        for record in records:
            self._apply(self.keeping.offer(record, now, now))
            topic = TOPIC_OF.get(record.kind, "jobs")
            self._to_announce[topic].append(record)
            self._voice[topic].set()
            if record.kind in URGENT:
                self.urgent.set()
        if records:
            self.on_stated(records)

    def _write(
        self,
        facts: list[Fact],
        others: list[Stored],
        gone: list[Slot],
        vector: dict[LogId, int],
        over: list[JobId],
    ) -> list[Record]:
        """In a worker thread."""
        (me, incarnation), mesh, sign = self.own, self._mesh_name, self._identity.sign
        logs = [job_of(*address_of(fact)) for fact in facts]
        seqs = self._table.take_seqs(Counter(logs)) if facts else {}
        records = []
        for job, fact in zip(logs, facts, strict=True):
            try:
                records.append(seal(fact, mesh=mesh, origin=me, incarnation=incarnation, seq=seqs[job], sign=sign))
            except ProtocolError as e:  # too long to be a record: it stays unsaid, its number unused
                count(self.rejected, f"own record: {e}")
            vector[LogId(me, incarnation, job)] = seqs[job]
            seqs[job] += 1
        wall = time.time()
        stored = [Stored(r.origin, r.incarnation, r.seq, r.kind, r.key, r.sealed, wall) for r in records]
        self._table.save([*others, *stored], removed=gone, vector=vector, over=over, durable=bool(stored))
        return records

    async def _announce_all(self, topic: Topic) -> None:
        queue = self._to_announce[topic]
        pace = Pace(rate=5, burst=20)
        while True:
            while not queue:
                self._voice[topic] = trio.Event()
                await self._voice[topic].wait()
            await pace.turn()
            batch: list[bytes] = []
            size = 64
            while queue and size + len(queue[0].sealed) + 8 <= MAX_ANNOUNCEMENT and len(batch) < 512:
                sealed = queue.popleft().sealed
                batch.append(sealed)
                size += len(sealed) + 8
            await self._mesh.publish(topic, encode(Announcement(tuple(batch))))
