"""The peer's records: stated by us or heard from others, kept in the log and the store, announced, fed to the
schedule.

Order of things for a record of our own: durable, then believed, then announced. A sequence number that others have
seen is never used twice, whatever happens to this process. Records of others are believed at once and written soon;
the vector is saved in the same transaction, so what a crash loses is what the next sync brings.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable

import trio

from meshinfer.errors import ProtocolError
from meshinfer.mesh.api import Mesh, Topic
from meshinfer.mesh.identity import Identity
from meshinfer.model.facts import Fact
from meshinfer.model.ids import JobId
from meshinfer.model.record import Record
from meshinfer.node.driver import Driver
from meshinfer.node.pace import Pace
from meshinfer.schedule.log import Fate, RecordLog, Slot, StoreId
from meshinfer.schedule.stimuli import Heard, StoreLost
from meshinfer.store import Database, RecordTable, Stored, StoreFull
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_ANNOUNCEMENT, Aged, Announcement
from meshinfer.wire.records import seal, unseal

TOPIC_OF: dict[str, Topic] = {"peer": "peers", "source": "peers", "model": "peers"}
URGENT = frozenset({"job", "cancel"})
"""Kinds that people wait for: pushed to neighbours at once, besides the gossip."""

MAX_UNWRITTEN = 2000
"""Records heard and not yet written. Whoever hands us more waits for the disk."""

WRITE_EVERY = 0.05
FULL_DISK_PAUSE = 1.0

MAX_REASONS = 1000
"""Different reasons that are counted: others choose the words."""


def count(rejected: Counter[str], why: str) -> None:
    """One more that was refused because of `why`."""
    why = why[:120]
    rejected[why if why in rejected or len(rejected) < MAX_REASONS else "other reasons"] += 1


class Records:
    """The log with its store and its voice."""

    def __init__(self, mesh: Mesh, mesh_name: str, identity: Identity, db: Database, driver: Driver) -> None:
        self._mesh, self._mesh_name, self._identity, self._driver = mesh, mesh_name, identity, driver
        self.own = StoreId(identity.peer_id, db.incarnation)
        self.log = RecordLog(self.own)
        self.rejected: Counter[str] = Counter()
        self.urgent = trio.Event()
        """Set when a record was stated that people wait for."""
        self._table = RecordTable(db)
        self._to_state: deque[Fact] = deque()
        self._unwritten: list[Stored] = []
        self._being_written = 0
        self._gone: list[Slot] = []
        self._to_announce: dict[Topic, deque[Record]] = {"peers": deque(), "jobs": deque()}
        self._work = trio.Event()
        self._stated = trio.Event()
        self._voice: dict[Topic, trio.Event] = {"peers": trio.Event(), "jobs": trio.Event()}
        self._room = trio.Event()

    async def load(self) -> None:
        """Take up what the store holds. Jobs first: what is said about them follows."""
        stored, vector = await trio.to_thread.run_sync(self._table.load)
        now, wall = trio.current_time(), time.time()
        order = {"peer": 0, "source": 1, "cancel": 2, "job": 3}
        for row in sorted(stored, key=lambda row: (order.get(row.kind, 9), row.origin, row.seq)):
            try:
                record = unseal(row.data, mesh=self._mesh_name)
            except ProtocolError as e:
                count(self.rejected, f"stored record: {e}")
                continue
            self._believe(record, now - max(0.0, wall - row.heard), stored=True)
            await trio.lowlevel.checkpoint()
        self.log.restore({StoreId(origin, incarnation): n for (origin, incarnation), n in vector.items()})  # type: ignore[arg-type]  # peer ids come back as str

    def state(self, fact: Fact) -> None:
        """Make a record of this soon."""
        self._to_state.append(fact)
        self._stated.set()
        self._work.set()

    async def hear(self, sealed: bytes, age: float) -> bool:
        """Take in a record from another peer; whether it was news. Raises ProtocolError for one that is not genuine."""
        record = unseal(sealed, mesh=self._mesh_name)
        while len(self._unwritten) + self._being_written >= MAX_UNWRITTEN:
            self._work.set()
            await self._room.wait()
        return self._believe(record, trio.current_time() - age)

    def complete_to(self, vector: Iterable[tuple[str, int, int]]) -> None:
        self.log.complete_to(vector)  # type: ignore[arg-type]  # peer ids were checked by the decoder
        self._work.set()

    def aged(self, theirs: dict[StoreId, int]) -> list[Aged]:
        """What a peer with this vector lacks, ready to travel."""
        now = trio.current_time()
        return [Aged(held.record.sealed, max(0.0, now - held.born)) for held in self.log.missing(theirs)]

    def _believe(self, record: Record, born: float, *, stored: bool = False) -> bool:
        fate, gone = self.log.offer(record, born)
        if gone:
            self._gone.extend(gone)
            jobs = frozenset(JobId(slot.key.partition("/")[0]) for slot in gone)
            self._driver.feed(StoreLost(record.origin, jobs))
        if fate is Fate.FORKED:
            count(self.rejected, "a record under a number that another has")
        if fate is not Fate.NEW:
            return False
        if not stored:  # others may speak to us while the store is still being read
            heard = time.time() - (trio.current_time() - born)
            self._unwritten.append(
                Stored(record.origin, record.incarnation, record.seq, record.kind, record.key, record.sealed, heard)
            )
            self._work.set()
        if record.fact is not None:
            self._driver.feed(Heard(record.origin, record.fact, born))
        return True

    async def serve(self) -> None:
        """Write what was heard and stated; announce what was stated."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce_all, "peers")
            nursery.start_soon(self._announce_all, "jobs")
            while True:
                await self._work.wait()
                self._work = trio.Event()
                await self.flush()
                # Others' records can wait and be written together; our own are waited for.
                self._stated = trio.Event()
                with trio.move_on_after(WRITE_EVERY):
                    while not self._to_state:
                        await self._stated.wait()

    async def flush(self) -> None:
        """Bring the store up to date with everything stated and heard so far."""
        facts = [self._to_state.popleft() for _ in range(len(self._to_state))]
        others, gone = self._unwritten, self._gone
        self._unwritten, self._gone, self._being_written = [], [], len(others)
        vector = {(store.origin, store.incarnation): n for store, n in self.log.vector().items()}
        try:
            records = await trio.to_thread.run_sync(self._write, facts, others, gone, vector)
        except StoreFull:
            # What we cannot make durable we don't say: others must not see a number reused.
            self._put_back(facts, others, gone)
            await trio.sleep(FULL_DISK_PAUSE)
            return
        except BaseException:  # cancelled before it began: the flush at the end takes it up
            self._put_back(facts, others, gone)
            raise
        self._being_written = 0
        self._room.set()
        self._room = trio.Event()
        now = trio.current_time()
        for record in records:
            self.log.offer(record, now)
            topic = TOPIC_OF.get(record.kind, "jobs")
            self._to_announce[topic].append(record)
            self._voice[topic].set()
            if record.fact is not None:
                self._driver.feed(Heard(record.origin, record.fact, now))
            if record.kind in URGENT:
                self.urgent.set()

    def _put_back(self, facts: list[Fact], others: list[Stored], gone: list[Slot]) -> None:
        """Nothing of this was written: keep it for later."""
        self._to_state.extendleft(reversed(facts))
        self._unwritten, self._gone, self._being_written = others + self._unwritten, gone + self._gone, 0
        self._work.set()

    def _write(
        self, facts: list[Fact], others: list[Stored], gone: list[Slot], vector: dict[tuple[str, int], int]
    ) -> list[Record]:
        """In a worker thread."""
        (me, incarnation), mesh, sign = self.own, self._mesh_name, self._identity.sign
        first = self._table.next_seq(len(facts)) if facts else 0
        records = []
        for seq, fact in enumerate(facts, first):
            try:
                records.append(seal(fact, mesh=mesh, origin=me, incarnation=incarnation, seq=seq, sign=sign))
            except ProtocolError as e:  # too long to be a record: it stays unsaid, its number unused
                count(self.rejected, f"own record: {e}")
        if records:
            vector[me, incarnation] = records[-1].seq
        wall = time.time()
        stored = [Stored(r.origin, r.incarnation, r.seq, r.kind, r.key, r.sealed, wall) for r in records]
        self._table.save([*others, *stored], removed=gone, vector=vector, durable=bool(stored))
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
