"""A simulated peer's records: `node/records.py` on virtual time, with a crash possible at each of its steps.

A record of our own: number taken, sealed, saved, believed, told. Others': believed, saved soon with the vector.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Protocol

from meshinfer.errors import ProtocolError
from meshinfer.model.facts import Fact
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.logs import LogId
from meshinfer.model.record import Record
from meshinfer.schedule.keeping import Keeping, Refusal, Taken
from meshinfer.schedule.log import Fate, RecordLog, Slot, StoreId, job_of
from meshinfer.schedule.stimuli import Stimulus
from meshinfer.sim.identity import Keys
from meshinfer.sim.store import Kept, Store
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_ANNOUNCEMENT, Aged, Announcement
from meshinfer.wire.records import address_of, seal, unseal
from meshinfer.wire.vectors import View

MESH = "sim"
WRITE_EVERY = 0.05
FULL_DISK_PAUSE = 1.0
RATE, BURST = 5, 20
"""Announcements a second, and at once."""

LOOKED = 2.0
"""Seconds that a job is followed after somebody asked: far less than real peers do, so that it ends within a storm."""

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

    honest: bool

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

    def joined(self) -> None:
        """This peer has come to take part in a job."""

    def stated(self, records: list[Record]) -> None:
        """These are our own, and new."""

    def contradict(self, other: PeerId, record: Record) -> None:
        """A neighbour is to know that what it said bears the number of this record of its own."""

    def takes_part(self, job: JobId) -> bool:
        """Whether the schedule has a part in this job."""

    def connections(self) -> frozenset[PeerId]: ...


class Books:
    """The log with its store and its voice. One a life."""

    def __init__(self, host: Host, keys: Keys, store: Store, unsealer: Unsealer) -> None:
        self._host, self._keys, self._store, self._unseal = host, keys, store, unsealer
        self.own = StoreId(keys.peer, store.incarnation)
        self.log = RecordLog(self.own)
        self.keeping = Keeping(self.log, host.takes_part, LOOKED)
        self.rejected: Counter[str] = Counter()
        self.lies: set[bytes] = set()
        """What an attacker made up: it does not come to believe itself."""
        self._to_state: deque[Fact] = deque()
        self._unwritten: list[Kept] = []
        self._gone: list[Slot] = []
        self._to_announce: deque[Record] = deque()
        self._version = -1
        self._views: dict[tuple[tuple[JobId, ...], tuple[JobId, ...]], View] = {}
        self._flush_at: float | None = None
        self._writing = False
        self._announcing = False
        self._renewal: int | None = None
        self._renewed = False
        self._tokens, self._tokens_at = float(BURST), host.clock()

    @property
    def at_rest(self) -> bool:
        return not (self._to_state or self._unwritten or self._gone or self._writing or self._to_announce)

    def load(self) -> None:
        order = {"peer": 0, "source": 1, "cancel": 2, "job": 3}
        me, now = self.own.origin, self._host.clock()
        self.log.restore(self._store.vector)
        self.keeping.given = dict(self._store.seqs)
        kept = sorted(
            self._store.records.values(),
            key=lambda k: (order.get(k.record.kind, 9), k.record.origin != me, k.record.origin, k.record.seq),
        )
        for record, heard in kept:
            job = job_of(record.kind, record.key)
            if job is None or record.origin == me or self.keeping.interest.keeps(job, now):
                born = now - max(0.0, self._host.wall() - heard)
                self._apply(self.keeping.offer(self._unseal(record.sealed), born, now, stored=True))
            else:
                self._gone.append(Slot(record.origin, record.kind, record.key))
        self._apply(self.keeping.restored(now))
        self._tell_joined()

    def state(self, fact: Fact) -> None:
        self._to_state.append(fact)
        if (job := job_of(*address_of(fact))) is not None:
            self.keeping.interest.begin(job, self._host.clock())
            self._tell_joined()
        self._flush_in(0.0)

    def hear(self, sealed: bytes, age: float, by: PeerId | None = None) -> Record | None:
        """Returned if it was news. Raises ProtocolError for a record that is not genuine."""
        if sealed in self.lies:
            return None
        record, now = self._unseal(sealed), self._host.clock()
        return record if self._believe(record, now - age, now, by) else None

    def _believe(self, record: Record, born: float, now: float, by: PeerId | None) -> bool:
        taken = self.keeping.hear(record, born, now, wall=self._host.wall(), by=by)
        if taken.fate is Fate.FORKED or (isinstance(taken.fate, Refusal) and taken.fate is not Refusal.NOT_KEPT):
            self.rejected[taken.fate.value] += 1
        if taken.fate in (Refusal.NEWER_SELF, Refusal.OTHER_SELF):
            self._another_self(record)
        elif taken.fate is Fate.FORKED:
            if record.origin == self.own.origin:
                self._another_self(record)
            elif record.origin == by and (other := self.log.under_number_of(record)) is not None:
                self._host.contradict(by, other)
        elif taken.fate is Fate.NEW:
            self._unwritten.append(Kept(record, self._host.wall() - (now - born)))
            self._flush_in(WRITE_EVERY)
        self._apply(taken)
        self._tell_joined()
        return taken.fate is Fate.NEW

    def _apply(self, taken: Taken) -> None:
        if taken.gone:
            self._gone.extend(taken.gone)
            self._flush_in(WRITE_EVERY)
        for stimulus in taken.stimuli:
            self._host.feed(stimulus)

    # ---- who keeps what ----------------------------------------------------------------------------------------------

    def _tell_joined(self) -> None:
        if self.keeping.interest.begun:
            self._host.joined()

    def take_joined(self) -> list[JobId]:
        """Jobs in which this peer has come to take part. What was heard of them before counts now."""
        jobs, self.keeping.interest.begun = self.keeping.interest.begun, []
        for job in jobs:
            for early in self.keeping.overheard.take(job):
                self._believe(early.record, early.born, self._host.clock(), None)
        return jobs

    def follow(self, job: JobId) -> None:
        """Somebody asks about the job here."""
        self.keeping.interest.follow(job, self._host.clock())
        self._tell_joined()

    def relay(self, jobs: Iterable[JobId]) -> None:
        self.keeping.interest.relay(jobs, self._host.clock())
        self._tell_joined()

    def named(self) -> list[JobId]:
        return self.keeping.interest.named(self._host.clock())

    def view(self, jobs: Iterable[JobId], by: PeerId) -> View:
        """The very same one while it stays the same: often several are asked at once."""
        named = tuple(jobs)
        relay = tuple(self.keeping.interest.to_relay(named, by, self._host.connections()))
        if self._version != self.log.version:
            self._version, self._views = self.log.version, {}
        if (view := self._views.get((named, relay))) is None:
            view = self._views[named, relay] = View(self.log.seen_of(named), named, relay, self.log.lives)
        return view

    def lacking(self, theirs: View, peer: PeerId) -> list[Aged]:
        """What a peer with this view lacks, ready to travel."""
        now = self._host.clock()
        lacking = self.keeping.lacking(theirs.logs, theirs.jobs, peer)
        return [Aged(held.record.sealed, max(0.0, now - held.born)) for held in lacking]

    def ends(self, peer: PeerId, theirs: View, mine: View) -> None:
        self.keeping.ends(peer, theirs.logs, mine.jobs, mine.lives)
        self._flush_in(WRITE_EVERY)

    def tidy(self) -> None:
        self._apply(self.keeping.expire(self._host.clock(), self._host.connections()))

    # ---- somebody else by our name -----------------------------------------------------------------------------------

    def _another_self(self, record: Record) -> None:
        """This store is older than what others know of us: it becomes a new one. Once; then it is somebody else."""
        if self._host.honest and not self._renewed and self._renewal is None:
            self._renewal = max(record.incarnation, self.own.incarnation) + 1
            self._flush_in(0.0)

    def _renew(self, at_least: int) -> None:
        self._renewal, self._renewed = None, True
        self.own = StoreId(self.own.origin, self._store.renew(at_least, self._host.wall()))
        self._to_state.extendleft(reversed(self.keeping.renew(self.own)))

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
        if self._renewal is not None:
            self._renew(self._renewal)
        facts, others, gone, vector = list(self._to_state), self._unwritten, self._gone, self.log.moved()
        if not (facts or others or gone or vector):
            return
        self._to_state.clear()
        self._unwritten, self._gone, self._writing = [], [], True
        self._host.point("about to write records")
        self._host.later(self._host.writing(), "written", lambda: self._written(facts, others, gone, vector))

    def _written(self, facts: list[Fact], others: list[Kept], gone: list[Slot], vector: dict[LogId, int]) -> None:
        logs = [job_of(*address_of(fact)) for fact in facts]
        seqs = self._store.take_seqs(Counter(logs))
        self._host.point("numbers taken, records not saved")
        me, incarnation = self.own
        records = []
        for job, fact in zip(logs, facts, strict=True):
            try:
                sign = self._keys.sign
                records.append(seal(fact, mesh=MESH, origin=me, incarnation=incarnation, seq=seqs[job], sign=sign))
            except ProtocolError as e:  # too long to be a record
                self.rejected[f"own record: {e}"] += 1
            vector[LogId(me, incarnation, job)] = seqs[job]
            seqs[job] += 1
        wall = self._host.wall()
        # What came and went again before it was written is not written; what came anew is not removed.
        others = [kept for kept in others if self._is_live(kept.record)]
        gone = [slot for slot in gone if self.log.at(slot) is None]
        self._store.save([*others, *(Kept(record, wall) for record in records)], gone, vector)
        self._host.point("records saved, not told")
        self._writing = False
        now = self._host.clock()
        for record in records:
            self._apply(self.keeping.offer(record, now, now))
            self._to_announce.append(record)
            if record.kind in URGENT:
                self._host.push_soon()
        if records:
            self._host.stated(records)
        self._announce()
        if self._to_state:
            self._flush_in(0.0)
        elif self._unwritten or self._gone:
            self._flush_in(WRITE_EVERY)

    def _is_live(self, record: Record) -> bool:
        return self.log.get(record.origin, record.kind, record.key) is not None

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
