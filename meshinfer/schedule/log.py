"""The set of records that a peer holds, and what it may say of it to others.

Theory: each record names its slot (origin, kind, key); in a slot the higher (incarnation, seq) wins, so merging is
commutative, associative and idempotent, and peers that have exchanged everything hold the same set (a state-based
CRDT, a map of last-writer-wins registers with one writer each).

A peer numbers its records in several logs: one for what all keep, and one for each job that it takes part in, so that
whoever has nothing to do with a job lacks nothing. For each log a peer can say exactly which numbers it has seen
(`seen.py`); what it holds and another has not seen is what the other lacks. Two consequences:
  - Nobody's word about a third one's log is believed, so none can close a gap that is not filled. Only the origin may
    say that there is nothing more up to a number of its own: it says so of itself.
  - Superseded records never travel, and a number once seen is never news again: an old record cannot be replayed.
A log without live records of an older store is left out: its peer has a newer one, and all it said is superseded.

Of one origin only the `MAX_LISTED` newest jobs are live, the newest cancels, and of all else that everybody keeps. That
is a function of the set alone, so peers agree on it without a word, and nobody can fill the others' disks.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping

from meshinfer.model.facts import BOUND_TO_JOB
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.logs import Extent, LogId
from meshinfer.model.record import Record
from meshinfer.schedule.slots import Fate, Held, Log, Slot, StoreId, job_of

__all__ = ["MAX_FLOORS", "MAX_LISTED", "Fate", "Held", "RecordLog", "Slot", "StoreId", "job_of"]

LISTED = ("job", "cancel", "")
"""Kinds that are listed by themselves; all others that everybody keeps are in one list."""
MAX_LISTED = 1000
"""Live records in each list, of one origin."""

NOTHING = Extent()
MAX_FLOORS = 10_000
"""Forgotten peers that are remembered as such."""


def _list_of(kind: str) -> str:
    return kind if kind in LISTED else ""


class RecordLog:
    """Every live record, by slot."""

    def __init__(self, own: StoreId) -> None:
        self._own = own
        self._live: dict[Slot, Held] = {}
        self._logs: dict[JobId | None, dict[StoreId, Log]] = {None: {}}
        self._newest: dict[PeerId, int] = {own.origin: own.incarnation}
        self._listed: dict[tuple[PeerId, str], list[tuple[int, int, str, str]]] = {}
        self._publishers: dict[JobId, set[PeerId]] = {}
        self._floors: dict[PeerId, dict[int, int]] = {}
        """Of forgotten peers, how far each store of theirs was seen."""
        self._moved: set[LogId] = set()
        self.lives = 0
        """How often a log was let go of with all that had been seen of it: it may begin anew, empty."""
        self._vectors: dict[JobId | None, dict[LogId, Extent]] = {}
        """What `vector` last said, of logs in which nothing has changed since."""
        self.version = 0
        """Another one whenever what `vector` says has changed."""

    @property
    def own(self) -> StoreId:
        """Our own store."""
        return self._own

    @own.setter
    def own(self, own: StoreId) -> None:
        self._own = own
        self._changed()

    def __len__(self) -> int:
        return len(self._live)

    @property
    def origins(self) -> set[PeerId]:
        """Peers of which something is held."""
        return {store.origin for stores in self._logs.values() for store, log in stores.items() if log.slots}

    @property
    def jobs(self) -> list[JobId]:
        """Jobs of which there is a log."""
        return [job for job in self._logs if job is not None]

    def get(self, origin: PeerId, kind: str, key: str) -> Held | None:
        return self._live.get(Slot(origin, kind, key))

    def at(self, slot: Slot) -> Held | None:
        return self._live.get(slot)

    def under_number_of(self, record: Record) -> Record | None:
        """The live record that bears the same number."""
        log = self._logs.get(job_of(record.kind, record.key), {}).get(StoreId(record.origin, record.incarnation))
        slot = log.slots.get(record.seq) if log is not None else None
        return self._live[slot].record if slot is not None else None

    def last_of(self, origin: PeerId) -> Held | None:
        """The live record of a peer with the highest number in the log that all keep."""
        log = self._logs[None].get(StoreId(origin, self.newest(origin)))
        return self._live[log.slots[max(log.slots)]] if log is not None and log.slots else None

    def newest(self, origin: PeerId) -> int:
        """The incarnation of a peer's newest store; 0 for one that is not known."""
        return self._newest.get(origin, 0)

    def of_kind(self, kind: str) -> list[Held]:
        """Live records of a kind, in the order of their slots."""
        return [self._live[slot] for slot in sorted(s for s in self._live if s.kind == kind)]

    def __iter__(self) -> Iterator[Held]:
        """All live records, in no order that means anything."""
        return iter(self._live.values())

    def of_job(self, job: JobId | None) -> list[Held]:
        """Live records of one log, in the order of stores and numbers."""
        stores = self._logs.get(job, {})
        return [
            self._live[slots[n]] for store in sorted(stores) for slots in [stores[store].slots] for n in sorted(slots)
        ]

    def speakers(self, job: JobId) -> set[PeerId]:
        """Whose records a job's log holds."""
        return {store.origin for store, log in self._logs.get(job, {}).items() if log.slots}

    def has_job(self, job: JobId) -> bool:
        """Whether a record that publishes it is held."""
        return job in self._publishers

    def oldest(self, origin: PeerId, kind: str) -> Slot | None:
        """The job or cancel that makes room for the next one of this peer; None while there is room."""
        listed = self._listed.get((origin, kind), [])
        return Slot(origin, *listed[0][2:]) if len(listed) >= MAX_LISTED else None

    def publishers(self, job: JobId) -> set[PeerId]:
        return self._publishers.get(job, set())

    def size(self, record: Record) -> int:
        """Live records in the log that this one belongs to."""
        stores = self._logs.get(job_of(record.kind, record.key), {})
        log = stores.get(StoreId(record.origin, record.incarnation))
        return len(log.slots) if log is not None else 0

    def vector(self, job: JobId | None = None) -> Mapping[LogId, Extent]:
        """What was seen of a job's logs, or of those that all keep."""
        if (known := self._vectors.get(job)) is not None:
            return known
        out = self._vectors[job] = {}
        for store, log in self._logs.get(job, {}).items():
            if log.slots or store.incarnation == self._newest.get(store.origin):
                out[log.id] = Extent(log.seen.highest) if store == self._own else log.seen.extent()
        if job is None:
            out.update({LogId(o, inc): Extent(n) for o, floor in self._floors.items() for inc, n in floor.items()})
        return out

    def seen_of(self, jobs: Iterable[JobId]) -> dict[LogId, Extent]:
        """What was seen of what all keep, and of these jobs' logs."""
        out = dict(self.vector())
        for job in jobs:
            out.update(self.vector(job))
        return out

    # ---- what comes in -----------------------------------------------------------------------------------------------

    def offer(self, record: Record, born: float, *, stored: bool = False) -> tuple[Fate, tuple[Slot, ...]]:
        """Merge a record. Also returned: slots that went away because of it (their facts no longer hold).

        `stored`: it is our own store that offers it, which holds live records only.
        """
        slot, job = Slot(record.origin, record.kind, record.key), job_of(record.kind, record.key)
        newest = self._newest.get(record.origin, 0)
        if self._is_forgotten(record, job):
            return Fate.FORGOTTEN, ()
        if record.incarnation < newest and record.kind in BOUND_TO_JOB:
            return Fate.LOST_STORE, ()
        gone: tuple[Slot, ...] = ()
        if record.incarnation > newest:
            self._newest[record.origin] = record.incarnation
            gone = self._retract(record.origin, record.incarnation)
        log = self._log(record.origin, record.incarnation, job)
        if (taken := log.slots.get(record.seq)) is not None:
            same = self._live[taken].record.sealed == record.sealed
            return (Fate.KNOWN if same else Fate.FORKED), gone
        if (
            record.seq in log.seen and not stored and (record.origin, record.incarnation) != self.own
        ):  # ours may have been lost in a power cut
            return Fate.SUPERSEDED, gone
        self._see(log, record.seq)
        held = self._live.get(slot)
        if held is not None:
            if (record.incarnation, record.seq) < (held.record.incarnation, held.record.seq):
                return Fate.SUPERSEDED, gone
            self.drop(slot)
        self._live[slot] = Held(record, born)
        log.slots[record.seq] = slot
        log.last = max(log.last, record.seq)
        if record.kind == "job":
            self._publishers.setdefault(JobId(record.key), set()).add(record.origin)
        if job is None:
            listed = self._listed.setdefault((record.origin, _list_of(record.kind)), [])
            insort(listed, (record.incarnation, record.seq, record.kind, record.key))
            if len(listed) > MAX_LISTED:
                oldest = Slot(record.origin, *listed[0][2:])
                self.drop(oldest)
                return (Fate.SUPERSEDED if oldest == slot else Fate.NEW), (*gone, oldest)
        return Fate.NEW, gone

    def restore(self, vector: Mapping[LogId, int]) -> None:
        """Take up the vector that was saved with the records, before those are offered."""
        self._changed()
        for log_id, n in vector.items():
            self._log(*log_id).seen.settle(n)

    def restored(self) -> None:
        """All that was stored has been offered. Peers of which only numbers were stored are forgotten ones."""
        self._changed()
        for store, log in self._logs[None].items():
            if store.origin not in self._newest:
                self._floors.setdefault(store.origin, {})[store.incarnation] = log.seen.n
        for origin in self._floors:
            self._remove(origin)

    def rejuvenate(self, slot: Slot, born: float) -> None:
        """It is not as old as whoever brought it first had said."""
        self._live[slot] = Held(self._live[slot].record, born)

    def ends(self, origin: PeerId, vector: Mapping[LogId, Extent]) -> None:
        """`origin` itself, in a sync with it, has given all that it has in these logs of its own, up to there."""
        if origin == self._own.origin:
            return
        for log_id, extent in vector.items():
            if log_id.origin != origin:
                continue
            log = self._logs.get(log_id.job, {}).get(StoreId(origin, log_id.incarnation))
            # Not above what was seen: `seen.highest` then still tells what its origin has said with a signature.
            if log is not None and log.seen.n < log.seen.highest:
                log.seen.settle(min(extent.n, log.seen.highest))
                self._moved.add(log_id)
                self._changed(log_id.job)

    def _changed(self, *jobs: JobId | None) -> None:
        """What `vector` said of these jobs' logs is not true any more; of none: of all."""
        self.version += 1
        if not jobs:
            self._vectors.clear()
        for job in jobs:
            self._vectors.pop(job, None)

    def _log(self, origin: PeerId, incarnation: int, job: JobId | None) -> Log:
        stores, store = self._logs.setdefault(job, {}), StoreId(origin, incarnation)
        if (log := stores.get(store)) is None:
            log = stores[store] = Log(LogId(origin, incarnation, job))
        return log

    def _see(self, log: Log, seq: int) -> None:
        n = log.seen.n
        log.seen.add(seq)
        if log.seen.n != n or log.id.origin == self._own.origin:
            self._moved.add(log.id)
        self._changed(log.id.job)

    def _retract(self, origin: PeerId, incarnation: int) -> tuple[Slot, ...]:
        self._changed()
        gone: list[Slot] = []
        for job in self.jobs:
            stores = self._logs[job]
            for store in [s for s in stores if s.origin == origin and s.incarnation < incarnation]:
                gone += stores[store].slots.values()
                self._moved.add(LogId(*store, job))
                del stores[store]
        for slot in gone:
            del self._live[slot]
        return tuple(sorted(gone))

    # ---- what goes out -----------------------------------------------------------------------------------------------

    def missing(self, theirs: Mapping[LogId, Extent], jobs: Iterable[JobId | None] = (None,)) -> Iterator[Held]:
        """Live records of these logs that a peer lacks which has seen so much, each log's in the order of its numbers.

        Merge nothing meanwhile.
        """
        for job in jobs:
            lacking: list[tuple[LogId, Extent, dict[int, Slot]]] = []
            for log in self._logs.get(job, {}).values():
                have = theirs.get(log.id, NOTHING)
                if log.last > have.n and log.slots:
                    lacking.append((log.id, have, log.slots))
            for _, have, slots in sorted(lacking):
                for seq in sorted(slots):
                    if seq not in have:
                        yield self._live[slots[seq]]

    def moved(self) -> dict[LogId, int]:
        """Logs whose n has changed since this was last asked; 0: the log is no more."""
        out = {}
        for log_id in self._moved:
            log = self._logs.get(log_id.job, {}).get(StoreId(log_id.origin, log_id.incarnation))
            if log is not None:
                out[log_id] = log.seen.highest if log_id.origin == self._own.origin else log.seen.n
            else:
                floor = self._floors.get(log_id.origin, {}) if log_id.job is None else {}
                out[log_id] = floor.get(log_id.incarnation, 0)
        self._moved.clear()
        return out

    def not_written(self, logs: Iterable[LogId]) -> None:
        """What `moved` told of could not be saved."""
        self._moved.update(logs)

    # ---- what is let go ----------------------------------------------------------------------------------------------

    def drop(self, slot: Slot) -> None:
        """Let go of a live record. Its number has been seen, so it does not come back."""
        held = self._live.pop(slot, None)
        if held is None:
            return
        r, job = held.record, slot.job
        self._logs[job][StoreId(r.origin, r.incarnation)].slots.pop(r.seq, None)
        self._changed(job)
        if slot.kind == "job":
            self._publishers[JobId(slot.key)].discard(slot.origin)
            if not self._publishers[JobId(slot.key)]:
                del self._publishers[JobId(slot.key)]
        if job is None:
            listed = self._listed[slot.origin, _list_of(slot.kind)]
            del listed[bisect_left(listed, (r.incarnation, r.seq, r.kind, r.key))]

    def drop_job(self, job: JobId) -> list[Slot]:
        """Let go of a job's logs, and of what was seen of them. The slots that went."""
        gone: list[Slot] = []
        self.lives += job in self._logs
        self._changed(job)
        for store, log in self._logs.pop(job, {}).items():
            gone += log.slots.values()
            self._moved.add(LogId(*store, job))
        for slot in gone:
            del self._live[slot]
        return sorted(gone)

    def forget(self, origin: PeerId) -> list[Slot]:
        """Let go of all that a peer said. Only what is newer than that brings it back."""
        if origin == self._own.origin:
            return []
        floor = {s.incarnation: log.seen.highest for s, log in self._logs[None].items() if s.origin == origin}
        gone = [slot for slot in self._live if slot.origin == origin]
        for slot in gone:
            self.drop(slot)
        if floor:
            self._floors[origin] = floor
            while len(self._floors) > MAX_FLOORS:
                oldest = next(iter(self._floors))
                self._moved.update(LogId(oldest, incarnation) for incarnation in self._floors.pop(oldest))
        self._remove(origin)
        return sorted(gone)

    def welcome(self, origin: PeerId) -> None:
        """A forgotten peer is here in person: whatever it says counts again."""
        self._changed()
        self._moved.update(LogId(origin, incarnation) for incarnation in self._floors.pop(origin, {}))

    def tidy(self) -> None:
        """Let go of the numbers of older stores that hold nothing any more."""
        self._changed()
        for store in [
            s for s, log in self._logs[None].items() if not log.slots and s.incarnation < self.newest(s.origin)
        ]:
            del self._logs[None][store]
            self._moved.add(LogId(*store))

    def _remove(self, origin: PeerId) -> None:
        self.lives += 1
        self._changed()
        for job, stores in self._logs.items():
            for store in [s for s in stores if s.origin == origin]:
                del stores[store]
                self._moved.add(LogId(*store, job))
        self._newest.pop(origin, None)
        for kind in LISTED:
            self._listed.pop((origin, kind), None)

    def _is_forgotten(self, record: Record, job: JobId | None) -> bool:
        floor = self._floors.get(record.origin)
        if floor is None:
            return False
        newest = max(floor)
        if job is not None or (record.incarnation, record.seq) <= (newest, floor[newest]):
            return True
        self.welcome(record.origin)
        return False
