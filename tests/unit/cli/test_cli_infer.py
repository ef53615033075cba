"""`meshinfer infer` on files: what it says of wrong ones, and that no picture is written over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from meshinfer.cli import app
from tests.unit.footage import write_image
from tests.vision.tiny_onnx import brightness_model

Infer = Callable[..., Result]


@pytest.fixture
def infer(tmp_path: Path) -> Infer:
    (tmp_path / "grey.onnx").write_bytes(brightness_model())
    fixed = ("infer", str(tmp_path / "grey.onnx"), "--home", str(tmp_path / "home"))
    return lambda *args: CliRunner().invoke(app, [*fixed, *map(str, args)])


def test_each_picture_is_drawn_under_its_name(infer: Infer, tmp_path: Path) -> None:
    first, second = write_image(tmp_path / "a.png"), write_image(tmp_path / "b.png", 220)
    done = infer(first, second, first, "--draw", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(a["drawn"]).name for a in answers] == ["a.jpg", "b.jpg", "a.jpg"]
    assert [d["label"] for a in answers for d in a["detections"]] == ["grey"] * 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.jpg", "b.jpg"]


def test_no_picture_is_written_over(infer: Infer, tmp_path: Path) -> None:
    """Neither itself nor another one, whatever way leads there."""
    png, jpg = write_image(tmp_path / "a.png"), write_image(tmp_path / "a.jpg")
    before = jpg.read_bytes()
    (tmp_path / "way").symlink_to(tmp_path)
    for pictures, folder in (((jpg,), tmp_path), ((png, jpg), tmp_path), ((jpg,), tmp_path / "way")):
        done = infer(*pictures, "--draw", folder)
        assert (done.exit_code, "would write over a.jpg itself" in done.stderr) == (2, True), done.output
    assert jpg.read_bytes() == before
    done = infer(png, jpg, "--draw", tmp_path / "out")
    assert (done.exit_code, "two of the pictures would be a.jpg" in done.stderr) == (2, True), done.output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("absent.jpg",), "absent.jpg: no such file; give the path of a picture"),
        ((".",), ".: is a folder; give the path of a picture"),
        (("absent.jpg", "--min-score", "7"), "7.0 is not in the range 0<=x<=1"),
    ],
)
def test_wrong_ones(infer: Infer, args: tuple[str, ...], says: str) -> None:
    done = infer(*args)
    assert (done.exit_code, says in done.stderr) == (2, True), done.output
