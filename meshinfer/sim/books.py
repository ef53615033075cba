"""A simulated peer's records: `node/records.py` on virtual time, with a crash possible at each of its steps.

A record of our own: number taken, sealed, saved, believed, told. Others': believed, saved soon with the vector.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from meshinfer.errors import ProtocolError
from meshinfer.model.facts import Fact
from meshinfer.model.ids import JobId
from meshinfer.model.record import Record
from meshinfer.schedule.log import Fate, RecordLog, Slot, StoreId
from meshinfer.schedule.stimuli import Heard, Stimulus, StoreLost
from meshinfer.sim.identity import Keys
from meshinfer.sim.store import Kept, Store
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_ANNOUNCEMENT, Aged, Announcement, Vector
from meshinfer.wire.records import seal, unseal

MESH = "sim"
WRITE_EVERY = 0.05
FULL_DISK_PAUSE = 1.0
RATE, BURST = 5, 20
"""Announcements a second, and at once."""

URGENT = frozenset({"job", "cancel"})


class Unsealer:
    """`unseal`, each distinct bytes once: all peers hear the same ones, and the answer is a function of the bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, Record] = {}

    def __call__(self, sealed: bytes) -> Record:
        record = self._known.get(sealed)
        if record is None:
            record = self._known[sealed] = unseal(sealed, mesh=MESH)
        return record


class Host(Protocol):
    """The peer around its records."""

    def clock(self) -> float:
        """Seconds of this process's own monotonic clock."""

    def wall(self) -> float:
        """Unix seconds, as this machine believes."""

    def later(self, delay: float, label: str, do: Callable[[], None]) -> None: ...

    def point(self, what: str) -> None:
        """A step at which a process may die."""

    def writing(self) -> float:
        """Seconds that a transaction takes."""

    def feed(self, stimulus: Stimulus) -> None: ...

    def publish(self, data: bytes) -> None: ...

    def push_soon(self) -> None:
        """Something was stated that people wait for."""


