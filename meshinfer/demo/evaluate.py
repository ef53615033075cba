"""How good detections are against exact truth: recall and precision at one overlap, over all and by class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meshinfer.demo.truth import LABELS, Truth

Box = tuple[float, float, float, float]


class Prediction(Protocol):
    """What `score` needs to know of a detection; `box` is (x0, y0, x1, y1) in pixels of the frame."""

    @property
    def label(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def box(self) -> Box: ...


@dataclass(frozen=True, slots=True)
class Found:
    """A plain detection."""

    label: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over frames: truths asked for, how many of them were found, and detections that were wrong.

    A detection of something that is not asked for (see `Truth.counted`) is neither right nor wrong; one of a class that
    the truth does not know is wrong.
    """

    truths: int
    found: int
    wrong: int
    by_label: dict[str, Score] = field(default_factory=dict)

    @property
    def recall(self) -> float:
        """Found over asked for; 1 where nothing was asked for."""
        return self.found / self.truths if self.truths else 1.0

    @property
    def precision(self) -> float:
        """Right over all detections; 1 where there are none."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else 1.0


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    inner = width * height
    return inner / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - inner)


def _frame(predictions: Iterable[Prediction], truths: Sequence[Truth], iou: float) -> tuple[int, int, int]:
    """Truths, found and wrong of one class in one frame. The surest detection chooses first, as in Pascal VOC."""
    asked = [truth for truth in truths if truth.counted]
    spare = [truth for truth in truths if not truth.counted]
    free, wrong = list(asked), 0
    for prediction in sorted(predictions, key=lambda it: -it.score):
        best = max(free, key=lambda truth: overlap(prediction.box, truth.box), default=None)
        if best is not None and overlap(prediction.box, best.box) >= iou:
            free.remove(best)
        elif not any(_excused(prediction.box, truth.box, iou) for truth in spare):
            wrong += 1
    return len(asked), len(asked) - len(free), wrong


def _excused(box: Box, spare: Box, iou: float) -> bool:
    """Whether `box` is about something that is not asked for: it overlaps it, or lies within it for the most part."""
    width = max(0.0, min(box[2], spare[2]) - max(box[0], spare[0]))
    inner = width * max(0.0, min(box[3], spare[3]) - max(box[1], spare[1]))
    return overlap(box, spare) >= iou or inner >= iou * max(1e-9, (box[2] - box[0]) * (box[3] - box[1]))


def score(predictions: Sequence[Iterable[Prediction]], truths: Sequence[Sequence[Truth]], iou: float = 0.5) -> Score:
    """Score `predictions[i]` against `truths[i]` for every frame i; a detection counts for its own class only.

    Raises ValueError when the two differ in length.
    """
    if len(predictions) != len(truths):
        raise ValueError(f"{len(predictions)} frames of predictions for {len(truths)} frames of truth")
    frames = [(list(found), there) for found, there in zip(predictions, truths, strict=True)]
    by_label = {}
    for label in LABELS:
        counts = [
            _frame([one for one in found if one.label == label], [one for one in there if one.label == label], iou)
            for found, there in frames
        ]
        asked, right, wrong = (sum(row[place] for row in counts) for place in range(3))
        by_label[str(label)] = Score(asked, right, wrong)
    strangers = sum(one.label not in by_label for found, _ in frames for one in found)
    parts = by_label.values()
    return Score(
        truths=sum(part.truths for part in parts),
        found=sum(part.found for part in parts),
        wrong=sum(part.wrong for part in parts) + strangers,
        by_label=by_label,
    )
