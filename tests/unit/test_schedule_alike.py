"""Two jobs that do the same have their tasks in common: what one has done is not done again."""

from __future__ import annotations

from meshinfer.schedule import stimuli as st
from tests.unit.scheduling import (
    BOB,
    CAROL,
    ME,
    Peer,
    claim,
    entry,
    manifest,
    named,
    order,
    outcome,
    outcomes,
    started,
    task,
)

ONE, TWO, FRESH = order("one"), order("two"), order("three", fresh=True)
MINE, BOBS = named(ONE, ME, ME, BOB), named(ONE, BOB, ME, BOB)


def test_equal_jobs_have_equal_tasks_and_a_fresh_one_has_its_own() -> None:
    assert task(ONE, "a") == task(TWO, "a") != task(FRESH, "a")


def test_a_task_that_runs_for_one_job_is_not_started_for_another() -> None:
    """1. It runs for the first job when the second comes: that one waits.
    2. It has ended: the second job takes it up, and the store has it done. A fresh job never waits.
    """
    me = Peer(entry("a"))
    assert started(me.hear(CAROL, ONE)) == ["a"]
    assert started(me.hear(CAROL, TWO)) == []
    assert started(me.hear(CAROL, FRESH)) == ["a"]
    effects = me.handle(st.TaskEnded(task(ONE, "a"), outcome(ONE, "a")))
    assert [e.job for e in effects if isinstance(e, st.Start)] == [TWO.id]


def test_whoever_has_done_it_before_comes_first_whatever_the_rank() -> None:
    """Bob had taken over our task in the first job. In the second he is asked again: for him it is no work."""
    me = Peer(entry(MINE))
    me.meet(BOB, MINE)
    me.handle(st.RoomChanged(False, "full"))
    me.hear(CAROL, ONE)
    me.hear(BOB, manifest(ONE, MINE))
    me.hear(BOB, outcomes(ONE, outcome(ONE, MINE)))
    me.handle(st.RoomChanged(True))
    me.hear(CAROL, TWO)
    assert started(me.hear(BOB, manifest(TWO, MINE))) == []
    assert me.state.jobs[TWO.id].mine[task(TWO, MINE)].stands_by == BOB


def test_what_another_is_at_for_one_job_is_left_to_it_in_the_other() -> None:
    """Bob works on it for the first job. When he has failed it, it is ours in both."""
    me = Peer(entry(MINE))
    me.meet(BOB, MINE)
    me.hear(CAROL, ONE)
    me.hear(BOB, claim(ONE, MINE))
    me.hear(BOB, manifest(ONE, MINE))
    me.hear(CAROL, TWO)
    assert started(me.hear(BOB, manifest(TWO, MINE))) == []
    failed = outcome(ONE, MINE, done=False, error_kind="host")
    assert started(me.hear(BOB, outcomes(ONE, failed))) == [MINE]


def test_a_cancelled_job_frees_its_task_for_its_equal() -> None:
    from meshinfer.model.facts import Cancel

    me = Peer(entry("a"))
    me.hear(CAROL, ONE)
    me.hear(CAROL, TWO)
    effects = me.hear(CAROL, Cancel(ONE.id, "enough"))
    assert [type(e) for e in effects if isinstance(e, st.Start | st.Stop)] == [st.Stop, st.Start]


def test_what_had_ended_for_one_job_does_not_stop_its_equal() -> None:
    """Our own word on it comes back from others while it runs for another job: a third one does not start it again."""
    me = Peer(entry("a"))
    assert started(me.hear(CAROL, ONE)) == ["a"]
    me.hear(CAROL, TWO)
    me.hear(CAROL, order("three"))
    assert started(me.hear(ME, outcomes(TWO, outcome(TWO, "a")))) == []
    assert me.state.running == {task(ONE, "a"): ONE.id}
    assert me.state.jobs[TWO.id].mine[task(TWO, "a")].status == "ended"
