"""Average precision as COCO computes it (101 recalls, IoU 0.50 to 0.95), without its crowd and area rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.variants.agreement import Found, overlap
from meshinfer.model.detection import Box

THRESHOLDS = np.arange(0.5, 1.0, 0.05)
RECALLS = np.linspace(0, 1, 101)
PER_FRAME = 100
"""Detections of a class in one frame that count, the best ones: COCO's maxDets."""


class Truth(NamedTuple):
    label: str
    box: Box


def average_precision(found: Found, truth: Sequence[Sequence[Truth]]) -> float:
    """The mean over the classes that the truth holds; 0 where it holds none. Frames are paired by their position."""
    labels = sorted({t.label for frame in truth for t in frame})
    return float(np.mean([_of_class(label, found, truth) for label in labels])) if labels else 0.0


def _of_class(label: str, found: Found, truth: Sequence[Sequence[Truth]]) -> float:
    scores: list[float] = []
    hits: list[NDArray[np.bool_]] = []
    positives = 0
    for guesses, there in zip(found, truth, strict=True):
        boxes = [t.box for t in there if t.label == label]
        positives += len(boxes)
        taken = np.zeros((len(THRESHOLDS), len(boxes)), bool)
        for guess in sorted((d for d in guesses if d.label == label), key=lambda d: -d.score)[:PER_FRAME]:
            scores.append(guess.score)
            hits.append(_hit(np.array([overlap(guess.box, box) for box in boxes]), taken))
    if not scores:
        return 0.0
    ranked = np.array(hits)[np.argsort(-np.array(scores), kind="stable")]
    return float(np.mean([_area(ranked[:, i], positives) for i in range(len(THRESHOLDS))]))


def _hit(overlaps: NDArray[np.float64], taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """At which thresholds a guess finds a box that is free yet, the one it overlaps most; those are `taken` now."""
    hit = np.zeros(len(THRESHOLDS), bool)
    for i, threshold in enumerate(THRESHOLDS if len(overlaps) else ()):
        free = np.where(taken[i], -1.0, overlaps)
        if free.max() >= threshold:
            taken[i, free.argmax()] = hit[i] = True
    return hit


def _area(hits: NDArray[Any], positives: int) -> float:
    right = np.cumsum(hits)
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    at = np.searchsorted(right / positives, RECALLS)
    return float(np.mean(np.where(at < len(hits), precision[np.minimum(at, len(hits) - 1)], 0.0)))
