"""What a peer does with a job: one policy a test, exact effects."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any

import pytest

from meshinfer.model.facts import MAX_OUTCOMES, MAX_UNITS_A_PAGE, Cancel, Claim, Holding, Manifest, Outcomes
from meshinfer.model.ids import PeerId, unit_of
from meshinfer.model.job import read_order
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.choice import CATCH_UP, SETTLE
from meshinfer.schedule.early import MAX_EARLY
from meshinfer.schedule.job import JobState
from meshinfer.schedule.lease import LEASE
from meshinfer.schedule.reports import SAY_CLAIM, SAY_MANIFEST, SAY_OUTCOMES
from meshinfer.schedule.verdict import on_job, on_spec
from meshinfer.wire.codec import encode
from meshinfer.wire.records import MAX_RECORD
from tests.unit.scheduling import (
    BOB,
    CAROL,
    ME,
    MODEL,
    Peer,
    claim,
    entry,
    holds,
    manifest,
    named,
    order,
    outcome,
    outcomes,
    peer,
    started,
    task,
)

JOB = order()


def job_of(me: Peer, of: Any = JOB) -> JobState:
    return me.state.jobs[of.id]


def end(me: Peer, name: str, at: float | None = None, **how: Any) -> list[st.Effect]:
    return me.handle(st.TaskEnded(task(JOB, name), outcome(JOB, name, **how)), at)


# ---- what lies here alone --------------------------------------------------------------------------------------------


def test_the_only_holder_starts_at_once() -> None:
    """1. Another peer is connected, but its sketch knows none of these contents.
    2. The job's tasks start in the order of their names, without a round of claims; the manifest follows.
    """
    me = Peer(entry("b"), entry("a"))
    me.meet(BOB, "something else")
    effects = me.hear(CAROL, JOB)
    assert effects == [
        st.Start(JOB.id, task(JOB, "a"), entry("a")),
        st.Start(JOB.id, task(JOB, "b"), entry("b")),
        st.State(claim(JOB, "a", "b")),
        st.State(manifest(JOB, "a", "b", frames=20)),
    ]


def test_what_the_job_is_not_about_is_left_alone() -> None:
    me = Peer(entry("a"), entry("b", kind="image"))
    assert started(me.hear(CAROL, order(on={"kind": "image"}))) == ["b"]
    assert me.hear(CAROL, order(on={"labels": ("site=rotterdam",)})) == []
    assert me.state.next_deadline() is None


def test_a_job_picks_what_its_model_looks_at() -> None:
    """Of a mixed catalog: series alone, or pictures alone; the rest is left out with the reason."""
    mixed = (entry("film"), entry("photo", kind="image"), entry("gearbox", kind="series"))
    me = Peer(*mixed)
    me.handle(st.ModelsChanged({MODEL: ("fault",)}, series=frozenset({MODEL})))
    assert started(me.hear(CAROL, JOB)) == ["gearbox"]
    verdict = on_job(me.state, job_of(me), me.now)
    assert {(s.reason, s.entries) for s in verdict.skipped} == {
        ("is a video; the model yolox looks at series", 1),
        ("is an image; the model yolox looks at series", 1),
    }
    pictures = Peer(*mixed)
    assert started(pictures.hear(CAROL, JOB)) == ["film", "photo"]
    none = on_spec(pictures.state, read_order(order(on={"kind": "series"}), ME))
    assert (none.verdict, none.reason) == ("declines", "nothing it holds matches")
    assert ("is a series; the model yolox looks at pictures", 1) in [(s.reason, s.entries) for s in none.skipped]


def test_copies_at_one_peer_are_one_task() -> None:
    me = Peer(entry("a"), entry("z", content=entry("a").content))
    assert started(me.hear(CAROL, JOB)) == ["a"]


def test_scope_every_asks_nobody() -> None:
    """Each holder runs its own copy: a task of its own, whatever others hold or do."""
    me = Peer(entry("a"))
    me.meet(BOB, "a")
    each = order(scope="every")
    [start, *_] = me.hear(CAROL, each)
    assert start == st.Start(each.id, task(each, "a", owner=ME), entry("a"))


# ---- copies elsewhere ------------------------------------------------------------------------------------------------


def test_of_two_holders_the_rank_decides_in_any_order_of_arrival() -> None:
    """Job, both manifests and the catalog may come in any order: exactly one of the two starts, and it is the same."""
    mine, theirs = named(JOB, ME, ME, BOB), named(JOB, BOB, ME, BOB)
    for steps in itertools.permutations(["job", "manifest", "catalog", "source"]):
        me = Peer()
        me.meet(BOB)
        if steps.index("source") > min(steps.index("job"), steps.index("catalog")):
            continue  # a peer whose catalog is not known yet holds nothing
        effects = []
        for step in steps:
            match step:
                case "job":
                    effects += me.hear(CAROL, JOB)
                case "manifest":
                    effects += me.hear(BOB, manifest(JOB, mine, theirs))
                case "catalog":
                    effects += me.handle(st.CatalogChanged((entry(mine), entry(theirs))))
                case "source":
                    effects += me.hear(BOB, holds(mine, theirs))
        assert started(effects) == [mine], steps
        assert job_of(me).mine[task(JOB, theirs)].stands_by == BOB


def test_a_task_waits_a_moment_for_the_manifest_of_whoever_may_hold_a_copy() -> None:
    """1. Bob's sketch may hold the content, his manifest is not in: nothing starts, the deadline is exact.
    2. It never comes: after SETTLE the task starts.
    """
    me = Peer(entry("a"))
    me.meet(BOB, "a")
    assert started(me.hear(CAROL, JOB)) == []
    assert me.state.next_deadline() == me.now + SETTLE
    assert [(at, started([effect])) for at, effect in me.run_until(me.now + SETTLE) if started([effect])] == [
        (100.0 + SETTLE, ["a"])
    ]


def test_a_manifest_without_the_content_ends_the_wait() -> None:
    me = Peer(entry("a"))
    me.meet(BOB, "a")
    me.hear(CAROL, JOB)
    assert started(me.hear(BOB, manifest(JOB, "another"))) == ["a"]


def test_a_paged_manifest_ends_the_wait_with_its_last_page() -> None:
    me = Peer(entry("a"))
    me.meet(BOB, "a")
    me.hear(CAROL, JOB)
    assert started(me.hear(BOB, Manifest(JOB.id, 1, 2, ()))) == []
    assert started(me.hear(BOB, Manifest(JOB.id, 0, 2, ()))) == ["a"]


def test_a_stood_by_task_is_taken_up_when_its_winner_failed_it() -> None:
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name))
    me.meet(BOB, name)
    me.hear(CAROL, JOB)
    me.hear(BOB, manifest(JOB, name))
    assert me.hear(BOB, claim(JOB, name)) == []
    assert started(me.hear(BOB, outcomes(JOB, outcome(JOB, name, done=False, error_kind="host")))) == [name]


def test_a_stood_by_task_is_over_when_its_winner_has_done_it() -> None:
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name))
    me.meet(BOB, name)
    me.hear(CAROL, JOB)
    me.hear(BOB, manifest(JOB, name))
    assert me.hear(BOB, outcomes(JOB, outcome(JOB, name))) == []
    me.handle(st.Disconnected(BOB))
    assert started([effect for _, effect in me.run_until(me.now + 5 * LEASE)]) == []


def test_a_flap_moves_no_work_and_a_lease_that_ends_does() -> None:
    """1. Bob is to run it; he says so every now and then. His connection comes and goes: nothing happens.
    2. He falls silent: LEASE seconds after his last word the task is taken up, under the first epoch that is free.
    """
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name))
    me.meet(BOB, name)
    me.hear(CAROL, JOB)
    me.hear(BOB, manifest(JOB, name))
    for spoke in (101.5, 103.0, 104.5):
        assert started([effect for _, effect in me.run_until(spoke)]) == []
        me.handle(st.Disconnected(BOB))
        assert started(me.hear(BOB, claim(JOB, name, analysed=int(spoke)))) == []
        me.handle(st.Connected(BOB))
    ends = [(at, effect) for at, effect in me.run_until(120.0) if started([effect])]
    assert [at for at, _ in ends] == [104.5 + LEASE]
    assert job_of(me).mine[task(JOB, name)].epoch == 1


def test_work_that_is_claimed_is_left_to_its_claimant() -> None:
    """Rank decides who begins, not who goes on: a peer already at work is left to it while it is there."""
    name = named(JOB, ME, ME, BOB)
    me = Peer()
    me.meet(BOB, name)
    me.hear(CAROL, JOB)
    me.hear(BOB, claim(JOB, name))
    me.hear(BOB, manifest(JOB, name))
    assert started(me.handle(st.CatalogChanged((entry(name),)))) == []
    assert job_of(me).mine[task(JOB, name)].stands_by == BOB
    assert started(me.hear(BOB, claim(JOB))) == [name]


def test_a_claim_on_what_its_claimant_failed_holds_nobody_up() -> None:
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name))
    me.meet(BOB, name)
    me.hear(CAROL, JOB)
    me.hear(BOB, manifest(JOB, name))
    me.hear(BOB, outcomes(JOB, outcome(JOB, name, done=False)))
    end(me, name, done=False)
    assert started(me.hear(BOB, claim(JOB, name))) == []
    assert job_of(me).fate(task(JOB, name)) == "failed"


def test_a_late_joiner_listens_before_it_starts() -> None:
    """1. It hears of a job that others have been at for long; their manifests and claims may come right after.
    2. It waits CATCH_UP seconds, though no sketch that it knows names its content.
    """
    me = Peer(entry("a"))
    assert started(me.hear(CAROL, JOB, born=me.now - 10)) == []
    assert me.state.next_deadline() == 100.0 + CATCH_UP
    assert started(me.tick(100.0 + CATCH_UP)) == ["a"]


def test_a_late_joiner_leaves_alone_what_is_done_or_claimed() -> None:
    me = Peer(entry("a"), entry("b"), entry("c"))
    me.hear(CAROL, JOB, born=me.now - 10)
    me.meet(BOB, "a", "b", "c")
    me.hear(BOB, outcomes(JOB, outcome(JOB, "a")))
    me.hear(BOB, claim(JOB, "b"))
    me.hear(BOB, manifest(JOB, "a", "b"))
    assert started([effect for _, effect in me.run_until(100.0 + CATCH_UP)]) == ["c"]


def test_after_a_restart_old_words_of_others_count_for_nothing() -> None:
    """What Bob said a minute ago is no lease. He is given CATCH_UP to be heard; then his task is taken up."""
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name))
    for fact in (peer(), holds(name), JOB, claim(JOB, name), manifest(JOB, name)):
        me.hear(BOB, fact, born=me.now - 60)
    assert started([effect for _, effect in me.run_until(100.0 + CATCH_UP - 0.001)]) == []
    assert started(me.tick(100.0 + CATCH_UP)) == [name]


def test_after_a_restart_what_others_still_say_counts() -> None:
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name))
    for fact in (peer(), holds(name), JOB, manifest(JOB, name)):
        me.hear(BOB, fact, born=me.now - 60)
    me.run_until(101.0)
    me.hear(BOB, claim(JOB, name))
    assert started([effect for _, effect in me.run_until(101.0 + LEASE - 0.001)]) == []


def test_a_guest_is_waited_for_by_nobody() -> None:
    me = Peer(entry("a"))
    me.hear(BOB, peer(guest=True))
    assert me.state.next_deadline() is None


def test_ranks_are_looked_at_again_when_weights_become_known() -> None:
    """Two peers that see different weights may each leave a task to the other: it must not stay so."""
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name))
    me.meet(BOB, name)
    me.hear(ME, peer())
    me.hear(CAROL, JOB)
    assert started(me.hear(BOB, manifest(JOB, name))) == []
    assert started(me.hear(ME, peer(cores=65536))) == [name]


def test_a_lost_store_makes_its_results_undone() -> None:
    """Bob did the task and lost his disk: his detections are gone, so the copy here counts again."""
    me = Peer(entry("a"))
    me.meet(BOB, "a")
    me.hear(CAROL, JOB)
    me.hear(BOB, outcomes(JOB, outcome(JOB, "a")))
    me.hear(BOB, manifest(JOB, "a"))
    me.run_until(me.now + 5)
    assert job_of(me).mine[task(JOB, "a")].status == "pending"
    assert started(me.handle(st.StoreLost(BOB, frozenset({JOB.id, order("other").id})))) == ["a"]


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


# ---- what is stated --------------------------------------------------------------------------------------------------


def test_what_a_full_disk_holds_back_is_not_the_last_word() -> None:
    """A file goes while nothing can be written down, and comes back before that is over."""
    me = Peer(entry("a"), entry("b"))
    me.hear(CAROL, JOB)
    me.run_until(me.now + 2)
    me.echo = False  # what is stated waits
    film = entry("b")
    me.handle(st.CatalogChanged((), ((film.source, film.name),)))
    me.handle(st.TaskReturned(task(JOB, "b")))
    me.run_until(me.now + 2)
    me.handle(st.CatalogChanged((film,)))
    me.run_until(me.now + 2)
    said = [fact for fact in me.stated if isinstance(fact, Manifest)]
    assert [len(fact.units) for fact in said] == [2, 1, 2]


def test_outcomes_are_batched_and_the_last_one_does_not_wait() -> None:
    """They wait SAY_OUTCOMES for company. With a claim they go at once and before it: what it names no longer must
    be known to have ended, or a holder of a copy would take it up.
    """
    me = Peer(*map(entry, "abcd"))
    me.hear(CAROL, JOB)
    assert end(me, "a", 100.1) == []
    assert end(me, "b", 100.2) == []
    assert me.state.next_deadline() == 100.1 + SAY_OUTCOMES
    assert me.tick(100.35) == [st.State(outcomes(JOB, outcome(JOB, "a"), outcome(JOB, "b")))]
    assert end(me, "c", 101.0) == [
        st.State(outcomes(JOB, outcome(JOB, "c"))),
        st.State(Claim(JOB.id, claim(JOB, "d").running, 30, 9, 1.0)),
    ]
    assert end(me, "d", 101.3) == [
        st.State(outcomes(JOB, outcome(JOB, "d"))),
        st.State(Claim(JOB.id, (), 40, 12, 1.3)),
    ]
    assert me.state.next_deadline() is None


def test_claims_come_once_a_second_while_there_is_news() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    for i in range(1, 30):
        me.handle(st.TaskProgressed(task(JOB, "a"), i, 2 * i), 100.0 + i / 10)
    claims = [fact for fact in me.stated if isinstance(fact, Claim)]
    assert [(c.analysed, c.detections, c.seconds) for c in claims] == [(0, 0, 0.0), (10, 20, 1.0), (20, 40, 2.0)]
    me.run_until(110.0)
    assert len([fact for fact in me.stated if isinstance(fact, Claim)]) == 4
    me.run_until(200.0)
    assert len([fact for fact in me.stated if isinstance(fact, Claim)]) == 4


def test_a_claim_of_an_earlier_run_is_corrected() -> None:
    """Two holders that were killed at the same task, each with a claim on it, must not wait for each other."""
    name = named(JOB, BOB, ME, BOB)
    me = Peer(entry(name), echo=False)
    me.handle(st.Connected(BOB))
    for origin in (BOB, ME):
        for fact in (peer(), JOB, claim(JOB, name), manifest(JOB, name)):
            me.hear(origin, fact, born=me.now - 60)
    me.run_until(me.now + 5)
    assert next(fact for fact in me.stated if isinstance(fact, Claim)) == Claim(JOB.id, (), 0, 0, 0.0)


def test_a_manifest_is_said_at_once_and_then_at_most_once_a_second() -> None:
    me = Peer(entry("a"))
    me.hear(CAROL, JOB)
    for i in range(5):
        me.handle(st.CatalogChanged((entry(f"n{i}"),)), 100.0 + (i + 1) / 10)
    said = [fact for fact in me.stated if isinstance(fact, Manifest)]
    assert [len(m.units) for m in said] == [1]
    me.run_until(100.0 + SAY_MANIFEST)
    said = [fact for fact in me.stated if isinstance(fact, Manifest)]
    assert [len(m.units) for m in said] == [1, 6]


def test_a_manifest_of_many_tasks_has_pages() -> None:
    """Each page a record of bounded size, over 2000 tasks; fewer tasks later make the later pages void."""
    me = Peer(*(entry(f"f{i}") for i in range(MAX_UNITS_A_PAGE + 1)), window=8)
    me.hear(CAROL, JOB)
    pages = [fact for fact in me.stated if isinstance(fact, Manifest)]
    assert [(p.page, p.pages, len(p.units)) for p in pages] == [(0, 2, MAX_UNITS_A_PAGE), (1, 2, 1)]
    assert max(len(encode(p)) for p in pages) < MAX_RECORD - 1024
    assert job_of(me).held[ME].keys() == {unit_of(t) for t in job_of(me).mine}
    gone = sorted(job_of(me).mine)[-2:]
    names = [job_of(me).mine[t].entry.name for t in gone if job_of(me).mine[t].status == "pending"]
    me.handle(st.CatalogChanged((), tuple(("cam", name) for name in names)), me.now + 5)
    assert job_of(me).held[ME].keys() == {unit_of(t) for t in job_of(me).mine}


def test_failures_with_long_explanations_fill_several_records() -> None:
    """What is stated must fit a record, whatever the errors say."""
    me = Peer(*(entry(f"f{i}") for i in range(MAX_OUTCOMES)), window=8000)
    me.hear(CAROL, JOB)
    for i in range(MAX_OUTCOMES):
        end(me, f"f{i}", done=False, error="\N{BROKEN HEART}" * 512)
    batches = [fact for fact in me.stated if isinstance(fact, Outcomes)]
    assert sum(len(b.outcomes) for b in batches) == MAX_OUTCOMES
    assert max(len(encode(b)) for b in batches) < MAX_RECORD - 1024


def test_next_deadline_is_when_there_is_something_to_do() -> None:
    """Ticks before it do nothing, and after all is done there is none."""
    me = Peer(entry("a"), entry("b"))
    me.meet(BOB, "a")
    me.hear(CAROL, JOB)
    while (deadline := me.state.next_deadline()) is not None and me.now < 200:
        before = len(me.stated)
        assert me.tick((me.now + deadline) / 2) == []
        effects = me.tick(deadline)
        assert effects or len(me.stated) > before
        for name in started(effects) or sorted(job_of(me).mine[t].entry.name for t in job_of(me).running):
            end(me, name)
    assert deadline is None
    assert all(mine.status == "ended" for mine in job_of(me).mine.values())


# ---- restart ---------------------------------------------------------------------------------------------------------


def test_after_a_restart_only_what_is_left_runs() -> None:
    """1. Own records are heard before the catalog is looked through: a job, a manifest of two, one outcome.
    2. The look finds the files one by one: until it is over the earlier manifest stands.
    3. The task that ended is not run again; the one whose file is gone leaves the manifest.
    """
    me = Peer()
    me.state.holdings.scanned = False
    for fact in (JOB, manifest(JOB, "a", "b", "gone", frames=30), outcomes(JOB, outcome(JOB, "a"))):
        me.hear(ME, fact, born=me.now - 60)
    assert started(me.handle(st.CatalogChanged((entry("a"),), complete=False))) == []
    assert started(me.handle(st.CatalogChanged((entry("b"),), complete=False), me.now + 3)) == ["b"]
    assert not [fact for fact in me.stated if isinstance(fact, Manifest)]
    me.handle(st.CatalogChanged(()))
    me.run_until(me.now + 2)
    assert [m for m in me.stated if isinstance(m, Manifest)] == [manifest(JOB, "a", "b", frames=20)]
    assert job_of(me).tally == (10, 3)


# ---- robustness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_duplicates_of_anything_are_harmless(seed: int) -> None:
    """The same stimuli once and twice: the same tasks started, the same end."""
    names = [f"f{i}" for i in range(6)]
    ends = []
    for times in (1, 2):
        rng = random.Random(seed)
        me = Peer(window=24)
        stimuli: list[st.Stimulus] = [
            st.Connected(BOB),
            st.Heard(BOB, peer(), 100.0),
            st.Heard(BOB, holds(*names[:3]), 100.0),
            st.Heard(CAROL, JOB, 100.0),
            st.Heard(BOB, manifest(JOB, *names[:3]), 100.0),
            st.Heard(BOB, claim(JOB, names[0]), 100.0),
            st.Heard(BOB, outcomes(JOB, outcome(JOB, names[1])), 100.0),
            st.CatalogChanged(tuple(map(entry, names))),
            st.CatalogChanged((), (("cam", names[5]),)),
            st.ModelsChanged({MODEL: ("person",)}),
            st.RoomChanged(True),
            st.Disconnected(BOB),
        ]
        rng.shuffle(stimuli)
        begun = []
        for stimulus in stimuli:
            for _ in range(times):
                begun += started(me.handle(stimulus))
        while me.state.running:
            name = job_of(me).mine[next(iter(me.state.running))].entry.name
            for _ in range(times):
                begun += started(end(me, name))
        begun += started([effect for _, effect in me.run_until(me.now + 60)])
        assert len(begun) == len(set(begun))
        ends.append(sorted(begun))
    assert ends[0] == ends[1]


def test_facts_that_outrun_their_job_are_kept_within_a_bound() -> None:
    me = Peer()
    for i in range(MAX_EARLY + 10):
        me.hear(BOB, Claim(order(f"n{i}").id, (), 0, 0, 0.0))
    assert len(me.state._early) == MAX_EARLY
    me.hear(CAROL, order(f"n{MAX_EARLY}"))
    assert BOB in me.state.jobs[order(f"n{MAX_EARLY}").id].claims
    assert len(me.state._early) == MAX_EARLY - 1


def test_many_jobs_and_many_entries_stay_cheap() -> None:
    """Generous bounds that only a cost per stimulus in proportion to everything would break."""
    names = [f"f{i}" for i in range(10_000)]
    me = Peer(*map(entry, names), echo=True)
    me.check = lambda: None  # type: ignore[method-assign]  # the checks themselves look at everything
    me.meet(BOB, *names)
    began = time.perf_counter()
    me.hear(CAROL, JOB)
    units = manifest(JOB, *names).units
    for page in range(5):
        me.hear(BOB, Manifest(JOB.id, page, 5, units[page * 2000 : (page + 1) * 2000]))
    for name in names[:3000:30]:
        me.hear(BOB, claim(JOB, name))
        me.hear(BOB, outcomes(JOB, outcome(JOB, name)))
    assert time.perf_counter() - began < 8
    began = time.perf_counter()
    for i in range(10_000):
        me.hear(
            CAROL, order(f"{i}", on={"name": "nothing"}) if i % 1000 == 0 else order(f"{i}", model="x", packed=b"?")
        )
    me.handle(st.Connected(PeerId("dave")))
    me.handle(st.Tick())
    assert time.perf_counter() - began < 8


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
