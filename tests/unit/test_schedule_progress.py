"""How far a job is, as one peer knows it."""

from __future__ import annotations

from meshinfer.model.facts import Cancel, Claim
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.progress import Progress, progress
from meshinfer.wire.codec import encode
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
    order,
    outcome,
    outcomes,
    task,
)


def of(me: Peer) -> Progress:
    return progress(me.state, me.state.jobs[JOB.id], me.now)


def counts(p: Progress) -> tuple[str, int, int, int, int, int]:
    return p.stage, p.total, p.done, p.failed, p.running, p.pending


def test_a_job_goes_from_waiting_to_done() -> None:
    me = Peer()
    me.hear(CAROL, JOB)
    assert counts(of(me)) == ("waiting", 0, 0, 0, 0, 0)
    me.meet(BOB)
    me.hear(BOB, manifest(JOB, "a", "b", "c", frames=30))
    assert counts(of(me)) == ("running", 3, 0, 0, 0, 3)
    me.hear(BOB, Claim(JOB.id, claim(JOB, "a", "b").running, 7, 2, 1.5))
    assert counts(of(me)) == ("running", 3, 0, 0, 2, 1)
    assert (of(me).analysed, of(me).detections, of(me).frames) == (7, 2, 30)
    me.hear(BOB, outcomes(JOB, outcome(JOB, "a"), outcome(JOB, "b", done=False, frames=4, detections=0)))
    me.hear(BOB, claim(JOB, "c"))
    assert counts(of(me)) == ("running", 3, 1, 1, 1, 0)
    me.hear(BOB, outcomes(JOB, outcome(JOB, "c")))
    assert counts(of(me)) == ("done", 3, 2, 1, 0, 0)
    assert (of(me).analysed, of(me).detections) == (24, 6)
    assert of(me).winners == {task(JOB, "a"): BOB, task(JOB, "c"): BOB}


def test_our_own_work_counts_before_it_is_said() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    me.handle(st.TaskProgressed(task(JOB, "a"), 4, 9))
    assert counts(of(me)) == ("running", 1, 0, 0, 1, 0)
    assert (of(me).analysed, of(me).detections, of(me).frames) == (4, 9, 10)
    assert of(me).shares[ME].running == 1


def test_a_task_that_two_peers_did_counts_once() -> None:
    """Frames and detections are those of the result that counts; the frames expected count a copy once too."""
    name = named(JOB, CAROL, BOB, CAROL)
    me = Peer()
    me.hear(ME, JOB)
    for other, detections in ((BOB, 3), (CAROL, 5)):
        me.meet(other)
        me.hear(other, manifest(JOB, name, frames=10))
        me.hear(other, outcomes(JOB, outcome(JOB, name, detections=detections)))
    assert of(me).winners == {task(JOB, name): CAROL}
    assert (of(me).frames, of(me).analysed, of(me).detections) == (10, 10, 5)


def test_results_of_those_that_hold_nothing_do_not_count() -> None:
    """Bob says that he has done what only Carol says that she holds; then he says that he holds it too."""
    me = Peer()
    me.hear(ME, JOB)
    me.hear(BOB, outcomes(JOB, outcome(JOB, "a")))
    me.meet(CAROL)
    me.hear(CAROL, manifest(JOB, "a", frames=10))
    assert (of(me).done, of(me).analysed) == (0, 0)
    me.hear(BOB, manifest(JOB, "a", frames=10))
    assert (of(me).done, of(me).analysed) == (1, 10)


def test_who_cannot_be_reached_is_named_while_his_part_is_open() -> None:
    me = Peer()
    me.hear(ME, JOB)
    me.meet(BOB)
    me.meet(CAROL)
    me.hear(BOB, manifest(JOB, "a"))
    me.hear(CAROL, manifest(JOB, "b"))
    me.hear(CAROL, outcomes(JOB, outcome(JOB, "b")))
    for other in (BOB, CAROL):
        me.handle(st.Disconnected(other))
    me.run_until(me.now + 60)
    assert of(me).missing == (BOB,)
    assert counts(of(me)) == ("waiting", 2, 1, 0, 0, 1)


def test_what_a_gone_peer_claimed_runs_no_more() -> None:
    me = Peer()
    me.hear(ME, JOB)
    me.meet(BOB)
    me.hear(BOB, manifest(JOB, "a"))
    me.hear(BOB, claim(JOB, "a", "not in the manifest"))
    assert of(me).running == 1
    me.handle(st.Disconnected(BOB))
    me.run_until(me.now + 60)
    assert counts(of(me)) == ("waiting", 1, 0, 0, 0, 1)


def test_cancelled_and_expired_jobs_say_so() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    assert progress(me.state, me.state.jobs[JOB.id], me.now + 2 * 86400).stage == "expired"
    me.hear(CAROL, Cancel(JOB.id, "enough"))
    assert of(me).stage == "cancelled"
    assert of(me).running == 0


def test_a_done_job_stays_done_after_it_expires() -> None:
    me = Peer()
    me.hear(ME, JOB)
    me.hear(BOB, manifest(JOB, "a"))
    me.hear(BOB, outcomes(JOB, outcome(JOB, "a")))
    assert progress(me.state, me.state.jobs[JOB.id], me.now + 2 * 86400).stage == "done"


def test_a_job_that_is_not_understood_can_still_be_followed() -> None:
    newer = order(packed=encode({"model": "yolox", "zones": [1]}))
    me = Peer()
    me.hear(ME, newer)
    assert progress(me.state, me.state.jobs[newer.id], me.now).stage == "expired"


def test_another_delivery_counts_where_the_winner_is_out_of_reach() -> None:
    """1. Of two deliveries all peers name the same one.
    2. Asked among those that can be reached, the other one is named; among nobody, none."""
    me = Peer()
    me.hear(CAROL, JOB)
    for peer in (BOB, CAROL):
        me.meet(peer)
        me.hear(peer, manifest(JOB, "a"))
        me.hear(peer, outcomes(JOB, outcome(JOB, "a", digest="d")))
    job, a = me.state.jobs[JOB.id], task(JOB, "a")
    winner = of(me).winners[a]
    (other,) = {BOB, CAROL} - {winner}
    assert job.canonical(a, {BOB, CAROL, ME}) == job.canonical(a) == (winner, outcome(JOB, "a", digest="d"))
    assert job.canonical(a, {ME, other}) == (other, outcome(JOB, "a", digest="d"))
    assert job.canonical(a, {ME}) is None
