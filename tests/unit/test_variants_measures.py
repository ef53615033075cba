"""The two measures that decide whether a variant holds: agreement with the float model, and average precision."""

from __future__ import annotations

import random

import pytest

from meshinfer.detect.variants.agreement import agreement, overlap
from meshinfer.detect.variants.precision import Truth, average_precision
from meshinfer.model.detection import Box, Detection
from tests.vision import ap as reference

BOX: Box = (0.0, 0.0, 10.0, 10.0)
FAR: Box = (100.0, 100.0, 110.0, 110.0)


def one(score: float, box: Box = BOX, label: str = "person") -> Detection:
    return Detection(label, score, box)


@pytest.mark.parametrize(
    ("here", "there", "share"),
    [
        ([one(0.9)], [one(0.8)], 1.0),
        ([one(0.9)], [], 0.0),
        ([], [one(0.9)], 0.0),
        ([], [], 1.0),
        ([one(0.9)], [one(0.9, FAR)], 0.0),
        ([one(0.9)], [one(0.9, label="car")], 0.0),
        ([one(0.9), one(0.8, FAR)], [one(0.9)], 2 / 3),
        # A score that crosses the border is no disagreement; one that falls far below it is.
        ([one(0.32)], [one(0.25)], 1.0),
        ([one(0.32)], [one(0.15)], 0.0),
        ([one(0.25)], [], 1.0),
        # One partner each: a second box on the same object is one too many.
        ([one(0.9)], [one(0.9), one(0.8)], 2 / 3),
        # Overlap 0.5 counts, less does not.
        ([one(0.9)], [one(0.9, (0, 0, 10, 5))], 1.0),
        ([one(0.9)], [one(0.9, (0, 0, 10, 4.9))], 0.0),
    ],
)
def test_agreement(here: list[Detection], there: list[Detection], share: float) -> None:
    assert agreement([here], [there]).share == pytest.approx(share)
    assert agreement([there], [here]).share == pytest.approx(share)


def test_shifts_are_those_of_the_pairs() -> None:
    same = agreement([[one(0.9)], [one(0.6)]], [[one(0.8, (0, 0, 10, 9))], [one(0.6), one(0.9, FAR)]])
    assert (same.boxes, same.share) == (2, pytest.approx(4 / 5))
    assert same.score_shift == pytest.approx(-0.05)
    assert same.box_shift == pytest.approx(0.1)


def test_frames_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="zip"):
        agreement([[]], [])


def test_no_overlap() -> None:
    assert overlap(BOX, FAR) == overlap((0, 0, 0, 0), BOX) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_precision_is_that_of_an_independent_implementation(seed: int) -> None:
    chance = random.Random(seed)

    def box() -> Box:
        x, y = chance.uniform(0, 40), chance.uniform(0, 40)
        return (x, y, x + chance.uniform(5, 30), y + chance.uniform(5, 30))

    names = "abc"
    truth = [[Truth(chance.choice("ab"), box()) for _ in range(chance.randrange(5))] for _ in range(12)]
    truth[0].append(Truth("a", BOX))
    found = []
    for there in truth:
        near = [
            (t.label, round(chance.random(), 2), tuple(v + chance.uniform(-3, 3) for v in t.box))
            for t in there
            if chance.random() < 0.8
        ]
        wild = [(chance.choice(names), round(chance.random(), 2), box()) for _ in range(chance.randrange(3))]
        found.append([Detection(label, score, at) for label, score, at in near + wild])
    expected, _ = reference.average_precision(
        [[reference.Guess(names.index(d.label), d.score, d.box) for d in frame] for frame in found],
        [[reference.Truth(names.index(t.label), t.box) for t in frame] for frame in truth],
    )
    assert average_precision(found, truth) == pytest.approx(expected, abs=1e-9)


def test_without_truth_there_is_no_precision() -> None:
    assert average_precision([[one(0.9)]], [[]]) == 0.0
