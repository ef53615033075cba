"""Whom a peer visits that has a part in a job, and where those meet that know nobody."""

from __future__ import annotations

import pytest

from meshinfer.model.facts import Outcome, Outcomes, PeerFact
from meshinfer.model.ids import JobId, PeerId, hash_of
from meshinfer.schedule.interest import RELAYS, STIRRED
from meshinfer.schedule.keeping import Keeping
from meshinfer.schedule.log import Fate, RecordLog, StoreId
from meshinfer.schedule.visits import FAILED, Visits
from meshinfer.wire.records import address_of
from tests.unit.scheduling import order
from tests.unit.test_schedule_keeping import ALICE, BOB, ME, RAW, Peer

CAROL = PeerId("carol")
NOBODY: frozenset[PeerId] = frozenset()
DONE = Outcome(RAW, True, 1, 1, 1.0)


class Visitor(Peer):
    """One that has a part in the job that alice published."""

    def __init__(self, *guests: PeerId) -> None:
        super().__init__()
        self.visits, self.job = Visits(self.keeping), order()
        for peer in (ALICE, BOB, CAROL):
            self.hear(PeerFact(peer, {}, (), "1", 1, 1, guest=peer in guests), origin=peer)
        self.parts.add(self.job.id)
        self.hear(self.job, origin=ALICE)
        self.keeping.interest.keeps(self.job.id, 0.0)

    def whom(self, *connected: PeerId, away: frozenset[PeerId] = NOBODY, now: float = 1.0) -> list[PeerId]:
        return self.visits.whom(frozenset(connected), away, now)

    def speaks(self, peer: PeerId, now: float = 0.0) -> None:
        assert self.hear(Outcomes(self.job.id, (DONE,)), now, origin=peer) is Fate.NEW

    def meeting(self, *among: PeerId) -> list[PeerId]:
        return sorted(sorted(among, key=lambda peer: hash_of(self.job.id.encode(), peer.encode()))[:RELAYS])


def test_at_first_the_publisher_then_whoever_spoke_and_nobody_who_is_connected() -> None:
    me = Visitor()
    assert me.whom() == [ALICE]
    me.speaks(BOB)
    assert me.whom() == [ALICE, BOB]
    assert me.whom(ALICE) == [BOB]
    assert me.whom(ALICE, BOB) == []


def test_who_only_relays_visits_nobody() -> None:
    me = Visitor()
    me.parts.clear()
    me.keeping.interest.relay([me.job.id], 0.0)
    assert me.whom() == []


def test_a_job_in_which_nothing_happens_is_left_alone_whoever_asks_for_relays() -> None:
    me = Visitor()
    assert me.whom(now=STIRRED - 1) == [ALICE]
    me.keeping.interest.relay([me.job.id], STIRRED - 1)
    assert me.whom(now=STIRRED + 1) == []
    me.speaks(BOB, STIRRED + 1)
    assert me.whom(now=STIRRED + 2) == [ALICE, BOB]


def test_who_was_not_reached_is_spared_for_a_minute() -> None:
    me = Visitor()
    me.speaks(BOB)
    me.visits.failed(ALICE, 1.0)
    assert ALICE not in me.whom(BOB, now=2.0)
    me.speaks(CAROL, FAILED)
    assert ALICE in me.whom(now=1.0 + FAILED)


@pytest.mark.parametrize("gone", ["it is dialed in vain", "it was not reached", "it is a guest"])
def test_without_the_publisher_strangers_meet_where_all_others_do(gone: str) -> None:
    me = Visitor(*([ALICE] if gone == "it is a guest" else []))
    away = frozenset({ALICE}) if gone == "it is dialed in vain" else NOBODY
    if gone == "it was not reached":
        me.visits.failed(ALICE, 0.5)
    assert me.whom(away=away) == me.meeting(BOB, CAROL)
    assert me.whom(ALICE) == [] or gone != "it is a guest", "a guest that is connected brings together as any other"


def test_a_meeting_point_is_asked_to_relay() -> None:
    """Also of a job whose publisher was a guest."""
    me = Visitor(ALICE)
    met = me.whom()[0]
    assert me.keeping.interest.to_relay([me.job.id], met, [met]) == [me.job.id]


def test_two_that_know_the_same_peers_meet_at_the_same_ones() -> None:
    peers = [PeerId(f"peer{i}") for i in range(30)]

    def seen_by(me: PeerId, job: JobId) -> list[PeerId]:
        log = RecordLog(StoreId(me, 5))
        keeping = Keeping(log, lambda _: True)
        helper = Peer()
        for peer in (me, *peers):
            keeping.offer(helper.record(PeerFact(peer, {}, (), "1", 1, 1), peer), 0.0, 0.0)
        keeping.offer(helper.record(made, ALICE), 0.0, 0.0)
        keeping.interest.keeps(job, 0.0)
        return Visits(keeping).whom(NOBODY, frozenset({ALICE, peers[3]}), 1.0)

    made = order()
    assert address_of(made) == ("job", made.id)
    assert seen_by(ME, made.id) == seen_by(BOB, made.id)
    assert len(seen_by(ME, made.id)) == RELAYS
    assert not {ALICE, peers[3]} & set(seen_by(ME, made.id))
