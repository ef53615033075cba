"""Two models in one pass: the second looks at what the first one found.

What the second says is a detection of its own in the same frame. A classifier's has the very box of the first one's
detection, so equal boxes belong together; a detector's boxes are moved into the frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from meshinfer.detect.detector import Detector, Worker
from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.layouts.layout import Candidates
from meshinfer.detect.pool import Lease
from meshinfer.detect.preprocess import Image
from meshinfer.detect.suppress import suppress
from meshinfer.errors import ModelError
from meshinfer.model.detection import MAX_DETECTIONS, Box, Detection
from meshinfer.model.ids import ModelDigest
from meshinfer.model.job import Detect, Then

MAX_CROPS = 64
"""Detections of one frame that the second model looks at, the best ones: each is a run of it. Those left out are
counted (`StagesWorker.left_out`)."""


class TwoStage(Detector):
    """Both models as one detector, whose card is the first one's. Equal ones have equal workers."""

    series = None

    def __init__(self, first: AnyDetector, second: AnyDetector, then: Then) -> None:
        """Raises ModelError where one of them looks at series."""
        for stage in (first, second):
            if stage.series is not None:
                name = stage.card.reference
                raise ModelError(f"{name} looks at series, and both models of a job with `then` look at pictures")
        self.card, self.first, self.second, self.then = first.card, first, second, then

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TwoStage) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    @property
    def _parts(self) -> tuple[AnyDetector, AnyDetector, Then]:
        return self.first, self.second, self.then

    def unknown_classes(self, names: Iterable[str]) -> str:
        return self.first.unknown_classes((*names, *self.then.of)) or self.second.unknown_classes(self.then.classes)

    def worker(self, detect: Detect, max_detections: int = MAX_DETECTIONS) -> Worker:
        """Raises ModelError for class names that the models do not know."""
        return StagesWorker(self, detect, max_detections)


class StagesWorker(Worker):
    """Frames to what both models see in them."""

    left_out = 0
    """Boxes of the last frame beyond MAX_CROPS."""

    def __init__(self, stages: TwoStage, detect: Detect, max_detections: int) -> None:
        then = stages.then
        self._then, self._limit = then, min(max_detections, MAX_DETECTIONS)
        self._first = stages.first.worker(detect, max_detections)
        self._second = stages.second.worker(Detect(then.classes, then.min_score, then.iou))
        self._whole = stages.second.card.layout == "classifier"

    def __call__(self, image: Image) -> tuple[Detection, ...]:
        """What both see in a BGR frame, best first; of equals the first one's come first. Raises ModelError."""
        first = self._first(image)
        looked_at = [d for d in first if not self._then.of or d.label in self._then.of]
        self.left_out = max(0, len(looked_at) - MAX_CROPS)
        seen: list[Detection] = []
        for d in looked_at[:MAX_CROPS]:
            x0, y0, x1, y1 = grown(d.box, self._then.margin, image.shape[1], image.shape[0])
            seen += [
                Detection(found.label, found.score, d.box if self._whole else _moved(found.box, x0, y0))
                for found in self._second(image[y0:y1, x0:x1])
            ]
        second = seen if self._whole else self._distinct(seen)
        kept = second if self._then.keep == "second" else [*first, *second]
        return tuple(sorted(kept, key=lambda d: -d.score)[: self._limit])

    def _distinct(self, seen: list[Detection]) -> list[Detection]:
        """What neighbouring crops show twice is one object."""
        names = {name: number for number, name in enumerate(dict.fromkeys(d.label for d in seen))}
        boxes = np.array([d.box for d in seen], np.float32).reshape(-1, 4)
        labels = np.array([names[d.label] for d in seen], np.int64)
        scores = np.array([d.score for d in seen], np.float32)
        # Rounded they come out of float32 as they went in: coordinates have two decimals, scores four.
        kept = suppress(Candidates(boxes, scores, labels), self._then.iou, len(seen))
        known = list(names)
        return [
            Detection(known[label], score, (x0, y0, x1, y1))
            for label, score, (x0, y0, x1, y1) in zip(
                kept.labels.tolist(),
                kept.scores.astype(np.float64).round(4).tolist(),
                kept.boxes.astype(np.float64).round(2).tolist(),
                strict=True,
            )
        ]


def grown(box: Box, margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Pixels x0, y0, x1, y1 of the part of a frame that a box covers, grown by a share of its size to each side; the
    last ones are not in it. There is always one pixel at least.
    """
    x0, y0, x1, y1 = box
    across, down = margin * (x1 - x0), margin * (y1 - y0)
    left, top = min(width - 1, max(0, int(x0 - across))), min(height - 1, max(0, int(y0 - down)))
    right, bottom = min(width, int(np.ceil(x1 + across))), min(height, int(np.ceil(y1 + down)))
    return left, top, max(left + 1, right), max(top + 1, bottom)


def _moved(box: Box, x: int, y: int) -> Box:
    return round(box[0] + x, 2), round(box[1] + y, 2), round(box[2] + x, 2), round(box[3] + y, 2)


class Source(Protocol):
    """Where models are had: a shelf."""

    def lease(self, *digests: ModelDigest, isolate: bool = False) -> Lease[tuple[AnyDetector, ...]]: ...


def lease_detector(
    source: Source, model: ModelDigest, then: Then | None = None, *, isolate: bool = False
) -> Lease[AnyDetector]:
    """What a job runs: one model, or two as one; both are held at once. Raises ModelError."""
    if then is None or then.digest is None:
        held = source.lease(model, isolate=isolate)
        return Lease(held.value[0], held.end)
    held = source.lease(model, then.digest, isolate=isolate)
    try:
        first, second = held.value
        return Lease(TwoStage(first, second, then), held.end)
    except ModelError:
        held.end()
        raise
