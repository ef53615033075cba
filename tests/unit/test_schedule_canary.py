"""Jobs under a roll-out: who runs what, tasks done once whatever they are done with, the evidence, and who ends it."""

from __future__ import annotations

from typing import Any

import pytest

from meshinfer.errors import ConfigError
from meshinfer.model.channel import Channel, Trial, Version, ended, placed, tried
from meshinfer.model.facts import PeerFact
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.model.job import Canary, Detect, JobOrder, JobSpec, job_id, pack_spec, read_order
from meshinfer.model.jobfile import read_spec
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.channels import Said
from meshinfer.schedule.evidence import gather
from meshinfer.schedule.rollout import LAST, STANDS, TURN, Watch, turn
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.tally import Tally
from tests.unit.scheduling import (
    MODEL,
    Peer,
    claim,
    entry,
    manifest,
    order,
    outcome,
    outcomes,
    started,
    task,
)

YARD = "yard:stable"
NEW = ModelDigest("6" * 64)
VERSION = Version(NEW, "yard@2")
ME, BOB, CAROL, DAVE = (PeerId(letter * 46) for letter in "MBCD")
"""As long as they are on the wire: specs name them."""


def under(*canaries: PeerId, nonce: str = "n", **spec: Any) -> JobOrder:
    """A job that names the channel while these try the candidate."""
    return order(nonce, model=YARD, canary=Canary(NEW, canaries) if canaries else None, **spec)


PLAIN, TRYING = under(), under(BOB)


# ---- what a job is pinned to -----------------------------------------------------------------------------------------


def test_each_peer_runs_what_the_order_says() -> None:
    info = read_order(TRYING, CAROL)
    assert [info.model_for(peer) for peer in (ME, BOB, CAROL)] == [MODEL, NEW, MODEL]
    assert {read_order(PLAIN, CAROL).model_for(peer) for peer in (ME, BOB)} == {MODEL}


def test_who_tries_what_is_part_of_the_job_s_id() -> None:
    others = (under(ME), under(BOB, CAROL), under())
    assert len({TRYING.id, *(other.id for other in others)}) == 4
    for other in others:
        assert not JobOrder(TRYING.id, other.spec, TRYING.model, TRYING.nonce, 0.0).is_genuine


def test_without_a_roll_out_a_job_is_as_it_was() -> None:
    """Bytes, ids and tasks of orders that know nothing of roll-outs."""
    spec = JobSpec("yolox")
    assert b"canary" not in pack_spec(spec)
    assert job_id(pack_spec(spec), MODEL, b"n-------") == order().id
    assert read_order(PLAIN, ME).work == read_order(order(), ME).work, "a channel is but a name of its model"


def test_equal_roll_outs_share_tasks_and_others_do_not() -> None:
    assert task(TRYING, "a") == task(under(BOB, nonce="other"), "a")
    assert len({task(job, "a") for job in (PLAIN, TRYING, under(ME), under(BOB, ME))}) == 4


def test_people_do_not_write_it() -> None:
    with pytest.raises(ConfigError, match=r"\$\.canary: no key of a job"):
        read_spec({"model": "m", "canary": {"model": NEW, "peers": [BOB]}})


# ---- tasks -----------------------------------------------------------------------------------------------------------


def test_a_canary_runs_the_candidate_where_it_can_and_else_does_its_work_all_the_same() -> None:
    me, info = Peer(entry("a"), me=ME), read_order(under(ME), BOB)
    assert me.state.models.runs(info) == MODEL
    assert started(me.hear(BOB, under(ME))) == ["a"]
    me.handle(st.ModelsChanged({MODEL: ("person",), NEW: ("person",)}))
    assert me.state.models.runs(info) == NEW
    asks = read_order(under(ME, detect=Detect(("cat",))), BOB)
    me.handle(st.ModelsChanged({MODEL: ("cat",), NEW: ("person",)}))
    assert me.state.models.runs(asks) == MODEL, "the candidate lacks a class"


