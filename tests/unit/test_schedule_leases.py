"""Who has a task when holders fall silent, stand still, disagree, or have no room."""

from __future__ import annotations

import pytest

from meshinfer.model.facts import Claim
from meshinfer.model.ids import PeerId
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.lease import LEASE, PATIENCE, RENEW, STALL, STUCK
from tests.unit.scheduling import (
    BOB,
    CAROL,
    JOB,
    ME,
    Peer,
    claim,
    entry,
    manifest,
    named,
    outcome,
    outcomes,
    started,
    task,
)

DAVE = PeerId("dave")


def beside_bob(*names: str, others: tuple[PeerId, ...] = (), **more: object) -> Peer:
    """We hold these, and so does Bob (and others): all manifests are in."""
    me = Peer(*map(entry, names), **more)
    for other in (BOB, *others):
        me.meet(other, *names)
    me.hear(CAROL, JOB)
    for other in (BOB, *others):
        me.hear(other, manifest(JOB, *names))
    return me


def claims(me: Peer) -> list[Claim]:
    return [fact for fact in me.stated if isinstance(fact, Claim)]


BOBS = named(JOB, BOB, ME, BOB)
MINE = named(JOB, ME, ME, BOB)


def test_whoever_has_work_that_others_could_do_speaks_every_renew_seconds() -> None:
    """1. Our task has no news: the claim is renewed all the same.
    2. It has ended: there is nothing more to say.
    """
    me = beside_bob(MINE)
    said = len(claims(me))
    me.run_until(100.0 + 4 * RENEW)
    assert len(claims(me)) - said == 4
    me.handle(st.TaskEnded(task(JOB, MINE), outcome(JOB, MINE)))
    me.run_until(me.now + 1)
    said = len(claims(me))
    me.run_until(me.now + 60)
    assert len(claims(me)) == said


def test_whoever_stands_by_speaks_too_for_it_may_be_the_next() -> None:
    me = beside_bob(BOBS)
    me.run_until(100.0 + 2 * RENEW)
    assert [(c.running, c.queued) for c in claims(me)[-2:]] == [((), 0), ((), 0)]


def test_work_that_nobody_else_holds_needs_no_renewal() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    me.run_until(160.0)
    assert len(claims(me)) == 1


def test_of_three_holders_the_next_in_rank_takes_over_and_the_third_waits_for_it() -> None:
    """Bob falls silent. Whoever of Dave and us comes next in rank takes up his task; the other stands by."""
    for second, starts in ((ME, True), (DAVE, False)):
        names = (f"f{i}" for i in range(10_000))
        third = DAVE if second == ME else ME
        name = (
            next(
                n
                for n in names
                if named(JOB, BOB, BOB, ME, DAVE, tag=n) == f"{n}0"
                and named(JOB, second, second, third, tag=n) == f"{n}0"
            )
            + "0"
        )
        me = beside_bob(name, others=(DAVE,))
        for at in range(101, 110):
            me.run_until(float(at))
            me.hear(DAVE, claim(JOB))
        assert (task(JOB, name) in me.state.running) == starts
        assert me.state.jobs[JOB.id].mine[task(JOB, name)].stands_by == (None if starts else DAVE)


def test_a_peer_at_work_without_progress_loses_its_lease_in_the_end() -> None:
    """It speaks, but nothing moves: a stuck peer is not a live one."""
    me = beside_bob(BOBS)
    begun = []
    for i in range(40):
        begun += [at for at, effect in me.run_until(101.0 + i) if started([effect])]
        me.hear(BOB, claim(JOB, BOBS, analysed=5))
    assert begun == [101.0 + STUCK]


