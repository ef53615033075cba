"""What changes while a job is on: the catalog, the models, the job itself, and whose turn it is."""

from __future__ import annotations

import itertools

import pytest

from meshinfer.model.facts import Cancel, Claim, Holding, Manifest, Outcomes
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.reports import SAY_CLAIM
from meshinfer.wire.codec import encode
from tests.unit.scheduling import (
    BOB,
    CAROL,
    JOB,
    MODEL,
    Peer,
    claim,
    end,
    entry,
    job_of,
    manifest,
    order,
    outcome,
    outcomes,
    started,
    task,
)

# ---- the catalog and the models change -------------------------------------------------------------------------------


def test_new_files_join_a_running_job_and_vanished_ones_leave_it() -> None:
    me = Peer(entry("a"), window=8)
    me.hear(CAROL, JOB)
    me.handle(st.CatalogChanged((entry("b"), entry("c"))), me.now + 5)
    assert set(job_of(me).mine) == {task(JOB, n) for n in "abc"}
    me.handle(st.CatalogChanged((), (("cam", "b"), ("cam", "never there"))), me.now + 5)
    assert me.stated[-1] == manifest(JOB, "a", "c", frames=20)
    assert started(end(me, "a")) == ["c"]


def test_a_moved_file_is_the_same_task() -> None:
    me = Peer(entry("a"), window=8)
    me.handle(st.RoomChanged(False, "full"))
    me.hear(CAROL, JOB)
    said = len(me.stated)
    me.handle(st.CatalogChanged((entry("z", content=entry("a").content),), (("cam", "a"),)))
    assert started(me.handle(st.RoomChanged(True))) == ["z"]
    assert not [fact for fact in me.stated[said:] if isinstance(fact, Manifest)]


def test_a_file_that_vanishes_while_it_is_worked_on_is_the_runners_matter() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    me.handle(st.CatalogChanged((), (("cam", "a"),)))
    assert job_of(me).mine[task(JOB, "a")].status == "running"
    end(me, "a", done=False)
    assert job_of(me).mine[task(JOB, "a")].status == "ended"


def test_a_job_whose_model_is_not_held_starts_when_it_comes() -> None:
    me = Peer(entry("a"))
    me.handle(st.ModelsChanged({}))
    assert me.hear(CAROL, JOB) == []
    assert "not held here" in (me.state.declines(job_of(me).info) or "")
    assert started(me.handle(st.ModelsChanged({MODEL: ("person",)}))) == ["a"]


def test_a_job_for_an_unknown_class_is_declined() -> None:
    me = Peer(entry("a"))
    unknown = order(detect={"classes": ("person", "unicorn")})
    assert me.hear(CAROL, unknown) == []
    assert "knows no class 'unicorn'" in (me.state.declines(me.state.jobs[unknown.id].info) or "")
    assert started(me.handle(st.ModelsChanged({MODEL: ("person", "unicorn")}))) == ["a"]


def test_a_job_of_a_newer_version_is_declined_not_an_error() -> None:
    me = Peer(entry("a"))
    newer = order(packed=encode({"model": "yolox", "zones": [1, 2]}))
    assert me.hear(CAROL, newer) == []
    me.hear(BOB, Manifest(newer.id, 0, 1, (Holding(b"\0" * 12),)))
    me.handle(st.CatalogChanged((entry("b"),)))
    assert me.state.declines(me.state.jobs[newer.id].info) == (
        "asks for something this version does not know: Object contains unknown field `zones`"
    )


def test_a_model_that_is_taken_away_takes_the_tasks_with_it() -> None:
    """1. One of two tasks runs, the other waits; the model goes, then the file of the waiting one.
    2. Nothing is started meanwhile, and the manifest names what runs alone; the model comes back to what is left.
    """
    me = Peer(entry("a"), entry("b"), entry("c"), window=8)
    me.hear(CAROL, JOB)
    assert started(me.handle(st.ModelsChanged({}), me.now + 5)) == []
    assert me.stated[-1] == manifest(JOB, "a", frames=10)
    me.handle(st.CatalogChanged((), (("cam", "b"),)))
    assert started(end(me, "a")) == []
    assert started(me.handle(st.ModelsChanged({MODEL: ("person",)}), me.now + 5)) == ["c"]


# ---- cancel and expiry -----------------------------------------------------------------------------------------------


