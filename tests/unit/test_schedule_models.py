"""A job whose model lies elsewhere: it is asked for, others hear that nothing starts here yet, and why."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from meshinfer.model.facts import Cancel, Claim, Manifest, ModelRef, PeerFact
from meshinfer.model.job import read_order
from meshinfer.schedule import stimuli as st
from meshinfer.schedule import verdict
from meshinfer.schedule.choice import CATCH_UP
from meshinfer.schedule.models import MAX_REFUSALS
from tests.unit.scheduling import (
    BOB,
    CAROL,
    JOB,
    MODEL,
    Peer,
    end,
    entry,
    job_of,
    order,
    outcome,
    outcomes,
    peer,
    started,
)

SHORT = f"sha256:{MODEL[:12]}"


def lacking(*names: str, **more: Any) -> Peer:
    """Holds the footage and not the model, and may fetch it."""
    me = Peer(*map(entry, names), fetches=True, **more)
    me.handle(st.ModelsChanged({}))
    return me


def with_model(name: str) -> PeerFact:
    return replace(peer(), name=name, models=(ModelRef("m", MODEL),))


def asked(effects: list[st.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects if isinstance(effect, st.Fetch | st.Forgo)]


def why(me: Peer) -> str:
    return verdict.on_job(me.state, job_of(me), me.now).reason


def arrives(me: Peer) -> list[st.Effect]:
    return me.handle(st.ModelsChanged({MODEL: ("person",)}))


def test_it_is_asked_for_once_and_the_tasks_start_when_it_comes() -> None:
    me = lacking("a", "b")
    effects = me.hear(CAROL, JOB)
    assert asked(effects) == ["Fetch"]
    assert started(effects) == []
    again = order("again")
    assert asked(me.hear(CAROL, again)) == []
    effects = arrives(me)
    assert asked(effects) == ["Forgo"]
    assert started(effects) == ["a", "b"]


def test_what_lies_here_is_stated_at_once_and_that_nothing_starts() -> None:
    me = lacking("a", "b")
    me.hear(CAROL, JOB)
    claim, manifest = me.stated
    assert isinstance(claim, Claim)
    assert isinstance(manifest, Manifest)
    assert claim.deferred == f"no peer in reach has the model {SHORT}"
    assert len(manifest.units) == 2
    arrives(me)
    assert isinstance(me.stated[-1], Claim)
    assert me.stated[-1].deferred == ""


def test_what_is_not_needed_is_not_asked_for() -> None:
    assert asked(lacking().hear(CAROL, JOB)) == []
    assert asked(Peer(entry("a"), fetches=True).hear(CAROL, JOB)) == []
    off = Peer(entry("a"))
    off.handle(st.ModelsChanged({}))
    assert asked(off.hear(CAROL, JOB)) == []
    assert "fetching is off here ([models] fetch = false)" in why(off)


def test_it_is_let_go_of_when_the_job_is_over() -> None:
    me = lacking("a")
    me.hear(CAROL, JOB)
    assert asked(me.hear(CAROL, Cancel(JOB.id, "enough"))) == ["Forgo"]
    me = lacking("a")
    short = order(expires=60.0)
    me.hear(CAROL, short)
    assert ["Forgo"] in [asked([effect]) for at, effect in me.run_until(me.now + 61)]
    me = lacking("a")
    me.meet(BOB, "a")
    me.hear(CAROL, JOB)
    me.hear(BOB, me.stated[-1])  # the same manifest
    assert "Forgo" in asked(me.hear(BOB, outcomes(JOB, outcome(JOB, "a"))))


def test_a_verdict_says_how_far_it_is() -> None:
    me = lacking("a")
    me.hear(BOB, with_model("bob"))
    me.hear(CAROL, JOB)
    assert why(me) == "it has yet to fetch the model from bob"
    me.handle(st.FetchMoved(MODEL, 43, 100, (BOB,)))
    assert why(me) == "it fetches the model from bob: 43 %"
    me.handle(st.FetchMoved(MODEL, 43, 100, (), "the link broke"))
    assert why(me) == "it has yet to fetch the model from bob: the link broke"
    me.hear(BOB, replace(with_model("bob"), models=()))
    assert why(me) == f"no peer in reach has the model {SHORT}"


def test_a_spec_that_nobody_has_published_is_answered_too() -> None:
    me = lacking("a")
    me.hear(BOB, with_model("bob"))
    said = verdict.on_spec(me.state, read_order(JOB, CAROL))
    assert (said.verdict, said.reason, said.tasks) == ("runs", "it has yet to fetch the model from bob", 1)
    me.handle(st.ModelsChanged({}, {MODEL: "signed by a stranger"}))
    said = verdict.on_spec(me.state, read_order(JOB, CAROL))
    assert (said.verdict, said.reason, said.cause) == ("declines", "signed by a stranger", "model")


def test_others_hear_of_it_in_steps() -> None:
    me = lacking("a")
    me.hear(CAROL, JOB)
    before = len(me.stated)
    for got in range(100):
        me.handle(st.FetchMoved(MODEL, got, 100, (BOB,)), me.now + 2)
    said = [fact.deferred for fact in me.stated[before:]]
    assert len(said) == 10
    assert said[-1].endswith("90 %")


def test_what_is_refused_is_declined_until_somebody_brings_it_after_all() -> None:
    me = lacking("a")
    me.hear(CAROL, JOB)
    assert asked(me.handle(st.FetchMoved(MODEL, trouble="signed by mallory", refused=True), me.now + 5)) == []
    assert why(me) == "signed by mallory"
    assert not job_of(me).mine
    assert me.stated[-1] == Manifest(JOB.id, 0, 1, (), 0)
    me.handle(st.FetchMoved(MODEL, 0, 100, (BOB,)), me.now + 5)
    assert why(me).startswith("it fetches the model")
    arrives(me)
    assert started([effect for _, effect in me.run_until(me.now + CATCH_UP)]) == ["a"]


def test_a_refusal_is_checked_again_for_the_next_job_and_not_kept_for_ever() -> None:
    me = lacking("a")
    me.hear(CAROL, JOB)
    me.handle(st.FetchMoved(MODEL, trouble="signed by mallory", refused=True))
    assert asked(me.hear(CAROL, Cancel(JOB.id, "enough"))) == ["Forgo"]
    again = order("again")
    assert asked(me.hear(CAROL, again)) == ["Fetch"]
    assert not me.state.jobs[again.id].mine
    for n in range(MAX_REFUSALS + 1):
        other = replace(order(f"x{n}"), model=f"{n:064x}")
        me.state.models._under_way[other.model] = st.FetchMoved(other.model)
        me.state.models.moved(st.FetchMoved(other.model, trouble="no", refused=True))
    assert not me.state.models.refuses(MODEL)


def test_who_fetches_is_no_candidate_and_takes_what_is_left_when_it_has_it() -> None:
    """Copies lie at both: bob has the model, so all of it is his, whoever comes first in rank."""
    bob = Peer(entry("a"), entry("b"), me=BOB, fetches=True)
    me = lacking("a", "b")
    bob.meet(me.state.me, "a", "b")
    me.meet(BOB, "a", "b")
    bob.hear(CAROL, JOB)
    me.hear(CAROL, JOB)
    effects = [effect for fact in me.stated for effect in bob.hear(me.state.me, fact)]
    effects += [effect for _, effect in bob.run_until(bob.now + 5)]
    assert started(effects) == ["a", "b"]
    for fact in bob.stated:
        me.hear(BOB, fact)
    end(bob, "a")
    bob.run_until(bob.now + 1)
    for fact in bob.stated:
        me.hear(BOB, fact)
    assert started(arrives(me)) == []
    assert [effect for _, effect in me.run_until(me.now + CATCH_UP + 1) if isinstance(effect, st.Start)] == []


def test_a_model_that_goes_is_asked_for_again() -> None:
    me = Peer(entry("a"), entry("b"), fetches=True, window=8)
    assert started(me.hear(CAROL, JOB)) == ["a"]
    assert asked(me.handle(st.ModelsChanged({}))) == ["Fetch"]
    end(me, "a")
    assert not me.state.running
    assert asked(arrives(me)) == ["Forgo"]


def test_a_peer_that_is_forgotten_holds_nothing() -> None:
    me = lacking("a")
    me.hear(BOB, with_model("bob"))
    assert list(me.state.models.holders[MODEL]) == [BOB]
    me.handle(st.PeerForgotten(BOB))
    assert not me.state.models.holders
