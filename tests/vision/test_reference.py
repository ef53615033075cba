"""Boxes of real models on real pictures and footage, against a second decoding written for this test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from meshinfer.detect.detector import load_detector
from meshinfer.detect.preprocess import Image
from meshinfer.media.frames import open_frames
from meshinfer.model.detection import Box, Detection
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
        with open_frames(assets / "media" / name, "video", Sample(every=every), every, most=4) as frames:
            images += [frame.image for frame in frames]
    return images


@pytest.mark.parametrize("model", ["yolox_nano", "fastestdet", "yolov8n_int8"])
def test_boxes_are_those_of_the_reference(assets: Path, model: str) -> None:
    path = assets / "models" / f"{model}.onnx"
    detector, reference = load_detector(path), Reference(path)
    run = detector.worker(Detect(min_score=0.1))
    compared = sum(
        compare(detector.card.classes, run(image), reference(image, min_score=0.1)) for image in pictures(assets)
    )
    assert compared > 50


def compare(classes: tuple[str, ...], found: Sequence[Detection], wanted: Sequence[Found]) -> int:
    """Every detection has its counterpart, and none is left over. Returns how many there are."""
    left = list(wanted)
    for d in found:
        same = [f for f in left if classes[f.label] == d.label and abs(f.score - d.score) <= SCORE]
        nearest = min(same, key=lambda f: distance(f.box, d.box), default=None)
        assert nearest is not None, f"no counterpart of {d}"
        assert distance(nearest.box, d.box) <= PIXELS, f"{d} is {nearest}"
        left.remove(nearest)
    assert left == []
    return len(found)


def distance(a: Box, b: Box) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))