def test_a_cancel_stops_what_runs_and_starts_nothing() -> None:
    me = Peer(entry("a"), entry("b"), entry("c"), window=16)
    me.hear(CAROL, JOB)
    assert me.hear(BOB, Cancel(JOB.id, "enough"))[:2] == [
        st.Stop(JOB.id, tuple(sorted((task(JOB, "a"), task(JOB, "b"))))),
        st.State(Claim(JOB.id, (), 0, 0, 0.0)),
    ]
    assert me.hear(BOB, Cancel(JOB.id, "again")) == []
    assert end(me, "a") == []
    assert me.run_until(me.now + 100) == []
    assert (job_of(me).cancelled, me.state.running) == ("enough", {})


def test_a_job_expires_for_what_has_not_started() -> None:
    short = order(expires=60.0)
    me = Peer(entry("a"), entry("b"), window=8)
    me.hear(CAROL, short, born=me.now)
    me.now += 60
    effects = me.handle(st.TaskEnded(task(short, "a"), outcome(short, "a")))
    assert started(effects) == []
    assert [type(e.fact) for e in effects if isinstance(e, st.State)] == [Outcomes, Claim]
    assert started(me.hear(CAROL, order("2", expires=60.0), born=me.now - 61)) == []


def test_order_of_arrival_does_not_matter() -> None:
    """Job, manifest, outcome, claim and cancel of others, in every order and each twice: the same end."""
    facts = [
        (CAROL, JOB),
        (BOB, manifest(JOB, "a", "x")),
        (BOB, outcomes(JOB, outcome(JOB, "a"), outcome(JOB, "x", done=False))),
        (BOB, claim(JOB, "x")),
        (CAROL, Cancel(JOB.id, "enough")),
    ]
    ends = set()
    for steps in itertools.permutations(facts):
        me = Peer(entry("a"), entry("x"), echo=False)
        me.meet(BOB, "a", "x")
        for origin, fact in steps:
            me.hear(origin, fact)
            me.hear(origin, fact)
        me.run_until(me.now + 60)
        job = job_of(me)
        ends.add(
            (
                job.cancelled,
                tuple(sorted(job.held[BOB])),
                tuple(sorted((t, tuple(by)) for t, by in job.outcomes.items())),
                tuple(job.working[BOB]),
                tuple(me.state.running),
                tuple(sorted(job.running)),
            )
        )
    assert len(ends) == 1


# ---- the window ------------------------------------------------------------------------------------------------------


def test_jobs_share_the_window_in_turn() -> None:
    """Two jobs over eight files in a window of four: two tasks of each, then one for one as they end."""
    me = Peer(*(entry(f"f{i}") for i in range(8)), window=32)
    me.handle(st.RoomChanged(False, "full"))
    other = order("other", fresh=True)
    assert started(me.hear(CAROL, JOB) + me.hear(CAROL, other)) == []
    assert me.state.no_room == "full"
    effects = me.handle(st.RoomChanged(True))
    assert sorted(e.job for e in effects if isinstance(e, st.Start)) == sorted([JOB.id, JOB.id, other.id, other.id])
    seen = [next(iter(me.state.running.values()))]
    for _ in range(8):
        running = next(iter(me.state.running))
        of = JOB if me.state.running[running] == JOB.id else other
        ended = Outcomes(of.id, (outcome(of, "f0"),)).outcomes[0]
        effects = me.handle(st.TaskEnded(running, type(ended)(bytes.fromhex(running), True, 1, 1, 0.1)))
        seen += [e.job for e in effects if isinstance(e, st.Start)]
    assert abs(seen.count(JOB.id) - seen.count(other.id)) <= 2


def test_a_returned_task_is_pending_again_and_no_longer_claimed() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    me.handle(st.RoomChanged(False, "the disk is full"))
    assert me.handle(st.TaskReturned(task(JOB, "a"))) == []
    me.run_until(me.now + 2)
    assert me.stated[-1] == Claim(JOB.id, (), 0, 0, SAY_CLAIM, queued=1, deferred="the disk is full")
    assert me.handle(st.TaskReturned(task(JOB, "a"))) == []
    assert started(me.handle(st.RoomChanged(True))) == ["a"]


@pytest.mark.parametrize("lost", ["its file", "its model"])
def test_what_ran_on_and_is_returned_when_its_file_or_model_is_gone_is_not_run_again(lost: str) -> None:
    """The disk was full, so that it was given back; and is free again."""
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    gone = entry("a")
    me.handle(st.CatalogChanged((), ((gone.source, gone.name),)) if lost == "its file" else st.ModelsChanged({}))
    assert task(JOB, "a") in me.state.running
    me.handle(st.RoomChanged(False, "the disk is full"))
    me.handle(st.TaskReturned(task(JOB, "a")))
    assert started(me.handle(st.RoomChanged(True))) == []
    assert not me.state.jobs[JOB.id].mine
