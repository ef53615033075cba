"""Jobs: what is allowed, what they are called, and what becomes of those that are not understood."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.model.job import Detect, JobOrder, JobSpec, Limits, Sample, job_id, pack_spec, read_order, unpack_spec
from meshinfer.model.spans import frames_expected
from meshinfer.schedule.holdings import Holdings
from meshinfer.schedule.stimuli import CatalogChanged
from tests.unit.scheduling import MODEL, entry, order

ME = PeerId("me")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Sample, {"every": 0}),
        (Sample, {"every": "second"}),
        (Sample, {"every": 2.5}),
        (Sample, {"fps": 0}),
        (Sample, {"fps": -1}),
        (Sample, {"fps": float("nan")}),
        (Sample, {"fps": 1001}),
        (Sample, {"every": 2, "fps": 2}),
        (Sample, {"each": 1}),
        (Detect, {"min_score": 1.1}),
        (Detect, {"min_score": float("nan")}),
        (Detect, {"iou": 0}),
        (Detect, {"classes": [""]}),
        (Detect, {"classes": ["x" * 65]}),
        (Limits, {"frames": 0}),
        (Limits, {"seconds": 0}),
        (Limits, {"seconds": float("inf")}),
        (Limits, {"detections": 301}),
        (JobSpec, {}),
        (JobSpec, {"model": ""}),
        (JobSpec, {"model": "m", "scope": "twice"}),
        (JobSpec, {"model": "m", "expires": 0.5}),
        (JobSpec, {"model": "m", "expires": 367 * 86400}),
        (JobSpec, {"model": "m", "priority": 1}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: type, value: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, kind)


def test_a_spec_travels_as_what_it_says_beyond_the_defaults() -> None:
    spec = JobSpec("yolox", detect=Detect(classes=("person",)), sample=Sample(fps=2.0))
    assert unpack_spec(pack_spec(spec)) == spec
    assert pack_spec(spec) == pack_spec(unpack_spec(pack_spec(spec)))
    assert b"min_score" not in pack_spec(spec)


def test_a_job_id_covers_spec_model_and_nonce() -> None:
    spec, other = pack_spec(JobSpec("a")), pack_spec(JobSpec("b"))
    ids = {job_id(s, m, n) for s in (spec, other) for m in (MODEL, ModelDigest("6" * 64)) for n in (b"1" * 8, b"2" * 8)}
    assert len(ids) == 8
    known = order()
    assert known.is_genuine
    assert not JobOrder(known.id, known.spec, known.model, b"another nonce", 0.0).is_genuine
    assert JobOrder(known.id, known.spec, known.model, known.nonce, 5.0).is_genuine  # the date is for people


def test_work_is_what_is_computed() -> None:
    """Unit ids follow from it, so equal work of two jobs is done once: model, sampling, detection and limits count; who
    asked, when, under which name, for what and for how long does not. A fresh job shares nothing with any other.
    """
    a = read_order(order(name="one"), ME).work
    for other in (
        order("again"),
        order(name="two"),
        order(on={"kind": "video"}),
        order(scope="every", expires=60.0),
        order(isolate=True),
    ):
        assert read_order(other, PeerId("someone else")).work == a
    for other in (
        order(sample=Sample(every=2)),
        order(detect={"min_score": 0.3}),
        order(limits=Limits(frames=3)),
        order(fresh=True),
    ):
        assert read_order(other, ME).work != a
    assert read_order(order("1", fresh=True), ME).work != read_order(order("2", fresh=True), ME).work


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        b"\x80",
        msgspec.msgpack.encode({"model": "m", "zones": []}),
        msgspec.msgpack.encode({"model": "m", "scope": "some"}),
        msgspec.msgpack.encode({"model": "m", "on": {"labels": ["what is this?"]}}),
        msgspec.msgpack.encode({"model": "m", "sample": {"every": 2, "fps": 2.0}}),
        msgspec.msgpack.encode({"model": "m", "x" * 5000: 1}),
        b"\x82\xa5model\xa1m\xa2on" + b"\x91" * 10_000,
        b"\x81\xa5model\xa2\xff\xff",
    ],
)
def test_a_job_of_a_newer_version_is_unclear_never_an_exception(packed: bytes) -> None:
    info = read_order(JobOrder(job_id(packed, MODEL, bytes(8)), packed, MODEL, bytes(8), 0.0), ME)
    assert info.spec is None
    assert info.unclear.startswith("asks for something this version does not know: ")
    assert len(info.unclear) < 300
    assert info.name == "?"
    with pytest.raises(ValueError, match="has no work"):
        _ = info.work


@pytest.mark.parametrize(
    ("spec", "frames"),
    [
        ({}, 100),
        ({"sample": Sample(every=3)}, 34),
        ({"sample": Sample(every=1000)}, 1),
        ({"sample": Sample(fps=2.0)}, 20),
        ({"sample": Sample(fps=1000.0)}, 100),
        ({"limits": Limits(frames=7)}, 7),
        ({"limits": Limits(frames=7), "sample": Sample(every=50)}, 2),
    ],
)
def test_frames_expected_of_ten_seconds_at_ten_a_second(spec: dict[str, Any], frames: int) -> None:
    assert frames_expected(JobSpec("m", **spec), entry("a", frames=100)) == frames


def test_an_image_is_one_frame_whatever_the_sampling() -> None:
    image = entry("a", kind="image", frames=1, fps=0.0)
    assert frames_expected(JobSpec("m", sample=Sample(fps=2.0)), image) == 1
    assert frames_expected(JobSpec("m", sample=Sample(every=5)), image) == 1


def test_why_entries_are_skipped_fits_its_field() -> None:
    """Reasons quote requirements and labels of others: what is too long is cut, the commonest reason comes first."""
    holdings = Holdings()
    long = {"k" * 63: "v" * 255}
    files = [entry(f"f{i}", labels=long) for i in range(3)] + [entry("g", kind="image")]
    holdings.apply(CatalogChanged(tuple(files)))
    wants = f"{'k' * 63} in ({', '.join('x' * 20 for _ in range(14))})"
    spec = msgspec.convert({"model": "m", "on": {"kind": "video", "labels": [wants]}}, JobSpec)
    skipped = holdings.skipped(spec)
    assert [s.entries for s in skipped] == [3, 1]
    assert max(len(s.reason) for s in skipped) == 512