def test_one_with_the_candidate_alone_takes_part_if_it_is_to_try_it() -> None:
    me = Peer(entry("a"), me=ME)
    me.handle(st.ModelsChanged({NEW: ("person",)}))
    assert started(me.hear(BOB, under(CAROL))) == []
    assert me.state.declines(read_order(under(CAROL), BOB)) is not None
    assert started(me.hear(BOB, under(ME))) == ["a"]


def test_a_canary_s_task_is_taken_over_with_the_own_model_and_done_once() -> None:
    """Bob tries the candidate and falls silent: this peer, which holds a copy, does it with the job's own model."""
    me = Peer(entry("a"), me=ME)
    me.meet(BOB, "a")
    me.hear(CAROL, TRYING)
    me.hear(BOB, manifest(TRYING, "a"))
    me.hear(BOB, claim(TRYING, "a"))
    me.handle(st.Disconnected(BOB))
    effects = [effect for _, effect in me.run_until(me.now + 30)]
    assert started(effects) == ["a"]
    assert me.state.models.runs(me.state.jobs[TRYING.id].info) == MODEL
    me.handle(st.TaskEnded(task(TRYING, "a"), outcome(TRYING, "a", digest="x")))
    me.run_until(me.now + 5)
    me.hear(BOB, outcomes(TRYING, outcome(TRYING, "a", digest="y")))
    job = me.state.jobs[TRYING.id]
    assert job.canonical(task(TRYING, "a")) is not None
    assert not job.disputed(task(TRYING, "a")), "two models, so two results"
    me.hear(BOB, outcomes(TRYING, outcome(TRYING, "a", digest="y", fallback="model")))
    assert job.disputed(task(TRYING, "a")), "one model, two results"


# ---- evidence --------------------------------------------------------------------------------------------------------

BEFORE = placed(None, YARD, Version(MODEL, "yard@1"), why="", stated=0.0)
CHANNEL = tried(BEFORE, Trial(VERSION, (BOB,), 100, 60.0), why="", stated=0.0)


def seen(*said: tuple[PeerId, JobOrder, dict[str, Any]]) -> Any:
    """Outcomes of a file each, at peers that hold it."""
    me = Peer(me=ME)
    names: dict[tuple[PeerId, str], list[tuple[str, dict[str, Any]]]] = {}
    jobs = {job.id: job for _, job, _ in said}
    for number, (peer, job, how) in enumerate(said):
        names.setdefault((peer, job.id), []).append((f"f{number}", how))
    for job in jobs.values():
        me.hear(CAROL, job)
    for (peer, job_name), files in names.items():
        job = jobs[job_name]  # type: ignore[index]  # a job's id
        me.hear(peer, manifest(job, *(name for name, _ in files)))
        me.hear(peer, outcomes(job, *(outcome(job, name, **how) for name, how in files)))
    return gather(CHANNEL, me.state.jobs.values())


def test_the_candidate_s_outcomes_and_the_others() -> None:
    again = under(BOB, nonce="again")
    found = seen(
        (BOB, TRYING, {"scores": (0, 0, 1, 2)}),
        (BOB, again, {"frames": 5, "detections": 1}),
        (BOB, TRYING, {"fallback": "model"}),
        (BOB, TRYING, {"done": False, "error_kind": "host"}),
        (BOB, TRYING, {"done": False, "error_kind": "input"}),
        (BOB, TRYING, {"fallback": "absent"}),
        (BOB, TRYING, {"reused": True}),
        (CAROL, TRYING, {}),
        (CAROL, PLAIN, {}),
        (CAROL, order(), {}),
    )
    assert found.canaries == {BOB: Tally(4, 2, 25, 7, 4.0 - 1.0, (0, 0, 1, 2, 0, 0, 0, 0))}
    assert found.rest == Tally(1, 0, 10, 3, 1.0)
    assert found.absent == 1


