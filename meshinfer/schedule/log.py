"""The set of records that a peer holds, and what it may say of it to others.

Theory: each record names its slot (origin, kind, key); in a slot the higher (incarnation, seq) wins, so merging is
commutative, associative and idempotent, and peers that have exchanged everything hold the same set (a state-based
CRDT, a map of last-writer-wins registers with one writer each).

The vector says, for each store, "I hold every live record up to n". Rule: n moves only
  - by one, when the very next record arrives,
  - to the sender's n, when a sync has delivered everything the sender holds up to there; never past the highest
    record of that store that was itself seen, so a neighbour's word alone neither invents stores nor closes a log.
A record heard ahead of its prefix is used at once and does not move n; were n moved past a gap, the gap would never be
filled. Superseded records never travel: whoever holds the slot's winner needs no loser. Records travel even ahead of
their prefix: the origin may be gone, and with it the last who could close the gap. While a gap is open they travel at
each sync anew; that is rare, and the price of agreeing.
A store without live records is left out of the vector: its peer has a newer one, and all it said is superseded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from meshinfer.model.ids import PeerId
from meshinfer.model.record import Record


class StoreId(NamedTuple):
    """One store of one peer: a peer that loses its store comes back with a higher incarnation."""

    origin: PeerId
    incarnation: int


class Slot(NamedTuple):
    origin: PeerId
    kind: str
    key: str


class Held(NamedTuple):
    record: Record
    born: float
    """When it was first heard of anywhere, on the local clock: `now` less the age it came with."""


class Fate(Enum):
    """What became of a record that was offered to the log."""

    NEW = "new"
    KNOWN = "known"
    SUPERSEDED = "superseded"
    LOST_STORE = "lost store"
    """From a store that its peer has since lost: what it said of work done is no longer true."""
    FORKED = "forked"
    """Not the record that is held under this number: two peers share one identity and one copied store."""


BOUND_TO_STORE = frozenset({"manifest", "claim", "result"})
"""Kinds that speak of what lies in the origin's store. A newer incarnation takes them back; jobs and cancels stay."""

MAX_AHEAD = 10_000
"""Seqs remembered ahead of one store's prefix. Beyond, they are forgotten and a sync fills them in."""


class RecordLog:
    """Every live record, by slot."""

    def __init__(self, own: StoreId) -> None:
        self.own = own
        self._live: dict[Slot, Held] = {}
        self._by_store: dict[StoreId, dict[int, Slot]] = defaultdict(dict)
        self._complete: dict[StoreId, int] = {}
        self._ahead: dict[StoreId, set[int]] = defaultdict(set)
        self._seen: dict[StoreId, int] = defaultdict(int)
        self._newest: dict[PeerId, int] = {own.origin: own.incarnation}

    def __len__(self) -> int:
        return len(self._live)

    def get(self, origin: PeerId, kind: str, key: str) -> Held | None:
        return self._live.get(Slot(origin, kind, key))

    def of_kind(self, kind: str) -> list[Held]:
        """Live records of a kind, in the order of their slots."""
        return [self._live[slot] for slot in sorted(s for s in self._live if s.kind == kind)]

    def vector(self) -> dict[StoreId, int]:
        return {store: n for store, n in self._complete.items() if n > 0 and self._by_store.get(store)}

    def offer(self, record: Record, born: float) -> tuple[Fate, tuple[Slot, ...]]:
        """Merge a record. Also returned: slots that went away because of it (their facts no longer hold)."""
        store = StoreId(record.origin, record.incarnation)
        self._seen[store] = max(self._seen[store], record.seq)
        newest = self._newest.get(record.origin, 0)
        if record.incarnation < newest and record.kind in BOUND_TO_STORE:
            return Fate.LOST_STORE, ()
        gone: tuple[Slot, ...] = ()
        if record.incarnation > newest:
            self._newest[record.origin] = record.incarnation
            gone = self._retract(record.origin, record.incarnation)
        if (taken := self._by_store[store].get(record.seq)) is not None:
            same = self._live[taken].record.sealed == record.sealed
            return (Fate.KNOWN if same else Fate.FORKED), gone
        self._advance(store, record.seq)
        slot = Slot(record.origin, record.kind, record.key)
        held = self._live.get(slot)
        if held is not None:
            if (record.incarnation, record.seq) < (held.record.incarnation, held.record.seq):
                return Fate.SUPERSEDED, gone
            self._by_store[StoreId(slot.origin, held.record.incarnation)].pop(held.record.seq, None)
        self._live[slot] = Held(record, born)
        self._by_store[store][record.seq] = slot
        return Fate.NEW, gone

    def restore(self, complete: Mapping[StoreId, int]) -> None:
        """Take up the vector that was saved with the records (offer those first)."""
        for store, n in complete.items():
            self._settle(store, n)

    def complete_to(self, vector: Iterable[tuple[PeerId, int, int]]) -> None:
        """A sync has delivered everything that the sender holds up to `vector`."""
        for origin, incarnation, n in vector:
            store = StoreId(origin, incarnation)
            if store != self.own:  # our own log is complete by definition: nobody else can tell us how far it goes
                self._settle(store, min(n, self._seen.get(store, 0)))

    def missing(self, theirs: Mapping[StoreId, int]) -> list[Held]:
        """Live records that a peer with this vector lacks, each store's in the order of its seqs."""
        out: list[Held] = []
        for store in sorted(self._complete):
            mine, have = self._complete[store], theirs.get(store, 0)
            if have >= mine and not self._ahead.get(store):
                continue
            slots = self._by_store[store]
            out.extend(self._live[slots[n]] for n in sorted(slots) if have < n)
        return out

    def drop(self, slot: Slot) -> None:
        """Forget a live record for good."""
        held = self._live.pop(slot, None)
        if held is not None:
            self._by_store[StoreId(slot.origin, held.record.incarnation)].pop(held.record.seq, None)

    def _advance(self, store: StoreId, seq: int) -> None:
        n = self._complete.setdefault(store, 0)
        if store == self.own:
            self._complete[store] = max(n, seq)
        elif seq == n + 1:
            self._settle(store, seq)
        elif seq > n and len(self._ahead[store]) < MAX_AHEAD:
            self._ahead[store].add(seq)

    def _settle(self, store: StoreId, n: int) -> None:
        n = max(n, self._complete.get(store, 0))
        if n == 0:
            return
        ahead = self._ahead.pop(store, set())
        while n + 1 in ahead:
            n += 1
        self._complete[store] = n
        if left := {seq for seq in ahead if seq > n}:
            self._ahead[store] = left

    def _retract(self, origin: PeerId, incarnation: int) -> tuple[Slot, ...]:
        gone = [
            slot
            for store, slots in self._by_store.items()
            if store.origin == origin and store.incarnation < incarnation
            for slot in slots.values()
            if slot.kind in BOUND_TO_STORE
        ]
        for slot in gone:
            self.drop(slot)
        return tuple(sorted(gone))