def test_progress_of_any_kind_keeps_the_lease() -> None:
    me = beside_bob(BOBS)
    for i in range(60):
        assert not started([effect for _, effect in me.run_until(101.0 + i)])
        me.hear(BOB, claim(JOB, BOBS, analysed=i // 10))


def test_a_peer_that_stood_still_distrusts_itself_first() -> None:
    """1. This process is stopped for a minute. What Bob said meanwhile waits in its sockets.
    2. Its first look at the clock comes late: nobody's lease has ended for that.
    3. Bob speaks as ever: nothing has changed hands. Were he gone, his lease would end one LEASE later.
    """
    me = beside_bob(BOBS)
    assert started(me.tick(160.0)) == []
    assert me.state.stalls == 1
    assert started(me.hear(BOB, claim(JOB, BOBS, analysed=1))) == []
    ends = [at for at, effect in me.run_until(200.0) if started([effect])]
    assert ends == [160.0 + LEASE]


def test_a_moments_lateness_is_no_stall() -> None:
    me = beside_bob(BOBS)
    deadline = me.state.next_deadline()
    assert deadline is not None
    me.tick(deadline + STALL - 0.01)
    assert me.state.stalls == 0


# ---- conflict --------------------------------------------------------------------------------------------------------


def test_the_higher_epoch_has_it_and_what_had_not_begun_is_let_go() -> None:
    """Bob has taken over what we have claimed, while we were not heard: he has it, and we stand by."""
    me = beside_bob(MINE)
    assert task(JOB, MINE) in me.state.running
    effects = me.hear(BOB, claim(JOB, MINE, epoch=1))
    assert st.Yield(JOB.id, (task(JOB, MINE),)) in effects
    assert me.state.running == {}
    assert me.state.jobs[JOB.id].mine[task(JOB, MINE)].stands_by == BOB
    ends = [at for at, effect in me.run_until(120.0) if started([effect])]
    assert ends == [100.0 + LEASE]
    assert me.state.jobs[JOB.id].mine[task(JOB, MINE)].epoch == 2


def test_what_has_begun_is_finished() -> None:
    """Two that hand a task to and fro would never end it."""
    me = beside_bob(MINE)
    me.handle(st.TaskProgressed(task(JOB, MINE), 1, 0))
    assert me.hear(BOB, claim(JOB, MINE, epoch=1)) == []
    assert task(JOB, MINE) in me.state.running


def test_of_equal_epochs_the_rank_has_it() -> None:
    for name, kept in ((MINE, True), (BOBS, False)):
        me = Peer(entry(name))
        me.hear(CAROL, JOB)  # we begin before we hear of Bob
        me.hear(BOB, manifest(JOB, name))
        me.hear(BOB, claim(JOB, name))
        assert (task(JOB, name) in me.state.running) == kept


def test_claims_of_those_that_do_not_hold_it_move_nothing() -> None:
    """Dave holds nothing: neither his claim nor his epoch is heard."""
    me = beside_bob(MINE)
    me.meet(DAVE)
    assert me.hear(DAVE, claim(JOB, MINE, epoch=2**32)) == []
    assert task(JOB, MINE) in me.state.running
    me.handle(st.TaskReturned(task(JOB, MINE)))
    assert me.state.jobs[JOB.id].mine[task(JOB, MINE)].epoch == 0


def test_an_outcome_carries_the_epoch_it_ran_under_and_the_lowest_counts() -> None:
    """Bob's task was taken over; he had done it all the same, and was only not heard."""
    me = beside_bob(BOBS)
    me.hear(BOB, claim(JOB, BOBS))
    me.run_until(100.0 + LEASE)
    me.handle(st.TaskEnded(task(JOB, BOBS), outcome(JOB, BOBS)))
    me.run_until(me.now + 1)
    job = me.state.jobs[JOB.id]
    assert job.outcomes[task(JOB, BOBS)][ME].epoch == 1
    assert job.canonical(task(JOB, BOBS)) == (ME, job.outcomes[task(JOB, BOBS)][ME])
    me.hear(BOB, outcomes(JOB, outcome(JOB, BOBS)))
    assert job.canonical(task(JOB, BOBS)) == (BOB, job.outcomes[task(JOB, BOBS)][BOB])


# ---- no room ---------------------------------------------------------------------------------------------------------


def test_what_a_peer_without_room_has_not_started_is_anyones() -> None:
    me = beside_bob(BOBS)
    assert started(me.hear(BOB, claim(JOB, deferred="the disk is full", queued=1))) == [BOBS]


def test_a_peer_without_room_says_so_at_once() -> None:
    me = beside_bob(MINE, BOBS)
    me.run_until(103.0)
    me.handle(st.RoomChanged(False, "the disk is full"))
    me.run_until(me.now + 1)
    assert claims(me)[-1].deferred == "the disk is full"
    me.handle(st.RoomChanged(True))
    me.run_until(me.now + 1)
    assert claims(me)[-1].deferred == ""


def test_who_leaves_says_so_and_starts_nothing_more() -> None:
    me = beside_bob(MINE, BOBS)
    me.handle(st.TaskReturned(task(JOB, MINE)))
    effects = me.handle(st.Leaving(), me.now + 1)
    assert [e.fact.deferred for e in effects if isinstance(e, st.State) and isinstance(e.fact, Claim)] == [
        "it is stopping"
    ]
    assert started(me.hear(BOB, claim(JOB, deferred="it is stopping"))) == []


def test_a_peer_that_lives_and_never_begins_is_waited_for_no_longer_than_patience() -> None:
    """It says that it holds the file, renews its lease, and does nothing: a liar, or a peer that sees others first."""
    me = beside_bob(BOBS)
    begun = []
    for i in range(100):
        begun += [at for at, effect in me.run_until(101.0 + i) if started([effect])]
        me.hear(BOB, claim(JOB))
    assert begun == [pytest.approx(100.0 + PATIENCE, abs=1.0)]


def test_a_busy_peer_that_gets_on_with_other_tasks_of_the_job_is_waited_for() -> None:
    me = beside_bob(BOBS)
    for i in range(100):
        assert not started([effect for _, effect in me.run_until(101.0 + i)])
        me.hear(BOB, claim(JOB, analysed=i, queued=1))
        for effect in me.handle(st.Tick()):
            if isinstance(effect, st.AskWork):
                me.handle(st.WorkGranted(BOB, JOB.id))