class Books:
    """The log with its store and its voice. One a life."""

    def __init__(self, host: Host, keys: Keys, store: Store, unsealer: Unsealer) -> None:
        self._host, self._keys, self._store, self._unseal = host, keys, store, unsealer
        self.own = StoreId(keys.peer, store.incarnation)
        self.log = RecordLog(self.own)
        self.rejected: Counter[str] = Counter()
        self._to_state: deque[Fact] = deque()
        self._unwritten: list[Kept] = []
        self._gone: list[Slot] = []
        self._moved = False
        self._to_announce: deque[Record] = deque()
        self._flush_at: float | None = None
        self._writing = False
        self._announcing = False
        self._tokens, self._tokens_at = float(BURST), host.clock()

    @property
    def at_rest(self) -> bool:
        return not (self._to_state or self._unwritten or self._gone or self._writing or self._to_announce)

    def load(self) -> None:
        order = {"peer": 0, "source": 1, "cancel": 2, "job": 3}
        kept = self._store.records.values()
        for record, heard in sorted(
            kept, key=lambda k: (order.get(k.record.kind, 9), k.record.origin, k.record.incarnation, k.record.seq)
        ):
            age = max(0.0, self._host.wall() - heard)
            self._believe(self._unseal(record.sealed), self._host.clock() - age, stored=True)
        self.log.restore(self._store.vector)

    def state(self, fact: Fact) -> None:
        self._to_state.append(fact)
        self._flush_in(0.0)

    def hear(self, sealed: bytes, age: float) -> None:
        """Raises ProtocolError for a record that is not genuine."""
        self._believe(self._unseal(sealed), self._host.clock() - age)

    def complete_to(self, vector: Vector) -> None:
        self.log.complete_to((u.origin, u.incarnation, u.n) for u in vector)
        self._moved = True
        self._flush_in(WRITE_EVERY)

    def aged(self, theirs: dict[StoreId, int]) -> list[Aged]:
        now = self._host.clock()
        return [Aged(held.record.sealed, max(0.0, now - held.born)) for held in self.log.missing(theirs)]

    def _believe(self, record: Record, born: float, *, stored: bool = False) -> None:
        fate, gone = self.log.offer(record, born)
        if gone:
            self._gone.extend(gone)
            jobs = frozenset(JobId(slot.key.partition("/")[0]) for slot in gone)
            self._host.feed(StoreLost(record.origin, jobs))
        if fate is Fate.FORKED:
            self.rejected["a record under a number that another has"] += 1
        if fate is not Fate.NEW:
            return
        if not stored:
            self._unwritten.append(Kept(record, self._host.wall() - (self._host.clock() - born)))
            self._flush_in(WRITE_EVERY)
        if record.fact is not None:
            self._host.feed(Heard(record.origin, record.fact, born))

    # ---- writing -----------------------------------------------------------------------------------------------------

    def _flush_in(self, delay: float) -> None:
        at = self._host.clock() + delay
        if not self._writing and (self._flush_at is None or at < self._flush_at):
            self._flush_at = at
            self._host.later(delay, "flush", lambda: self._flush(at))

    def _flush(self, at: float) -> None:
        if self._writing or self._flush_at != at:
            return
        self._flush_at = None
        if self._store.full:
            self._flush_in(FULL_DISK_PAUSE)
            return
        facts, others, gone = list(self._to_state), self._unwritten, self._gone
        self._to_state.clear()
        self._unwritten, self._gone, self._moved, self._writing = [], [], False, True
        vector = self.log.vector()
        self._host.point("about to write records")
        self._host.later(self._host.writing(), "written", lambda: self._written(facts, others, gone, vector))

    def _written(self, facts: list[Fact], others: list[Kept], gone: list[Slot], vector: dict[StoreId, int]) -> None:
        first = self._store.next_seq(len(facts)) if facts else 0
        self._host.point("numbers taken, records not saved")
        me, incarnation = self.own
        records = []
        for seq, fact in enumerate(facts, first):
            try:
                sign = self._keys.sign
                records.append(seal(fact, mesh=MESH, origin=me, incarnation=incarnation, seq=seq, sign=sign))
            except ProtocolError as e:  # too long to be a record
                self.rejected[f"own record: {e}"] += 1
        if records:
            vector[self.own] = records[-1].seq
        wall = self._host.wall()
        self._store.save([*others, *(Kept(record, wall) for record in records)], gone, vector)
        self._host.point("records saved, not told")
        self._writing = False
        now = self._host.clock()
        for record in records:
            self.log.offer(record, now)
            self._to_announce.append(record)
            if record.fact is not None:
                self._host.feed(Heard(record.origin, record.fact, now))
            if record.kind in URGENT:
                self._host.push_soon()
        self._announce()
        if self._to_state:
            self._flush_in(0.0)
        elif self._unwritten or self._gone or self._moved:
            self._flush_in(WRITE_EVERY)

    # ---- telling -----------------------------------------------------------------------------------------------------

    def _announce(self) -> None:
        if self._announcing or not self._to_announce:
            return
        now = self._host.clock()
        self._tokens = min(float(BURST), self._tokens + (now - self._tokens_at) * RATE)
        self._tokens_at = now
        self._announcing = True
        self._host.later(max(0.0, (1 - self._tokens) / RATE), "announce", self._announce_now)
        self._tokens -= 1

    def _announce_now(self) -> None:
        self._announcing = False
        batch: list[bytes] = []
        size = 64
        while (
            self._to_announce and size + len(self._to_announce[0].sealed) + 8 <= MAX_ANNOUNCEMENT and len(batch) < 512
        ):
            batch.append(self._to_announce.popleft().sealed)
            size += len(batch[-1]) + 8
        self._host.publish(encode(Announcement(tuple(batch))))
        self._host.point("told")
        self._announce()
