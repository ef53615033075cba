"""What is kept, for how long, and what no neighbour can make us keep or drop."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from meshinfer.model.facts import Cancel, Claim, Fact, Holding, Manifest, Outcome, Outcomes, PeerFact
from meshinfer.model.ids import JobId, PeerId, hash_of
from meshinfer.model.job import MAX_EXPIRES, JobOrder
from meshinfer.model.logs import Extent, LogId
from meshinfer.model.record import Record
from meshinfer.schedule import interest, overheard
from meshinfer.schedule import keeping as k
from meshinfer.schedule.keeping import Keeping, Refusal, Taken
from meshinfer.schedule.log import MAX_LISTED, Fate, RecordLog, StoreId, job_of
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import Heard, JobForgotten, PeerForgotten, StoreLost
from meshinfer.wire.records import address_of
from tests.unit.scheduling import order

ME, ALICE, BOB, LIAR = PeerId("me"), PeerId("alice"), PeerId("bob"), PeerId("liar")
WALL = 1_800_000_000.0
NOBODY: frozenset[PeerId] = frozenset()
RAW = bytes(16)
UNIT = Holding(bytes(12))


class Peer:
    """A keeping with the schedule that it tells, as the shells have them. Signatures are checked before."""

    def __init__(self) -> None:
        self.state = ScheduleState(ME)
        self.parts: set[JobId] = set()
        self.log = RecordLog(StoreId(ME, 5))
        self.keeping = Keeping(self.log, self.parts.__contains__)
        self.seqs: Counter[tuple[PeerId, int, JobId | None]] = Counter()

    def record(self, fact: Fact, by: PeerId = ALICE, *, seq: int = 0, incarnation: int = 5) -> Record:
        kind, key = address_of(fact)
        log = by, incarnation, job_of(kind, key)
        self.seqs[log] = seq or self.seqs[log] + 1
        seq = self.seqs[log]
        return Record(kind, by, incarnation, seq, key, fact, f"{by} {incarnation} {seq} {kind} {key}".encode())

    def hear(
        self, fact: Fact | Record, now: float = 0.0, *, age: float = 0.0, by: PeerId = BOB, origin: PeerId = ALICE
    ) -> Fate | Refusal:
        record = fact if isinstance(fact, Record) else self.record(fact, origin)
        return self.apply(self.keeping.hear(record, now - age, now, wall=WALL + now, by=by), now).fate

    def apply(self, taken: Taken, now: float) -> Taken:
        for stimulus in taken.stimuli:
            self.state.handle(stimulus, now)
        for slot in taken.gone:
            assert self.log.get(*slot) is None
        return taken

    def expire(self, now: float, connected: frozenset[PeerId] = NOBODY) -> Taken:
        return self.apply(self.keeping.expire(now, connected), now)


def parts_of(job: JobOrder) -> tuple[Fact, ...]:
    return (
        Manifest(job.id, 0, 1, (UNIT,)),
        Outcomes(job.id, (Outcome(RAW, True, 1, 1, 1.0),)),
        Claim(job.id, (), 1, 1, 1),
    )


# ---- interest -------------------------------------------------------------------------------------------------------


def test_who_takes_no_part_keeps_the_job_and_nothing_that_is_said_in_it() -> None:
    peer, job = Peer(), order()
    assert peer.hear(job) is Fate.NEW
    assert [peer.hear(fact) for fact in parts_of(job)] == [Refusal.NOT_KEPT] * 3
    assert len(peer.log) == 1
    assert not peer.state.jobs[job.id].held


def test_what_came_before_interest_began_is_not_lost() -> None:
    peer, job = Peer(), order()
    said = [peer.record(fact) for fact in parts_of(job)]
    for record in reversed(said):
        peer.hear(record)
    peer.keeping.interest.follow(job.id, 1.0)
    assert peer.keeping.interest.begun == [job.id]
    early = peer.keeping.overheard.take(job.id)
    assert {e.record.kind for e in early} == {"manifest", "claim", "result"}
    assert [peer.hear(e.record, 1.0) for e in early] == [Fate.NEW] * 3
    assert peer.keeping.overheard.take(job.id) == []


def test_the_buffer_for_others_jobs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overheard, "MOST", 100)
    peer = Peer()
    for n in range(300):
        peer.hear(Claim(order(str(n % 200)).id, (), n, 0, 1.0))
    held = peer.keeping.overheard
    assert len(held) == sum(map(len, held._jobs.values())) == 100
    peer.expire(overheard.LASTING + 1)
    assert len(held) == held._bytes == 0


def test_a_job_that_is_asked_about_is_kept_for_a_minute() -> None:
    peer, job = Peer(), order()
    peer.hear(job)
    peer.keeping.interest.follow(job.id, 0.0)
    for fact in parts_of(job):
        assert peer.hear(fact) is Fate.NEW
    peer.expire(interest.ASKED - 1)
    assert len(peer.log) == 4
    assert ALICE in peer.state.jobs[job.id].held
    taken = peer.expire(interest.ASKED + 1)
    assert taken.stimuli == (StoreLost(ALICE, frozenset({job.id})),)
    assert len(peer.log) == 1
    assert ALICE not in peer.state.jobs[job.id].held


def test_who_has_said_something_in_a_job_keeps_it() -> None:
    peer, job = Peer(), order()
    peer.hear(job)
    peer.keeping.interest.begin(job.id, 0.0)
    peer.apply(peer.keeping.offer(peer.record(Manifest(job.id, 0, 1, (UNIT,)), ME), 0.0, 0.0), 0.0)
    peer.hear(parts_of(job)[2])
    peer.expire(10_000.0)
    assert peer.log.speakers(job.id) == {ME, ALICE}


def test_a_vector_names_what_is_alive_and_the_rest_in_turns() -> None:
    peer = Peer()
    jobs = [order(str(n)) for n in range(3 * interest.IDLE)]
    for job in jobs:
        peer.hear(job)
        peer.parts.add(job.id)
        peer.keeping.interest.keeps(job.id, 0.0)
    later = interest.STIRRED + 1
    assert len(peer.keeping.interest.named(1.0)) == len(jobs)
    peer.hear(Claim(jobs[7].id, (), 1, 1, 1.0), later)
    rounds = [peer.keeping.interest.named(later) for _ in range(4)]
    assert all(names[0] == jobs[7].id and len(names) == len(set(names)) == interest.IDLE + 1 for names in rounds)
    assert set().union(*rounds) == {job.id for job in jobs}


def test_relays_are_asked_for_only_by_who_cannot_reach_the_publisher() -> None:
    peer, job = Peer(), order()
    peer.hear(job)
    peer.keeping.interest.follow(job.id, 0.0)
    others = [PeerId(f"p{n}") for n in range(9)]
    asked = [other for other in others if peer.keeping.interest.to_relay([job.id], other, others)]
    assert len(asked) == interest.RELAYS
    assert not any(peer.keeping.interest.to_relay([job.id], other, [*others, ALICE]) for other in others)
    relay = Peer()
    relay.keeping.interest.relay([job.id], 0.0)
    assert relay.keeping.interest.kept == {}, "it does not know the job"
    relay.hear(job)
    relay.keeping.interest.relay([job.id], 0.0)
    assert list(relay.keeping.interest.kept) == [job.id]
    assert not any(relay.keeping.interest.to_relay([job.id], other, others) for other in others), (
        "and asks nobody in turn"
    )
    relay.expire(interest.RELAYED + 1)
    assert relay.keeping.interest.kept == {}


# ---- garbage --------------------------------------------------------------------------------------------------------


def test_a_job_goes_an_hour_after_it_expired_and_never_comes_back() -> None:
    peer, job = Peer(), order(expires=60.0)
    records = [peer.record(job), peer.record(Cancel(job.id, "enough"), BOB), *map(peer.record, parts_of(job))]
    peer.parts.add(job.id)
    for record in records:
        assert peer.hear(record, 10.0, age=10.0) is Fate.NEW
    end = 60.0 + k.KEEP
    peer.expire(end - 1)
    assert len(peer.log) == 5
    taken = peer.expire(end + 1)
    assert JobForgotten(job.id) in taken.stimuli
    assert (len(peer.log), peer.state.jobs, peer.state.cancels, peer.keeping.interest.kept) == (0, {}, {}, {})
    peer.parts.clear()
    for record in records:
        assert peer.hear(record, end + 2, age=end + 2) is not Fate.NEW
        assert peer.hear(record, end + 2, age=0.0) is not Fate.NEW, "by who makes it young"
    assert Peer().hear(records[0], end + 2, age=end + 2) is Refusal.EXPIRED, "nor to who never knew it"


def test_a_cancel_outlives_any_job_that_it_may_be_of() -> None:
    """It came first; its job is on its way, from behind a partition."""
    peer, job = Peer(), order(expires=float(MAX_EXPIRES))
    peer.hear(Cancel(job.id, "enough"))
    peer.expire(MAX_EXPIRES - 1.0, frozenset({ALICE}))
    assert peer.hear(job, MAX_EXPIRES - 1.0, age=MAX_EXPIRES - 1.0) is Fate.NEW
    assert peer.state.jobs[job.id].cancelled
    peer.expire(MAX_EXPIRES + k.KEEP + 1, frozenset({ALICE}))
    assert len(peer.log) == 0


def test_a_job_that_two_published_lives_as_long_as_either_record() -> None:
    peer, job = Peer(), order(expires=60.0)
    peer.hear(job)
    peer.hear(job, 1000.0, origin=BOB)
    peer.expire(60 + k.KEEP + 1)
    assert job.id in peer.state.jobs
    peer.expire(1060 + k.KEEP + 1)
    assert job.id not in peer.state.jobs


def test_a_silent_peer_goes_after_a_month_and_comes_back_in_person() -> None:
    peer = Peer()
    resident, guest = (PeerFact(name, {}, (), "1", 1, 1, guest=name == "guest") for name in ("dock", "guest"))
    said = peer.record(resident)
    peer.hear(said)
    peer.hear(guest, origin=BOB)
    peer.expire(k.SILENT_GUEST + 1)
    assert peer.state.peers.keys() == {ALICE}
    peer.expire(k.SILENT + 1, frozenset({ALICE}))
    assert peer.state.peers.keys() == {ALICE}, "who is connected is not silent"
    taken = peer.expire(2 * k.SILENT + 2)
    assert PeerForgotten(ALICE) in taken.stimuli
    assert peer.state.peers == {}
    assert peer.hear(said) is Fate.FORGOTTEN
    peer.log.welcome(ALICE)
    assert peer.hear(said) is Fate.NEW


def test_ten_thousand_jobs_leave_nothing_behind() -> None:
    """A peer that takes part in every job of a publisher that never stops: an hour each, one every half minute."""
    peer = Peer()
    most = most_named = 0
    every, expires = 30.0, 600.0
    alive = math.ceil((expires + k.KEEP) / every) + 2
    for n in range(10_000):
        now = n * every
        job = order(str(n), expires=expires)
        peer.hear(job, now, origin=ALICE)
        peer.keeping.interest.begin(job.id, now)
        peer.apply(peer.keeping.offer(peer.record(Manifest(job.id, 0, 1, (UNIT,)), ME), now, now), now)
        for fact in parts_of(job):
            assert peer.hear(fact, now) is Fate.NEW
        peer.keeping.interest.begun.clear()
        if n % 10 == 0:
            peer.expire(now, frozenset({ALICE}))
            logs = peer.log.seen_of(peer.log.jobs)
            most, most_named = max(most, len(peer.log)), max(most_named, len(logs))
            assert len(peer.state.jobs) <= alive + 10
    assert most <= (alive + 10) * 5
    assert most_named <= (alive + 10) * 2 + 2
    peer.expire(10_000 * every + expires + k.KEEP, frozenset({ALICE}))
    assert (len(peer.log), len(peer.state.jobs), len(peer.keeping.interest.kept)) == (0, 0, 0)
    assert peer.log.vector().keys() == {(ALICE, 5, None)}
    leftovers = [len(held) for held in vars(peer.keeping).values() if isinstance(held, dict)]
    assert max(leftovers) <= k.MAX_ENDED
    assert sum(leftovers) <= k.MAX_ENDED + 10


def test_ten_thousand_open_jobs_of_one_peer_are_a_thousand() -> None:
    peer = Peer()
    for n in range(10_000):
        peer.hear(order(str(n)), 0.0)
    assert len(peer.log) == len(peer.state.jobs) == MAX_LISTED
    assert order("9999").id in peer.state.jobs


# ---- hostility ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"incarnation": int(WALL * 1000) + k.FUTURE + 1}, Refusal.FUTURE),
        ({"seq": k.MAX_SEQ + 1}, Refusal.TOO_HIGH),
    ],
)
def test_numbers_that_no_peer_reaches(changes: dict[str, int], why: Refusal) -> None:
    peer = Peer()
    fact = PeerFact("a", {}, (), "1", 1, 1)
    assert peer.hear(peer.record(fact, **changes)) is why  # type: ignore[arg-type]  # fields by name
    assert peer.hear(peer.record(fact, BOB, incarnation=int(WALL * 1000) + k.FUTURE - 1)) is Fate.NEW
    assert len(peer.log) == 1


def test_a_clock_that_was_never_set_judges_nobody() -> None:
    peer = Peer()
    record = peer.record(PeerFact("a", {}, (), "1", 1, 1), incarnation=int(WALL * 1000))
    assert peer.keeping.hear(record, 0.0, 0.0, wall=3600.0).fate is Fate.NEW


def test_made_up_peers_of_one_neighbour_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k, "MAX_ORIGINS", 100)
    monkeypatch.setattr(k, "MAX_BROUGHT", 50)
    peer = Peer()
    fact = PeerFact("a", {}, (), "1", 1, 1)
    fates = Counter(peer.hear(fact, by=LIAR, origin=PeerId(f"ghost{n}")) for n in range(200))
    assert fates == {Fate.NEW: 50, Refusal.TOO_MANY_PEERS: 150}
    assert peer.hear(fact, by=LIAR, origin=LIAR) is Refusal.TOO_MANY_PEERS
    fates = Counter(peer.hear(fact, by=BOB, origin=PeerId(f"real{n}")) for n in range(60))
    assert fates == {Fate.NEW: 50, Refusal.TOO_MANY_PEERS: 10}
    peer.expire(k.SILENT + 1)
    assert peer.hear(fact, k.SILENT + 1, by=BOB, origin=PeerId("later")) is Fate.NEW


def test_one_peer_fills_no_more_than_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k, "MAX_IN_LOG", 20)
    peer, job = Peer(), order()
    peer.parts.add(job.id)
    tasks = [bytes.fromhex(hash_of(str(n).encode())) for n in range(30)]
    fates = Counter(peer.hear(Outcomes(job.id, (Outcome(task, True, 1, 1, 1.0),))) for task in tasks)
    assert fates == {Fate.NEW: 20, Refusal.TOO_MANY_RECORDS: 10}


def test_a_liar_makes_a_job_neither_end_early_nor_live_on() -> None:
    """1. It says first that the job is half a day old: an honest neighbour corrects it.
    2. It says that an old job is new: it counts from when it was first heard of here, at most.
    3. It says that the job is over: then it is news from whoever says the truth.
    """
    peer, job, other = Peer(), order(expires=3600.0), order("other", expires=3600.0)
    record, another = peer.record(job), peer.record(other)
    assert peer.hear(record, 0.0, age=3500.0, by=LIAR) is Fate.NEW
    assert not peer.state.jobs[job.id].is_open(200.0)
    peer.hear(record, 100.0, age=200.0, by=BOB)
    assert peer.state.jobs[job.id].expires_at == 3500.0
    peer.hear(record, 3000.0, age=0.0, by=LIAR)
    assert peer.state.jobs[job.id].expires_at == 3600.0
    assert peer.hear(another, 0.0, age=1e9, by=LIAR) is Refusal.EXPIRED
    assert peer.hear(another, 1.0, age=5.0, by=BOB) is Fate.NEW


def test_our_own_name_in_anothers_mouth() -> None:
    """What we have said and hear again is nothing; a newer store, or a number never given, is somebody else."""
    peer = Peer()
    fact = PeerFact("a", {}, (), "1", 1, 1)
    ours = peer.record(fact, ME)
    peer.keeping.offer(ours, 0.0, 0.0)
    assert peer.hear(ours) is Fate.KNOWN
    assert peer.hear(peer.record(fact, ME, incarnation=4)) is Fate.SUPERSEDED
    assert peer.hear(peer.record(fact, ME, seq=2)) is Refusal.OTHER_SELF
    assert peer.hear(peer.record(fact, ME, incarnation=6)) is Refusal.NEWER_SELF
    assert len(peer.log) == 1
    assert Heard not in map(type, peer.expire(0.0).stimuli)


def test_a_log_that_began_anew_during_a_sync_is_not_closed_by_it() -> None:
    """An outsider asks about a job, loses interest, and asks again, all while a slow neighbour answers a sync."""
    peer, job = Peer(), order()
    peer.hear(job)
    said = [peer.record(Claim(job.id, (), n, 0, 1.0)) for n in range(3)] + [peer.record(parts_of(job)[0])]
    log = LogId(ALICE, 5, job.id)
    peer.keeping.interest.follow(job.id, 0.0)
    lives = peer.log.lives
    peer.hear(said[0])
    peer.expire(interest.ASKED + 1)
    peer.keeping.interest.follow(job.id, interest.ASKED + 2)
    peer.hear(said[3], interest.ASKED + 2)  # what the sync brings after that
    peer.keeping.ends(ALICE, {log: Extent(4)}, [job.id], lives)
    assert peer.log.vector(job.id) == {log: Extent(0, (4, 4))}, "the first three have to come yet"
    lives = peer.log.lives
    peer.hear(said[2], interest.ASKED + 3)
    peer.keeping.ends(ALICE, {log: Extent(4)}, [job.id], lives)
    assert peer.log.vector(job.id) == {log: Extent(4)}, "a whole sync: the others were superseded"