def test_what_a_canary_did_earlier_is_its_measure() -> None:
    """Under the same channel with the old model and the same rules: nothing else can be compared."""
    other_rules, other_trial = under(nonce="rules", detect=Detect(min_score=0.9)), under(BOB, CAROL)
    found = seen(
        (BOB, TRYING, {}),
        (BOB, PLAIN, {"frames": 7}),
        (BOB, other_rules, {}),
        (BOB, order("else", model="yolox"), {}),
        (BOB, other_trial, {"frames": 99}),
        (BOB, under(ME), {"frames": 30}),
        (CAROL, PLAIN, {}),
    )
    assert found.before == {BOB: Tally(2, 0, 37, 6, 2.0)}


def test_what_a_peer_says_anew_or_no_more_counts_so() -> None:
    me = Peer(me=ME)
    me.hear(CAROL, TRYING)
    me.hear(BOB, manifest(TRYING, "a"))
    jobs = me.state.jobs.values()
    for how, expected in [({"fallback": "model"}, (1, 1, 0)), ({"frames": 7}, (1, 0, 7)), ({"reused": True}, None)]:
        me.hear(BOB, outcomes(TRYING, outcome(TRYING, "a", **how)))
        found = [(t.tasks, t.errors, t.frames) for t in gather(CHANNEL, jobs).canaries.values()]
        assert found == ([expected] if expected else [])
    me.hear(BOB, outcomes(TRYING, outcome(TRYING, "a")))
    me.hear(DAVE, outcomes(TRYING, outcome(TRYING, "a")))
    assert gather(CHANNEL, jobs).rest.tasks == 0, "dave does not hold it"
    me.handle(st.StoreLost(BOB, frozenset({TRYING.id})))
    assert gather(CHANNEL, jobs).canaries == {}


# ---- who ends it -----------------------------------------------------------------------------------------------------


def fact(*, guest: bool = False) -> PeerFact:
    return PeerFact("p", {}, (), "1", 1, 1, guest=guest)


def test_everybody_has_a_turn_of_its_own() -> None:
    said, all_ = Said(BOB, CHANNEL, 0.0), [ME, BOB, CAROL, DAVE]
    turns = {peer: turn(said, peer, all_, [other for other in all_ if other != peer]) for peer in all_}
    assert turns[BOB] == 0
    assert sorted(turns.values()) == [0, 1, 2, 3]  # type: ignore[type-var]  # no None among them
    assert turn(said, ME, [BOB, CAROL], [BOB, CAROL]) is None, "a guest"
    assert turn(said, ME, all_, []) is None, "with nobody to agree with"
    assert turn(said, BOB, all_, []) == 0


def state_of(me: PeerId, *connected: PeerId) -> ScheduleState:
    state = ScheduleState(me)
    for peer in (ME, BOB, CAROL):
        state.handle(st.Heard(peer, fact(), 0.0), 0.0)
    for peer in connected:
        state.handle(st.Connected(peer), 0.0)
    state.handle(st.Heard(BOB, CHANNEL, 0.0), 0.0)
    return state


def stated(watch: Watch, until: float) -> tuple[float, Channel] | None:
    now = 0.0
    while now <= until:
        if found := watch.look(now, wall=0.0):
            return now, found[0]
        now += 1.0
    return None


def test_its_author_says_so_when_it_is_over_and_once() -> None:
    watch = Watch(state_of(BOB))
    found = stated(watch, 1000.0)
    assert found is not None
    assert found[0] == 60.0 + STANDS["lapse"]
    assert (found[1].move, found[1].generation) == ("lapse", CHANNEL.generation + 1)
    assert stated(watch, 1000.0) is None


def test_the_others_wait_much_longer_before_they_say_that_they_saw_little() -> None:
    watch = Watch(state_of(ME, CAROL))
    found = stated(watch, 5000.0)
    assert found is not None
    assert found[0] in (60.0 + STANDS["lapse"] + LAST + n * TURN for n in (1, 2))
    assert stated(Watch(state_of(ME)), 5000.0) is None, "alone it may be the one that is cut off"


def test_what_has_ended_is_not_ended_again() -> None:
    state = state_of(BOB)
    state.handle(st.Heard(CAROL, ended(CHANNEL, "promote", why="", stated=0.0), 0.0), 0.0)
    assert stated(Watch(state), 1000.0) is None
