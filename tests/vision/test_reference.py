"""Boxes of real models on real pictures and footage, against a second decoding written for this test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from meshinfer.detect.detector import load_detector
from meshinfer.detect.preprocess import Image
from meshinfer.media.frames import open_frames
from meshinfer.model.detection import Box, Detection
from meshinfer.model.job import Detect, Sample
from tests.vision.reference import Found, Reference

PIXELS, SCORE = 0.02, 0.0002
"""Rounding to 2 and 4 decimals, and what float32 loses."""


@pytest.fixture(scope="module")
def pictures(assets: Path) -> list[Image]:
    """Frames of two videos, then photographs."""
    images = []
    for name, every in (("one-by-one-person.mp4", 100), ("car-detection.mp4", 100)):
        with open_frames(assets / "media" / name, "video", Sample(every=every), every, most=2) as frames:
            images += [frame.image for frame in frames]
    for path in sorted((assets / "coco" / "images").glob("*.jpg"))[:24]:
        image = cv2.imread(str(path))
        assert image is not None
        images.append(image)
    return images


@pytest.mark.parametrize(
    ("model", "most"), [("yolox_nano", 14), ("fastestdet", 14), ("yolov8n_int8", 9), ("yunet_n_320", 14)]
)
def test_boxes_are_those_of_the_reference(assets: Path, pictures: list[Image], model: str, most: int) -> None:
    path = assets / "models" / f"{model}.onnx"
    detector, reference = load_detector(path), Reference(path)
    run = detector.worker(Detect(min_score=0.1))
    compared = sum(
        compare(detector.card.classes, run(image), reference(image, min_score=0.1)) for image in pictures[:most]
    )
    assert compared > 25


def test_faces_are_those_of_opencv(assets: Path, pictures: list[Image]) -> None:
    """OpenCV decodes this model itself: its boxes on the same 320x320 pixels. (It suppresses by whole pixels.)"""
    path = assets / "models" / "yunet_n_320.onnx"
    detector = load_detector(path)
    assert detector.card.classes == ("face",)
    run, rival = (
        detector.worker(Detect(min_score=0.5, iou=1)),
        cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.5, 1),
    )
    compared = 0
    for image in pictures:
        height, width = image.shape[:2]
        ratio = min(320 / width, 320 / height)
        inner = cv2.resize(image, (round(width * ratio), round(height * ratio)))
        square = np.full((320, 320, 3), 114, np.uint8)
        square[: inner.shape[0], : inner.shape[1]] = inner
        _, faces = rival.detect(square)
        wanted = []
        for x, y, w, h, *_, score in faces if faces is not None else ():
            x0, y0, x1, y1 = (float(v) / ratio for v in (x, y, x + w, y + h))
            wanted.append(Found(0, float(score), (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))))
        compared += compare(detector.card.classes, run(image), wanted)
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
