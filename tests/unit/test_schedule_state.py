"""What a peer does with a job: one policy a test, exact effects."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from meshinfer.model.facts import Claim, Manifest
from meshinfer.model.ids import PeerId
from meshinfer.model.job import read_order
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.choice import CATCH_UP, SETTLE
from meshinfer.schedule.early import MAX_EARLY
from meshinfer.schedule.lease import LEASE
from meshinfer.schedule.verdict import on_job, on_spec
from tests.unit.scheduling import (
    BOB,
    CAROL,
    JOB,
    ME,
    MODEL,
    Peer,
    claim,
    end,
    entry,
    holds,
    job_of,
    manifest,
    named,
    order,
    outcome,
    outcomes,
    peer,
    started,
    task,
)

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
