"""What a person writes in a job file, and what each mistake is called."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.errors import ConfigError
from meshinfer.model.job import JobSpec, Sample
from meshinfer.model.jobfile import parse_moment, parse_on, parse_span, plain_spec, read_spec, set_value

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC).timestamp()


def test_the_smallest_job() -> None:
    assert read_spec({"model": "yolox_nano"}) == JobSpec(model="yolox_nano")


@pytest.mark.parametrize(
    ("labels", "plain"),
    [
        (["site=hamburg", "gps"], ("site=hamburg", "gps")),
        ("site=hamburg, floor in (1, 2)", ("site=hamburg", "floor in (1, 2)")),
        ({"site": "hamburg"}, ("site=hamburg",)),
        ({"site": ["hamburg", "rotterdam"], "gps": None}, ("site in (hamburg, rotterdam)", "gps")),
        ({"floor": 3, "night": True}, ("floor=3", "night=true")),
    ],
)
def test_labels_in_each_form(labels: object, plain: tuple[str, ...]) -> None:
    assert read_spec({"model": "m", "on": {"labels": labels}}).on.labels == plain


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("1.5h", 5400), ("60", 60)]
)
def test_spans(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds
    assert read_spec({"model": "m", "expires": text}).expires == seconds


@pytest.mark.parametrize(
    "text",
    ["2026-11-01", "2026-11-01T00:00", "2026-11-01T01:00+01:00", "2026-10-31T23:00:00-01:00", "2026-11-01 00:00Z"],
)
def test_moments_are_utc_unless_they_say(text: str) -> None:
    assert parse_moment(text) == NOVEMBER
    job = read_spec({"model": "m", "on": {"captured": {"after": text, "before": NOVEMBER + 1}}})
    assert job.on.captured is not None
    assert (job.on.captured.after, job.on.captured.before) == (NOVEMBER, NOVEMBER + 1)


def test_empty_keys_mean_their_defaults() -> None:
    assert read_spec({"model": "m", "sample": None, "detect": {"classes": "person"}}).sample == Sample()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "$.model: missing"),
        (["model"], "$: expected a mapping"),
        ({"modle": "m"}, "$.modle: unknown key; did you mean `model`?"),
        ({"model": ""}, "$.model: expected text of length >= 1, got ''"),
        ({"model": 5}, "$.model: expected text, got 5"),
        ({"model": "m", "sample": {"fsp": 1}}, "$.sample.fsp: unknown key; did you mean `fps`?"),
        ({"model": "m", "sample": {"fps": "fast"}}, "$.sample.fps: expected a number, got 'fast'"),
        ({"model": "m", "sample": {"fps": 0}}, "$.sample.fps: expected a number > 0"),
        (
            {"model": "m", "sample": {"every": "fram"}},
            "$.sample.every: 'fram' is not known here; did you mean `frame`?",
        ),
        ({"model": "m", "sample": {"every": 2, "fps": 1}}, "$.sample: give `every` or `fps`, not both"),
        ({"model": "m", "sample": "frame"}, "$.sample: expected a mapping, got 'frame'"),
        ({"model": "m", "scope": "all"}, "$.scope: 'all' is not known here; known are every, once"),
        ({"model": "m", "on": {"kind": "vdeo"}}, "$.on.kind: 'vdeo' is not known here; did you mean `video`?"),
        ({"model": "m", "on": {"labels": ["a b"]}}, "$.on.labels[0]: 'a b' is no label requirement"),
        ({"model": "m", "on": {"labels": {"a": {}}}}, "$.on.labels.a: expected text"),
        ({"model": "m", "on": {"labels": {"a": ["x,y"]}}}, "$.on.labels.a: values in a list cannot contain commas"),
        ({"model": "m", "on": {"captured": {"after": "yesterday"}}}, "$.on.captured.after: expected a time"),
        ({"model": "m", "on": {"captured": {"aftr": 1}}}, "$.on.captured.aftr: unknown key; did you mean `after`?"),
        ({"model": "m", "detect": {"min_score": 2}}, "$.detect.min_score: expected a number <= 1.0, got 2"),
        ({"model": "m", "detect": {"classes": ["a", 1]}}, "$.detect.classes[1]: expected text, got 1"),
        ({"model": "m", "expires": "soon"}, "$.expires: expected a time span"),
        ({"model": "m", "expires": "0s"}, "$.expires: expected a number >= 1"),
        ({"model": "m", 1: 2}, "$: every key must be text"),
        ({"model": "m", "detect": {"classes": ["c" * 60] * 1000}}, "too big to be passed on"),
    ],
)
def test_mistakes_are_named_by_their_path(raw: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_spec(raw, where="people.yaml")
    assert str(caught.value).startswith("people.yaml: ")
    assert said in str(caught.value)


def test_on_as_one_line() -> None:
    assert parse_on("kind=video, site=hamburg,name=*.mp4,floor in (1, 2),gps,after=2026-11-01") == {
        "kind": "video",
        "name": "*.mp4",
        "labels": ["site=hamburg", "floor in (1, 2)", "gps"],
        "captured": {"after": "2026-11-01"},
    }
    assert parse_on("") == {}
    with pytest.raises(ConfigError, match="`kind` is given twice"):
        parse_on("kind=video,kind=image")


def test_set_goes_down_and_makes_the_way() -> None:
    raw: dict[str, Any] = {"on": {"labels": ["a"]}}
    set_value(raw, "sample.fps", 2)
    set_value(raw, "on.kind", "video")
    assert raw == {"on": {"labels": ["a"], "kind": "video"}, "sample": {"fps": 2}}
    with pytest.raises(ConfigError, match=r"\$\.on\.labels is a list"):
        set_value(raw, "on.labels.site", "hamburg")
    with pytest.raises(ConfigError, match="dotted path"):
        set_value(raw, "sample..fps", 2)


_texts = st.text("abcz-_.09 ", min_size=1, max_size=12).filter(lambda t: bool(t.strip()))
_specs = st.fixed_dictionaries(
    {"model": _texts},
    optional={
        "name": _texts,
        "sample": st.one_of(
            st.fixed_dictionaries({"every": st.integers(1, 9)}), st.fixed_dictionaries({"fps": st.floats(0.1, 60)})
        ),
        "on": st.fixed_dictionaries(
            {},
            optional={
                "kind": st.sampled_from(["video", "image"]),
                "labels": st.dictionaries(
                    st.text("abc", min_size=1, max_size=4), st.one_of(st.none(), _texts.map(str.strip))
                ),
                "captured": st.fixed_dictionaries({"after": st.datetimes().map(str)}),
            },
        ),
        "scope": st.sampled_from(["once", "every"]),
        "expires": st.one_of(st.integers(1, 10**6), st.integers(1, 300).map(lambda n: f"{n}h")),
        "limits": st.fixed_dictionaries({"frames": st.integers(1, 99)}),
    },
)


@given(_specs)
def test_the_plain_form_reads_back(raw: dict[str, Any]) -> None:
    spec = read_spec(raw)
    assert read_spec(plain_spec(spec)) == spec


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["model", "on", "labels", "sample", "fps", "captured", "after", "expires", "x"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=12,
    )
)
def test_no_input_raises_anything_else(raw: object) -> None:
    try:
        read_spec(raw)
    except ConfigError as e:
        assert "job: " in str(e)  # noqa: PT017  a value that happens to be right may come back as well
