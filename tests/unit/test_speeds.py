"""How fast models are, as peers tell each other: coarse, and only when it is news."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshinfer.cli.peers import _model
from meshinfer.detect.variants.tuning import Book, Machine
from meshinfer.model.ids import ModelDigest
from meshinfer.model.speed import MAX_CLASS, fps_class
from meshinfer.node.speeds import ENOUGH, MODELS, Meter, Speeds

M = ModelDigest("a" * 64)


@pytest.mark.parametrize(
    ("fps", "before", "expected"),
    [
        (0.0, 0, 0),
        (float("nan"), 8, 8),
        (0.01, 0, 1),
        (1.0, 0, 1),
        (50.0, 0, 64),
        (44.0, 0, 32),
        (1e12, 0, MAX_CLASS),
        # A measure near the border does not go back and forth.
        (50.0, 32, 32),
        (44.0, 64, 64),
        (60.0, 32, 64),
        (30.0, 64, 32),
    ],
)
def test_classes(fps: float, before: int, expected: int) -> None:
    assert fps_class(fps, before) == expected


def test_the_meter_speaks_after_enough_frames_and_forgets_the_oldest_model() -> None:
    meter = Meter(workers=4)
    for _ in range(ENOUGH - 1):
        meter.note(M, 0.1)
    assert meter.fps() == {}
    meter.note(M, 99.0)  # one hiccup
    assert meter.fps() == {M: pytest.approx(40.0)}
    for n in range(MODELS):
        meter.note(ModelDigest(f"{n:064x}"), 0.1)
    assert meter.fps() == {}


async def test_a_new_class_is_told_and_kept(tmp_path: Path) -> None:
    book = Book(tmp_path, Machine("1", (), "", 1))
    meter = Meter(workers=2)
    told: list[dict[ModelDigest, int]] = []
    speeds = Speeds(book, meter, lambda: told.append(dict(speeds.classes)))
    await speeds.load([M])
    await speeds.look()
    assert told == []
    for _ in range(ENOUGH):
        meter.note(M, 0.1)
    await speeds.look()
    await speeds.look()
    assert told == [{M: 16}]
    later = Speeds(book, Meter(2), lambda: None)
    await later.load([M])
    assert later.classes == {M: 16}


def test_people_read_it_beside_the_model() -> None:
    assert _model({"name": "yard", "version": "2", "fps": 64}) == "yard@2 ~64/s"
    assert _model({"name": "yard", "version": "", "fps": 0}) == _model({"name": "yard"}) == "yard"
