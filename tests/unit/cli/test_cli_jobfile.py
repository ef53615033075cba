"""Job files from disk: YAML without YAML's surprises, bounded, with a line number for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.api.jobfile import MAX_JOB_FILE, load_job, parse_text
from meshinfer.errors import ConfigError
from meshinfer.model.job import Sample

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("file", sorted((ROOT / "configs/jobs").glob("*.yaml")), ids=lambda file: file.name)
def test_the_jobs_we_ship_are_valid(file: Path) -> None:
    spec, _ = load_job(str(file))
    assert spec.name == file.stem


def test_yaml_says_what_it_seems_to_say() -> None:
    labels = "{country: no, night: true, at: 12:30, floor: 3, gps: }"
    text = f"on: {{labels: {labels}}}\nfps: 2.5\nday: 2026-11-01\nhex: 0x1F\nbig: 1e3"
    assert parse_text(text, "f") == {
        "on": {"labels": {"country": "no", "night": True, "at": "12:30", "floor": 3, "gps": None}},
        "fps": 2.5,
        "day": "2026-11-01",
        "hex": "0x1F",
        "big": 1000.0,
    }


def test_json_is_read_as_json(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text('{"model": "m", "sample": {"fps": 2}}')
    assert load_job(str(file))[0].sample == Sample(fps=2)


def test_set_is_typed_as_yaml(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("model: m\nsample: {every: 3}\n")
    settings = ("sample={fps: 0.5}", "detect.classes=[person, car]", "name=2", "on.labels.site=no")
    with pytest.raises(ConfigError, match=r"\$\.name: expected text, got 2"):
        load_job(str(file), settings)
    spec, _ = load_job(str(file), (*settings, "name='2'"))
    assert (spec.sample, spec.detect.classes, spec.name) == (Sample(fps=0.5), ("person", "car"), "2")
    assert spec.on.labels == ("site=no",)
    for bad, said in (("fps", "expected key=value"), ("sample.fsp=1", "did you mean `fps`?"), ("on=[", "--set on:1")):
        with pytest.raises(ConfigError) as caught:
            load_job(str(file), (bad,))
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: m\n  on: x", "f:2:5: mapping values are not allowed here"),
        ("model: m\nmodel: n", "f:2:1: the key 'model' is given twice"),
        ("a: &x [1]\nb: *x", "f:2:4: aliases"),
        ("a: !!python/object:os.system x", "f:1:4: tags"),
        ("a: !!int x", "f:1:4: tags"),
        ("? [a]\n: b", "f:1:3: a key must be text"),
        ("[" * 20_000, "f: nested too deeply"),
        ("\x00", "f: no valid YAML"),
        ("---\na: 1\n---\nb: 2", "another document"),
    ],
)
def test_mistakes_have_a_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_text(text, "f")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xfe", "is no text file"),
        (b"a: b\n" * MAX_JOB_FILE, "too big"),
        (b"", "is no job file"),
        (b"- a", "is no job file"),
    ],
)
def test_files_that_are_none(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_job(str(file))
    assert said in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_job(str(tmp_path))


@given(st.text(st.sampled_from("abc:-[]{}?!&*|>'\"%@`#, \n\t0.1~<=é\x85"), max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        parse_text(text, "f")
    except ConfigError as e:
        assert str(e).startswith("f")  # noqa: PT017  valid YAML may come up as well
