"""Idle holders ask for work, busy ones give what they have not started."""

from __future__ import annotations

from meshinfer.model.ids import TaskId
from meshinfer.model.spans import Cut
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.lease import LEASE
from meshinfer.schedule.stealing import ASK_LATER
from tests.unit.scheduling import (
    BOB,
    CAROL,
    JOB,
    ME,
    Peer,
    claim,
    claim_tasks,
    entry,
    first_of,
    manifest,
    order,
    outcome,
    started,
    task,
)

NAMES = [name for i in range(200) if first_of(JOB, name := f"f{i:03}", ME, BOB) == ME][:12]
"""All of them fall to us, were it by rank alone."""

LONG = "long.mp4"
CUT = Cut(9, 300)


def busy() -> Peer:
    """We hold twelve videos and work on the first four; Bob holds copies of all."""
    me = Peer(*map(entry, NAMES))
    me.meet(BOB, *NAMES)
    me.hear(CAROL, JOB)
    me.hear(BOB, manifest(JOB, *NAMES))
    assert len(me.state.running) == 4
    return me


def ask(me: Peer, most: int = 4) -> tuple[TaskId, ...]:
    [grant] = [e for e in me.handle(st.WorkAsked(BOB, JOB.id, most, 7)) if isinstance(e, st.Grant)]
    assert (grant.ticket, grant.job) == (7, JOB.id)
    return grant.tasks


def test_a_busy_peer_gives_from_the_far_end_what_it_has_not_started() -> None:
    me = busy()
    assert ask(me) == tuple(task(JOB, name) for name in reversed(NAMES[-4:]))
    assert all(me.state.jobs[JOB.id].mine[task(JOB, name)].stands_by == BOB for name in NAMES[-4:])


def test_it_gives_at_most_half_and_never_what_runs() -> None:
    me = busy()
    given = [ask(me, 100) for _ in range(6)]
    assert [len(tasks) for tasks in given] == [4, 2, 1, 1, 0, 0]
    assert not set().union(*given) & me.state.running.keys()


def test_what_was_given_is_taken_back_where_it_is_not_claimed() -> None:
    """The answer was lost on its way: nobody claims the tasks, and after LEASE they are ours again."""
    me = busy()
    given = ask(me)
    for name in NAMES[:8]:
        me.handle(st.TaskEnded(task(JOB, name), outcome(JOB, name)))
    assert me.state.running == {}
    effects = [effect for _, effect in me.run_until(100.0 + LEASE)]
    assert sorted(started(effects)) == NAMES[-4:]
    assert set(me.state.running) == set(given)


def test_what_was_given_and_claimed_is_left_alone() -> None:
    me = busy()
    given = ask(me)
    me.hear(BOB, claim_tasks(JOB, *given, epoch=1))
    for name in NAMES[:8]:
        me.handle(st.TaskEnded(task(JOB, name), outcome(JOB, name)))
    for i in range(8):
        assert not started([effect for _, effect in me.run_until(101.0 + i)])
        me.hear(BOB, claim_tasks(JOB, *given, epoch=1, analysed=i))


def test_nothing_is_given_to_who_does_not_hold_it() -> None:
    me = busy()
    [grant] = [e for e in me.handle(st.WorkAsked(CAROL, JOB.id, 4, 1)) if isinstance(e, st.Grant)]
    assert grant.tasks == ()
    assert me.handle(st.WorkAsked(BOB, order("unknown").id, 4, 2)) == [st.Grant(2, order("unknown").id, ())]


def standing_by() -> tuple[Peer, list[str]]:
    """All that we hold falls to Bob, who is busy."""
    names = [name for i in range(200) if first_of(JOB, name := f"f{i:03}", ME, BOB) == BOB][:12]
    me = Peer(*map(entry, names))
    me.meet(BOB, *names)
    me.hear(CAROL, JOB)
    me.hear(BOB, manifest(JOB, *names))
    me.hear(BOB, claim(JOB, *names[:4], queued=8))
    return me, names


def test_an_idle_peer_asks_for_half_of_what_waits_and_starts_it_under_a_higher_epoch() -> None:
    """1. It stands by, and hears that eight tasks wait: it asks.
    2. What it is given it starts at once, in the order of the names, and claims it with epoch 1.
    """
    me, names = standing_by()
    asked = [effect for _, effect in me.run_until(101.0) if isinstance(effect, st.AskWork)]
    assert asked == [st.AskWork(BOB, JOB.id, 4)]
    given = tuple(task(JOB, name) for name in names[-2:])
    effects = me.handle(st.WorkGranted(BOB, JOB.id, given))
    assert sorted(started(effects)) == names[-2:]
    said = [e.fact for e in effects if isinstance(e, st.State)]
    assert said[0] == claim(JOB, *names[-2:], epoch=1)


def test_a_question_that_brings_nothing_is_asked_again_later() -> None:
    me, _ = standing_by()
    assert [e for _, e in me.run_until(101.0) if isinstance(e, st.AskWork)]
    me.handle(st.WorkGranted(BOB, JOB.id))
    again = []
    for spoke in (102.0, 104.0, 106.0):
        again += [at for at, e in me.run_until(spoke) if isinstance(e, st.AskWork)]
        me.hear(BOB, claim(JOB, "f000", queued=8, analysed=int(spoke)))
    assert again[0] == 101.0 + ASK_LATER


def test_what_was_not_asked_for_is_not_taken() -> None:
    me, names = standing_by()
    assert started(me.handle(st.WorkGranted(CAROL, JOB.id, (task(JOB, names[0]),)))) == []
    assert started(me.handle(st.WorkGranted(BOB, JOB.id, (task(JOB, names[0]),)))) == []


def test_what_comes_too_late_is_not_started() -> None:
    """We asked, and were given two; our own disk was full for long. Bob has taken them back by now."""
    me, names = standing_by()
    assert [e for _, e in me.run_until(101.0) if isinstance(e, st.AskWork)]
    me.handle(st.RoomChanged(False, "full"))
    assert started(me.handle(st.WorkGranted(BOB, JOB.id, (task(JOB, names[-1]),)))) == []
    for i in range(5):
        me.run_until(102.0 + i)
        me.hear(BOB, claim(JOB, *names[:4], queued=8, analysed=i))
    assert started(me.handle(st.RoomChanged(True))) == []


def test_one_long_video_is_shared_by_its_spans() -> None:
    """Its nine spans of half a minute fall to us; four are handed to the engine, and the last two may move."""
    long = next(n for i in range(100) if first_of(JOB, n := f"v{i}.mp4", ME, BOB, cut=CUT) == ME)
    me = Peer(entry(long, frames=9 * 300 - 10))
    me.meet(BOB, long)
    me.hear(CAROL, JOB)
    me.hear(BOB, manifest(JOB, long, cut=CUT))
    starts = [e for e in me.handle(st.Tick()) if isinstance(e, st.Start)]
    assert not starts
    assert list(me.state.running) == [task(JOB, long, cut=CUT, span=n) for n in range(4)]
    assert ask(me, 2) == tuple(task(JOB, long, cut=CUT, span=n) for n in (8, 7))
