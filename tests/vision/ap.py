"""Average precision as COCO computes it (101 recalls, IoU 0.50 to 0.95), without its crowd and area rules."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.model.detection import Box
from meshinfer.model.job import Detect

THRESHOLDS = np.arange(0.5, 1.0, 0.05)
_RECALLS = np.linspace(0, 1, 101)
_PER_IMAGE = 100


class Truth(NamedTuple):
    label: int
    box: Box


class Guess(NamedTuple):
    label: int
    score: float
    box: Box


def average_precision(guesses: Sequence[Sequence[Guess]], truths: Sequence[Sequence[Truth]]) -> tuple[float, float]:
    """AP and AP50 over images paired by their position: the mean over the classes that the truth holds."""
    labels = sorted({t.label for image in truths for t in image})
    per_class = np.array([_of_class(label, guesses, truths) for label in labels])
    return float(per_class.mean()), float(per_class[:, 0].mean())


def _of_class(label: int, guesses: Sequence[Sequence[Guess]], truths: Sequence[Sequence[Truth]]) -> list[float]:
    scores: list[float] = []
    hits: list[NDArray[np.bool_]] = []
    positives = 0
    for image_guesses, image_truths in zip(guesses, truths, strict=True):
        there = [t.box for t in image_truths if t.label == label]
        positives += len(there)
        # sorted() is stable, and cut to the best of the class: COCO's maxDets.
        said = sorted((g for g in image_guesses if g.label == label), key=lambda g: -g.score)[:_PER_IMAGE]
        taken = np.zeros((len(THRESHOLDS), len(there)), bool)
        overlaps = _overlaps([g.box for g in said], there)
        for guess, row in zip(said, overlaps, strict=True):
            hit = np.zeros(len(THRESHOLDS), bool)
            for i, threshold in enumerate(THRESHOLDS):
                free = np.where(taken[i], -1.0, row)
                if len(free) and free.max() >= threshold:
                    taken[i, free.argmax()] = hit[i] = True
            scores.append(guess.score)
            hits.append(hit)
    if not scores:
        return [0.0] * len(THRESHOLDS)
    matrix = np.array(hits)[np.argsort(-np.array(scores), kind="stable")]
    return [_area(matrix[:, i], positives) for i in range(len(THRESHOLDS))]


def _area(hits: NDArray[np.bool_], positives: int) -> float:
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / positives, _RECALLS)
    return float(np.mean(np.where(at < len(hits), precision[np.minimum(at, len(hits) - 1)], 0.0)))


def _overlaps(a: Sequence[Box], b: Sequence[Box]) -> NDArray[np.float64]:
    left, right = np.array(a, float).reshape(-1, 1, 4), np.array(b, float).reshape(1, -1, 4)
    sides = np.minimum(left[..., 2:], right[..., 2:]) - np.maximum(left[..., :2], right[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    area = (left[..., 2:] - left[..., :2]).prod(-1) + (right[..., 2:] - right[..., :2]).prod(-1)
    result: NDArray[np.float64] = shared / (area - shared + 1e-9)
    return result


def guesses_of(detector: Detector, min_score: float = 0.001) -> Callable[[NDArray[np.uint8]], list[Guess]]:
    run = detector.worker(Detect(min_score=min_score))
    return lambda image: [Guess(detector.card.classes.index(d.label), d.score, d.box) for d in run(image)]


def ap_on_coco(
    guess: Callable[[NDArray[np.uint8]], list[Guess]], coco: Path, limit: int | None = None
) -> tuple[float, float]:
    """AP and AP50 of COCO-80 classes over the labelled images of `coco`, the first `limit` of them by name."""
    guesses, truths = [], []
    for path in sorted((coco / "images").glob("*.jpg"))[:limit]:
        image = cv2.imread(str(path))
        assert image is not None
        guesses.append(guess(image.astype(np.uint8)))
        truths.append(_read_truth(coco / "labels" / f"{path.stem}.txt", image.shape[1], image.shape[0]))
    return average_precision(guesses, truths)


def _read_truth(path: Path, width: int, height: int) -> list[Truth]:
    truths = []
    for line in path.read_text().splitlines() if path.exists() else []:
        label, x, y, w, h = (float(v) for v in line.split())
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        truths.append(Truth(int(label), box))
    return truths


if (
    __name__ == "__main__"
):  # python -m tests.vision.ap MODEL.onnx ...: on all of the pictures, as docs/MODELS.md says it
    for file in map(Path, sys.argv[1:]):
        ap, ap50 = ap_on_coco(guesses_of(load_detector(file)), Path(os.environ["MESHINFER_ASSETS"]) / "coco")
        print(f"{file.stem}: AP {ap:.3f} AP50 {ap50:.3f}")
