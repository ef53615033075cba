"""A job of two models: what it is called, what a peer needs for it, and what is said where that is not so."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from meshinfer.errors import ConfigError
from meshinfer.model.facts import ModelRef, PeerFact
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.model.job import Canary, Detect, JobInfo, JobSpec, Then, pack_spec, read_order
from meshinfer.model.jobfile import plain_spec, read_spec
from meshinfer.schedule import stimuli as st
from meshinfer.schedule import verdict
from meshinfer.schedule.models import wrong_classes
from tests.unit.scheduling import CAROL, ME, MODEL, Peer, entry, order, peer, started

SECOND = ModelDigest("6" * 64)
THEN = Then("helmets", of=("person",), classes=("bare",), digest=SECOND)
JOB = order(then=THEN)
BOTH = {MODEL: ("person",), SECOND: ("bare", "red")}


def info(**spec: Any) -> JobInfo:
    return read_order(order(**spec), ME)


def job(me: Peer) -> verdict.Verdict:
    return verdict.on_job(me.state, me.state.jobs[JOB.id], me.now)


def having(models: dict[ModelDigest, tuple[str, ...]], series: tuple[str, ...] = (), **more: Any) -> Peer:
    me = Peer(entry("a"), **more)
    me.handle(st.ModelsChanged(models, series=frozenset(map(ModelDigest, series))))
    return me


def test_work_covers_the_second_model_and_all_its_rules() -> None:
    """Equal jobs share what is done, others do not."""
    alone, work = info().work, info(then=THEN).work
    assert info(then=replace(THEN, model="sha256:66666666"), name="other").work == work
    others = [
        info(then=replace(THEN, **change)).work
        for change in (
            {"digest": ModelDigest("7" * 64)},
            {"of": ()},
            {"classes": ("bare", "red")},
            {"min_score": 0.5},
            {"iou": 0.5},
            {"margin": 0.0},
            {"keep": "second"},
        )
    ]
    canary = Canary(ModelDigest("8" * 64), (PeerId("1" * 44),))
    others += [info(canary=canary).work, info(canary=canary, then=THEN).work, info(then=THEN, fresh=True).work]
    assert len({alone, work, *others}) == len(others) + 2


def test_a_job_without_a_second_model_is_packed_as_ever() -> None:
    assert b"then" not in pack_spec(JobSpec("yolox"))
    assert order().id == "1ef6b6e5064572e1"
    assert info().work == "1ae82bcc5a93c7d9261a79204e1ac965"


def test_the_second_model_is_part_of_the_job_s_id() -> None:
    assert JOB.is_genuine
    assert not replace(JOB, spec=order(then=replace(THEN, digest=MODEL)).spec).is_genuine


def test_a_second_model_that_is_not_pinned_is_not_understood() -> None:
    read = info(then=replace(THEN, digest=None))
    assert (read.spec, read.unclear) == (None, "names a second model (`then`) without its digest")


def test_it_runs_where_both_are() -> None:
    me = having(BOTH)
    assert len(started(me.hear(CAROL, JOB))) == 1


@pytest.mark.parametrize(
    ("models", "why"),
    [
        ({MODEL: ("person",)}, "the model helmets (666666666666) is not held here, and fetching is off here"),
        ({SECOND: ("bare",)}, "the model yolox (555555555555) is not held here, and fetching is off here"),
        ({**BOTH, SECOND: ("red",)}, "the model helmets knows no class 'bare'"),
        ({**BOTH, MODEL: ("car",)}, "the model yolox knows no class 'person'"),
    ],
)
def test_what_is_missing_is_named(models: dict[ModelDigest, tuple[str, ...]], why: str) -> None:
    me = having(models)
    assert started(me.hear(CAROL, JOB)) == []
    assert job(me).verdict == "declines"
    assert why in job(me).reason


@pytest.mark.parametrize(("model", "name"), [(MODEL, "yolox"), (SECOND, "helmets")])
def test_series_are_declined_as_either(model: ModelDigest, name: str) -> None:
    me = having(BOTH, series=(model,))
    assert started(me.hear(CAROL, JOB)) == []
    assert job(me).reason == f"the model {name} looks at series, and both models of a job with `then` look at pictures"


def test_both_are_fetched_and_nothing_starts_before() -> None:
    me = having({}, fetches=True)
    fetches = [effect.model for effect in me.hear(CAROL, JOB) if isinstance(effect, st.Fetch)]
    assert set(fetches) == {MODEL, SECOND}
    assert job(me).reason == f"yolox: no peer in reach has the model sha256:{MODEL[:12]}"
    me.handle(st.ModelsChanged({MODEL: BOTH[MODEL]}))
    assert not me.state.running
    fact: PeerFact = replace(peer(), name="carol", models=(ModelRef("h", SECOND),))
    me.hear(CAROL, fact)
    assert job(me).reason == "helmets: it has yet to fetch the model from carol"
    effects = me.handle(st.ModelsChanged(BOTH))
    assert [effect.model for effect in effects if isinstance(effect, st.Forgo)] == [SECOND]
    assert job(me).reason == ""
    assert me.state.models.in_use(me.now) == {MODEL, SECOND}


def test_a_refusal_of_either_is_the_reason() -> None:
    me = having({MODEL: ("person",)}, fetches=True)
    me.hear(CAROL, JOB)
    me.handle(st.FetchMoved(SECOND, trouble="nobody trusted signed it", refused=True))
    assert (job(me).verdict, job(me).reason) == ("declines", "nobody trusted signed it")


# ---- job files -------------------------------------------------------------------------------------------------------


def test_a_job_file_with_then() -> None:
    raw = {"model": "m", "detect": {"classes": "person"}, "then": {"model": "h", "of": "person", "classes": "bare"}}
    spec = read_spec(raw)
    assert spec == JobSpec("m", detect=Detect(("person",)), then=Then("h", of=("person",), classes=("bare",)))
    assert read_spec(plain_spec(spec)) == spec


@pytest.mark.parametrize(
    ("then", "says"),
    [
        ({}, r"\$\.then\.model: missing"),
        ({"model": "h", "digest": SECOND}, r"\$\.then\.digest: no key of a job"),
        ({"model": "h", "of": ["car"]}, r"\$\.then\.of: car is not among `detect\.classes`"),
        ({"model": "h", "margin": 2}, r"\$\.then\.margin"),
        ({"model": "h", "keep": "first"}, r"\$\.then\.keep"),
        ({"model": "h", "clases": ["a"]}, r"\$\.then\.clases: unknown key; did you mean `classes`"),
    ],
)
def test_what_makes_no_sense_is_named(then: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_spec({"model": "m", "detect": {"classes": ["person"]}, "then": then})


def test_wrong_classes_are_told_by_their_path() -> None:
    spec = JobSpec("m", detect=Detect(("person",)), then=Then("h", of=("person",), classes=("bare",)))
    assert wrong_classes(spec, "m", ("person",)) == ""
    assert wrong_classes(spec, "m", ("car",)).startswith("$.detect.classes: m knows no class 'person'")
    assert wrong_classes(replace(spec, detect=Detect()), "m", ("car",)).startswith(
        "$.then.of: m knows no class 'person'"
    )
    assert wrong_classes(spec, "h", ("red",), second=True).startswith("$.then.classes: h knows no class 'bare'")
    assert wrong_classes(spec, "h", ("bare",), second=True) == ""
