"""The laws of the record log: a CRDT, and a vector that never claims what is not held."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.model.facts import BOUND_TO_JOB
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.logs import Extent, LogId
from meshinfer.model.record import Record
from meshinfer.schedule.log import MAX_LISTED, Fate, RecordLog, Slot, StoreId, job_of
from meshinfer.schedule.seen import MAX_RUNS, Seen

ME = StoreId(PeerId("me"), 1)
ALICE, BOB = PeerId("alice"), PeerId("bob")
LOG = LogId(ALICE, 1)
"""What all keep of Alice."""
KINDS = ["job", "manifest", "claim", "lease"]


def record(origin: PeerId = ALICE, incarnation: int = 1, seq: int = 1, kind: str = "job", key: str = "k") -> Record:
    """Signatures are checked before the log: any distinct bytes do."""
    return Record(kind, origin, incarnation, seq, key, None, f"{origin} {incarnation} {seq} {kind} {key}".encode())


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """What a few peers state in their lives: each store numbers the records of each of its logs from 1."""
    out = []
    for origin in draw(st.lists(st.sampled_from([ALICE, BOB, PeerId("carol")]), unique=True, min_size=1)):
        for incarnation in range(1, draw(st.integers(1, 3)) + 1):
            seqs: Counter[JobId | None] = Counter()
            for _ in range(draw(st.integers(1, 8))):
                kind, key = draw(st.sampled_from(KINDS)), draw(st.sampled_from(["x", "y", "x/1"]))
                seqs[job_of(kind, key)] += 1
                out.append(record(origin, incarnation, seqs[job_of(kind, key)], kind, key))
    return out


def logs_of(log: RecordLog) -> dict[LogId, Extent]:
    return log.seen_of(log.jobs)


def live(records: Sequence[Record]) -> dict[Slot, tuple[int, int]]:
    """The specification: the last word of each slot, without what lost stores said of themselves."""
    newest = {r.origin: max(o.incarnation for o in records if o.origin == r.origin) for r in records}
    out: dict[Slot, tuple[int, int]] = {}
    for r in records:
        if r.kind not in BOUND_TO_JOB or r.incarnation == newest[r.origin]:
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
    """One side of a sync, perhaps broken off; how many records travelled."""
    theirs, vector = logs_of(taker), logs_of(giver)
    sent = list(giver.missing(theirs, [None, *giver.jobs]))
    fates = [taker.offer(h.record, h.born)[0] for h in sent[:stop_after]]
    if stop_after is None:
        taker.ends(giver.own.origin, vector)
    return len(fates)


def check_vector(log: RecordLog, everything: Sequence[Record], final: dict[Slot, tuple[int, int]]) -> None:
    """Whatever is live in the end and was seen, by what it says, is held."""
    vector = logs_of(log)
    for r in everything:
        slot = Slot(r.origin, r.kind, r.key)
        extent = vector.get(LogId(r.origin, r.incarnation, slot.job), Extent())
        if final.get(slot) == (r.incarnation, r.seq) and r.seq in extent:
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
    again.restore({log_id: extent.n for log_id, extent in logs_of(log).items()})
    for r in saved:
        assert again.offer(r, 0.0, stored=True)[0] is Fate.NEW
    again.restored()
    assert held(again) == held(log)
    for log_id, extent in logs_of(log).items():
        assert logs_of(again)[log_id].n >= extent.n
    check_vector(again, history, live(history))


@given(histories(), st.randoms(use_true_random=False))
def test_a_vector_that_was_told_before_is_told_anew_when_it_has_changed(
    history: list[Record], luck: random.Random
) -> None:
    """Vectors are kept until something changes, whatever that is."""
    log = RecordLog(StoreId(BOB, 2))
    for said in luck.sample(history, len(history)):
        version, known = log.version, {job: dict(log.vector(job)) for job in (None, *log.jobs)}
        match luck.randrange(8):
            case 0:
                log.drop(Slot(said.origin, said.kind, said.key))
            case 1:
                log.ends(said.origin, {LogId(said.origin, said.incarnation, j): Extent(9) for j in (None, *log.jobs)})
            case 2:
                luck.choice((log.forget, log.welcome))(said.origin)
            case 3:
                log.tidy()
            case 4 if log.jobs:
                log.drop_job(luck.choice(log.jobs))
            case 5:
                log.own = StoreId(BOB, log.own.incarnation + luck.randrange(2))
            case _:
                log.offer(said, 0.0)
        told = {job: dict(log.vector(job)) for job in (None, *log.jobs)}
        log._vectors.clear()
        assert told == {job: dict(log.vector(job)) for job in (None, *log.jobs)}
        assert log.version != version or told == known


def test_a_record_ahead_of_its_prefix_is_used_and_does_not_move_the_vector() -> None:
    log = RecordLog(ME)
    assert log.offer(record(seq=3), 0.0) == (Fate.NEW, ())
    assert log.get(ALICE, "job", "k") is not None
    assert log.vector() == {LOG: Extent(0, (3, 3))}
    log.offer(record(seq=1, key="a"), 0.0)
    assert log.vector() == {LOG: Extent(1, (3, 3))}
    log.offer(record(seq=2, key="b"), 0.0)
    assert log.vector() == {LOG: Extent(3)}


def test_superseded_records_never_travel() -> None:
    log = RecordLog(ME)
    for seq in range(1, 100):
        log.offer(record(seq=seq, kind="claim"), 0.0)
    assert [h.record.seq for h in log.missing({}, ["k"])] == [99]  # type: ignore[list-item]  # a name for short
    assert log.offer(record(seq=50, kind="claim"), 0.0) == (Fate.SUPERSEDED, ())


def test_each_job_has_its_log_and_only_those_asked_for_travel() -> None:
    log, other = RecordLog(ME), RecordLog(StoreId(BOB, 1))
    for seq, (kind, key) in enumerate([("claim", "x"), ("claim", "y"), ("result", "x/1"), ("peer", "")], 1):
        log.offer(record(seq=seq, kind=kind, key=key), 0.0)
    assert [(h.record.kind, h.record.key) for h in log.missing({}, [None, JobId("x")])] == [
        ("peer", ""), ("claim", "x"), ("result", "x/1")
    ]  # fmt: skip
    assert log.speakers(JobId("y")) == {ALICE}
    assert log.drop_job(JobId("x")) == [Slot(ALICE, "claim", "x"), Slot(ALICE, "result", "x/1")]
    assert sync(log, other) == 2
    assert log.offer(record(seq=1, kind="claim", key="x"), 0.0)[0] is Fate.NEW, "nothing is remembered of it"


def test_records_travel_though_their_origin_is_gone_and_their_prefix_too() -> None:
    """1. A job's gossip reached one peer, which lacks an earlier record of the publisher. The publisher dies for good.
    2. The job goes on from peer to peer, and so does the publisher's result: else peers would disagree for good. Nobody
       claims to know what preceded them, and yet they travel once.
    """
    one, other = RecordLog(ME), RecordLog(StoreId(BOB, 1))
    one.offer(record(seq=7), 0.0)
    one.offer(record(seq=8, kind="result"), 0.0)
    assert sync(one, other) == 2
    assert other.get(ALICE, "job", "k") is not None
    assert other.get(ALICE, "result", "k") is not None
    assert other.vector() == {LOG: Extent(0, (7, 7))}
    assert sync(one, other) == sync(other, one) == 0


def test_a_neighbours_word_closes_no_log_of_another() -> None:
    """What it says of third ones moves nothing. Its own log it may close, up to what it has signed."""
    log = RecordLog(ME)
    log.offer(record(seq=2), 0.0)
    lies = {LogId(origin, n): Extent(2**53) for origin in (ALICE, BOB) for n in (1, 5)}
    log.ends(BOB, lies)
    assert log.vector() == {LOG: Extent(0, (2, 2))}
    log.ends(ALICE, lies)
    assert log.vector() == {LOG: Extent(2)}


def test_what_was_seen_is_never_news_again() -> None:
    """A record that was let go of, and is told anew by somebody who makes it young."""
    log = RecordLog(ME)
    log.offer(record(seq=4), 0.0)
    log.drop(Slot(ALICE, "job", "k"))
    assert log.offer(record(seq=4), 99.0) == (Fate.SUPERSEDED, ())


def test_a_lost_store_takes_back_what_lay_in_it_and_nothing_else() -> None:
    log = RecordLog(ME)
    for seq, kind in enumerate(["job", "cancel", "peer", "manifest", "claim", "result"], 1):
        log.offer(record(seq=seq, kind=kind), 0.0)
    log.offer(record(seq=1, kind="claim", key="another job"), 0.0)
    fate, gone = log.offer(record(incarnation=2, kind="peer"), 0.0)
    assert fate is Fate.NEW
    assert {slot.kind for slot in gone} == BOUND_TO_JOB == {"manifest", "claim", "result"}
    assert {slot.job for slot in gone} == {"k", "another job"}
    assert len(log) == 3
    assert log.offer(record(seq=9, kind="manifest"), 0.0) == (Fate.LOST_STORE, ())
    assert log.offer(record(seq=10, key="another"), 0.0)[0] is Fate.NEW  # a job published before stays one


def test_a_new_store_is_learnt_of_from_any_log() -> None:
    log = RecordLog(ME)
    log.offer(record(kind="claim", key="x"), 0.0)
    _, gone = log.offer(record(incarnation=2, kind="claim", key="y"), 0.0)
    assert gone == (Slot(ALICE, "claim", "x"),)


def test_what_our_own_lost_store_said_is_not_believed() -> None:
    """Even when neighbours tell it before we have said a word with the new store."""
    log = RecordLog(StoreId(ALICE, 2))
    assert log.offer(record(incarnation=1, kind="result"), 0.0) == (Fate.LOST_STORE, ())


def test_our_own_log_is_complete_by_definition() -> None:
    """Numbers may be skipped (one that was drawn and not used), and nobody else can tell us how far we are."""
    log = RecordLog(StoreId(ALICE, 1))
    log.offer(record(seq=1, key="a"), 0.0)
    log.offer(record(seq=5, key="b"), 0.0)
    assert log.vector() == {LOG: Extent(5)}
    log.ends(ALICE, {LOG: Extent(9)})
    assert log.vector() == {LOG: Extent(5)}
    other = RecordLog(ME)
    sync(log, other)
    assert other.vector() == {LOG: Extent(5)}


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


def test_of_one_peer_only_the_newest_jobs_are_live() -> None:
    """Whatever the order in which they come."""
    jobs = [record(seq=seq, key=f"{seq}") for seq in range(1, MAX_LISTED + 51)]
    logs = [RecordLog(ME) for _ in range(3)]
    random.Random(1).shuffle(jobs)
    for log, order in zip(logs, (jobs, sorted(jobs, key=lambda r: r.seq), jobs[::-1]), strict=True):
        gone = [slot for r in order for slot in log.offer(r, 0.0)[1]]
        assert len(log) == MAX_LISTED
        assert held(log) == held(logs[0])
        assert all(log.get(*slot) is None for slot in gone)
        assert log.get(ALICE, "job", "50") is None
        assert log.get(ALICE, "job", "51") is not None
        assert log.vector() == {LOG: Extent(MAX_LISTED + 50)}


def test_a_forgotten_peer_comes_back_only_with_something_newer() -> None:
    log = RecordLog(ME)
    for seq, kind in enumerate(["peer", "job", "claim"], 1):
        log.offer(record(seq=seq, kind=kind), 0.0)
    assert len(log.forget(ALICE)) == 3
    assert log.offer(record(seq=2), 0.0) == (Fate.FORGOTTEN, ())
    assert log.offer(record(seq=9, kind="claim"), 0.0) == (Fate.FORGOTTEN, ())
    assert log.vector() == {LOG: Extent(2)}, "nobody sends it again"
    again = RecordLog(ME)  # from the store
    again.restore(log.moved())
    again.restored()
    for one in (log, again):
        assert one.offer(record(seq=1), 0.0) == (Fate.FORGOTTEN, ())
        assert one.offer(record(seq=3, kind="peer"), 0.0)[0] is Fate.NEW
        assert one.vector() == {LOG: Extent(0, (3, 3))}, "and what it said before comes with the next sync"


def test_the_memory_for_what_is_ahead_is_bounded() -> None:
    log = RecordLog(ME)
    for seq in range(2, 3 * MAX_RUNS, 2):
        log.offer(record(seq=seq, kind="peer"), 0.0)
    assert len(log.vector()[LOG].runs) == 2 * MAX_RUNS


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(0, 30))
def test_seen_is_a_set(numbers: list[int], settled: int) -> None:
    seen, model = Seen(), set[int]()
    for i, seq in enumerate(numbers):
        seen.add(seq)
        model.add(seq)
        if i == len(numbers) // 2:
            seen.settle(settled)
            model.update(range(1, settled + 1))
        extent = seen.extent()
        assert all((n in seen) == (n in model) == (n in extent) for n in range(1, 63))
        flat = (extent.n, *extent.runs)
        assert all(b >= a + (i % 2 == 0) * 2 for i, (a, b) in enumerate(pairwise(flat))), "no two runs touch"
        assert seen.highest == max(model, default=0)
