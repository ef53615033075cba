"""The laws of the record log: a CRDT, and a vector that never claims what is not held."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.model.ids import PeerId
from meshinfer.model.record import Record
from meshinfer.schedule.log import BOUND_TO_STORE, MAX_AHEAD, Fate, RecordLog, Slot, StoreId

ME = StoreId(PeerId("me"), 1)
ALICE, BOB = PeerId("alice"), PeerId("bob")
KINDS = ["job", "manifest", "claim", "lease"]


def record(origin: PeerId = ALICE, incarnation: int = 1, seq: int = 1, kind: str = "job", key: str = "k") -> Record:
    """Signatures are checked before the log: any distinct bytes do."""
    return Record(kind, origin, incarnation, seq, key, None, f"{origin} {incarnation} {seq} {kind} {key}".encode())


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """What a few peers state in their lives: each store numbers its records from 1."""
    out = []
    for origin in draw(st.lists(st.sampled_from([ALICE, BOB, PeerId("carol")]), unique=True, min_size=1)):
        for incarnation in range(1, draw(st.integers(1, 3)) + 1):
            for seq in range(1, draw(st.integers(1, 8)) + 1):
                kind, key = draw(st.sampled_from(KINDS)), draw(st.sampled_from("xyz"))
                out.append(record(origin, incarnation, seq, kind, key))
    return out


def live(records: Sequence[Record]) -> dict[Slot, tuple[int, int]]:
    """The specification: the last word of each slot, without what lost stores said of themselves."""
    newest = {r.origin: max(o.incarnation for o in records if o.origin == r.origin) for r in records}
    out: dict[Slot, tuple[int, int]] = {}
    for r in records:
        if r.kind not in BOUND_TO_STORE or r.incarnation == newest[r.origin]:
            slot = Slot(r.origin, r.kind, r.key)
            out[slot] = max(out.get(slot, (0, 0)), (r.incarnation, r.seq))
    return out


def held(log: RecordLog) -> dict[Slot, tuple[int, int]]:
    return {
        Slot(h.record.origin, kind, h.record.key): (h.record.incarnation, h.record.seq)
        for kind in KINDS
        for h in log.of_kind(kind)
    }


def sync(giver: RecordLog, taker: RecordLog, *, stop_after: int | None = None) -> int:
    """One side of a sync, perhaps broken off; how many records were news."""
    theirs, vector = taker.vector(), giver.vector()
    sent = giver.missing(theirs)
    news = sum(taker.offer(h.record, h.born)[0] is Fate.NEW for h in sent[:stop_after])
    if stop_after is None:
        taker.complete_to((s.origin, s.incarnation, n) for s, n in vector.items())
    return news


def check_vector(log: RecordLog, everything: Sequence[Record], final: dict[Slot, tuple[int, int]]) -> None:
    """Whatever is live in the end and lies below a vector's n is held."""
    vector = log.vector()
    for r in everything:
        slot = Slot(r.origin, r.kind, r.key)
        if final.get(slot) == (r.incarnation, r.seq) and r.seq <= vector.get(StoreId(r.origin, r.incarnation), 0):
            assert log.get(*slot) is not None, f"{r} is claimed and not held"
            assert held(log)[slot] == final[slot]


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_give_the_same_set(history: list[Record], rng: random.Random) -> None:
    log = RecordLog(ME)
    told = history + rng.choices(history, k=5)
    rng.shuffle(told)
    for r in told:
        log.offer(r, 0.0)
    assert held(log) == live(history)
    assert len(log) == len(live(history))
    check_vector(log, history, live(history))


@given(histories(), st.randoms(use_true_random=False))
def test_peers_that_exchange_everything_agree(history: list[Record], rng: random.Random) -> None:
    """1. Each record reaches some peers by gossip, in any order, some of it twice, some of it nowhere but its origin.
    2. Peers sync in pairs at any time, half of the syncs break off somewhere.
    3. At no time does a vector claim what is not held.
    4. After full rounds all hold the same, and a further sync brings nothing.
    """
    final = live(history)
    origins = sorted({r.origin for r in history})
    newest = {o: max(r.incarnation for r in history if r.origin == o) for o in origins}
    logs = {name: RecordLog(StoreId(name, newest.get(name, 1))) for name in [*origins, PeerId("dave"), PeerId("erin")]}
    for r in history:
        logs[r.origin].offer(r, 0.0)
    names = sorted(logs)
    for _ in range(12):
        if rng.random() < 0.5:
            logs[rng.choice(names)].offer(rng.choice(history), 0.0)
        else:
            a, b = rng.sample(names, 2)
            sync(logs[a], logs[b], stop_after=rng.choice([None, None, 0, 1, 3]))
        for log in logs.values():
            check_vector(log, history, final)
    for _ in range(3):
        for a in names:
            for b in names:
                if a != b:
                    sync(logs[a], logs[b])
    for log in logs.values():
        assert held(log) == final
        check_vector(log, history, final)
    assert [sync(logs[a], logs[b]) for a in names for b in names if a != b] == [0] * (len(names) * (len(names) - 1))


@given(histories(), st.randoms(use_true_random=False))
def test_a_restart_forgets_nothing(history: list[Record], rng: random.Random) -> None:
    """What was saved (live records and vector) makes the same log again, in any order."""
    log, again = RecordLog(ME), RecordLog(ME)
    rng.shuffle(history)
    for r in history:
        log.offer(r, 0.0)
    saved = [h.record for kind in KINDS for h in log.of_kind(kind)]
    rng.shuffle(saved)
    for r in saved:
        again.offer(r, 0.0)
    again.restore(log.vector())
    assert held(again) == held(log)
    assert all(again.vector().get(store, 0) >= n for store, n in log.vector().items())
    check_vector(again, history, live(history))


