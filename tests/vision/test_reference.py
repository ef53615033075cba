"""Boxes of real models on real pictures and footage, against a second decoding written for this test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from meshinfer.detect.detector import load_detector
from meshinfer.detect.preprocess import Image
from meshinfer.media.frames import open_frames
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect, Sample
from tests.vision.reference import Found, Reference

PIXELS, SCORE = 0.02, 0.0002
"""Rounding to 2 and 4 decimals, and what float32 loses."""


def pictures(assets: Path) -> list[Image]:
    images = []
    for path in sorted((assets / "coco" / "images").glob("*.jpg"))[:10]:
        image = cv2.imread(str(path))
        assert image is not None
        images.append(image)
    for name, every in (("one-by-one-person.mp4", 100), ("car-detection.mp4", 60)):
        with open_frames(assets / "media" / name, "video", Sample(every=every), start=every, max_frames=4) as frames:
            images += [frame.image for frame in frames]
    return images


@pytest.mark.parametrize("model", ["yolox_nano", "fastestdet", "yolov8n_int8"])
def test_boxes_are_those_of_the_reference(assets: Path, model: str) -> None:
    path = assets / "models" / f"{model}.onnx"
    detector, reference = load_detector(path), Reference(path)
    run = detector.worker(Detect())
    compared = sum(compare(detector.card.classes, run(image), reference(image)) for image in pictures(assets))
    assert compared > 50


def compare(classes: tuple[str, ...], found: Sequence[Detection], wanted: Sequence[Found]) -> int:
    """Returns how many boxes were compared. Equal scores may stand in any order, so both are sorted by all they hold."""
    ours = sorted((classes.index(d.label), -d.score, d.box) for d in found)
    theirs = sorted((f.label, -f.score, f.box) for f in wanted)
    assert [label for label, _, _ in ours] == [label for label, _, _ in theirs]
    for (_, score, box), (_, their_score, their_box) in zip(ours, theirs, strict=True):
        assert score == pytest.approx(their_score, abs=SCORE)
        assert box == pytest.approx(their_box, abs=PIXELS)
    return len(ours)