def test_a_record_ahead_of_its_prefix_is_used_and_does_not_move_the_vector() -> None:
    log = RecordLog(ME)
    assert log.offer(record(seq=3), 0.0) == (Fate.NEW, ())
    assert log.get(ALICE, "job", "k") is not None
    assert log.vector() == {}
    log.offer(record(seq=1, key="a"), 0.0)
    assert log.vector() == {(ALICE, 1): 1}
    log.offer(record(seq=2, key="b"), 0.0)
    assert log.vector() == {(ALICE, 1): 3}


def test_superseded_records_never_travel() -> None:
    log = RecordLog(ME)
    for seq in range(1, 100):
        log.offer(record(seq=seq, kind="claim"), 0.0)
    assert [h.record.seq for h in log.missing({})] == [99]
    assert log.offer(record(seq=50, kind="claim"), 0.0) == (Fate.SUPERSEDED, ())


def test_records_travel_though_their_origin_is_gone_and_their_prefix_too() -> None:
    """1. A job's gossip reached one peer, which lacks an earlier claim of the publisher. The publisher dies for good.
    2. The job goes on from peer to peer, and so does the publisher's result: else peers would disagree for good. Nobody
       claims to know what preceded them.
    """
    one, other = RecordLog(ME), RecordLog(StoreId(BOB, 1))
    one.offer(record(seq=7), 0.0)
    one.offer(record(seq=8, kind="result"), 0.0)
    assert sync(one, other) == 2
    assert other.get(ALICE, "job", "k") is not None
    assert other.get(ALICE, "result", "k") is not None
    assert other.vector() == {}


def test_a_neighbours_word_alone_closes_no_log() -> None:
    """A vector says how far its sender is: it makes up neither stores nor records that nobody has seen."""
    log = RecordLog(ME)
    log.offer(record(seq=2), 0.0)
    log.complete_to([(ALICE, 1, 2**53), (BOB, 5, 2**53)])
    assert log.vector() == {(ALICE, 1): 2}


def test_a_lost_store_takes_back_what_lay_in_it_and_nothing_else() -> None:
    log = RecordLog(ME)
    for seq, kind in enumerate(["job", "cancel", "peer", "manifest", "claim", "result"], 1):
        log.offer(record(seq=seq, kind=kind), 0.0)
    fate, gone = log.offer(record(incarnation=2, kind="peer"), 0.0)
    assert fate is Fate.NEW
    assert {slot.kind for slot in gone} == BOUND_TO_STORE == {"manifest", "claim", "result"}
    assert len(log) == 3
    assert log.offer(record(seq=9, kind="manifest"), 0.0) == (Fate.LOST_STORE, ())
    assert log.offer(record(seq=10, key="another"), 0.0)[0] is Fate.NEW  # a job published before stays one


def test_what_our_own_lost_store_said_is_not_believed() -> None:
    """Even when neighbours tell it before we have said a word with the new store."""
    log = RecordLog(StoreId(ALICE, 2))
    assert log.offer(record(incarnation=1, kind="result"), 0.0) == (Fate.LOST_STORE, ())


def test_our_own_log_is_complete_by_definition() -> None:
    """Numbers may be skipped (one that was drawn and not used), and nobody else can tell us how far we are."""
    log = RecordLog(StoreId(ALICE, 1))
    log.offer(record(seq=1, key="a"), 0.0)
    log.offer(record(seq=5, key="b"), 0.0)
    assert log.vector() == {(ALICE, 1): 5}
    log.complete_to([(ALICE, 1, 9)])
    assert log.vector() == {(ALICE, 1): 5}
    other = RecordLog(ME)
    sync(log, other)
    assert other.vector() == {(ALICE, 1): 5}


@pytest.mark.parametrize("key", ["k", "other"])
def test_two_records_of_one_number_are_noticed(key: str) -> None:
    """A copied home folder: two peers share an identity and a store. The first word stays, the second is reported."""
    log = RecordLog(ME)
    first = record(seq=4)
    log.offer(first, 0.0)
    twin: Any = Record("job", ALICE, 1, 4, key, None, b"other bytes")
    assert log.offer(twin, 0.0) == (Fate.FORKED, ())
    assert log.offer(first, 0.0) == (Fate.KNOWN, ())
    assert len(log) == 1


def test_a_dropped_record_is_forgotten() -> None:
    log = RecordLog(ME)
    log.offer(record(), 0.0)
    log.drop(Slot(ALICE, "job", "k"))
    log.drop(Slot(ALICE, "job", "never there"))
    assert len(log) == 0
    assert log.missing({}) == []


def test_the_memory_for_records_ahead_is_bounded() -> None:
    log = RecordLog(ME)
    for seq in range(2, MAX_AHEAD + 100):
        log.offer(record(seq=seq, kind="claim"), 0.0)
    log.offer(record(seq=1, kind="peer"), 0.0)
    assert log.vector() == {(ALICE, 1): MAX_AHEAD + 1}
    log.complete_to([(ALICE, 1, 2**53)])
    assert log.vector() == {(ALICE, 1): MAX_AHEAD + 99}
