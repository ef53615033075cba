"""How alike two sets of detections in the same frames are, where no truth is known: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from meshinfer.model.detection import Box, Detection

Found = Sequence[Sequence[Detection]]
"""The detections of each frame."""


class Agreement(Struct, frozen=True):
    share: float
    """Of the sure boxes of both sides, how many the other side has too; 1 where nobody found anything."""
    boxes: int
    """Sure boxes on the first side: with none, `share` says nothing."""
    score_shift: float = 0.0
    """Mean of score there minus score here, over the pairs."""
    box_shift: float = 0.0
    """The largest distance between the corners of a pair, in parts of the box's longer side."""


def agreement(here: Found, there: Found, *, sure: float = 0.3, slack: float = 0.1, iou: float = 0.5) -> Agreement:
    """Frame by frame. A box with a score of `sure` must have a partner on the other side: same class, an overlap
    of `iou`, and a score of at least `sure - slack`, so that a score that moves past a threshold is no disagreement.

    Raises ValueError where they differ in frames.
    """
    asked = shared = boxes = 0
    shifts: list[float] = []
    worst = 0.0
    for one, other in zip(here, there, strict=True):
        pairs = _pairs([d for d in one if d.score >= sure - slack], [d for d in other if d.score >= sure - slack], iou)
        mine, theirs = sum(d.score >= sure for d in one), sum(d.score >= sure for d in other)
        asked += mine + theirs
        boxes += mine
        for a, b in pairs:
            shared += (a.score >= sure) + (b.score >= sure)
            if max(a.score, b.score) >= sure:
                shifts.append(b.score - a.score)
                worst = max(worst, _shift(a.box, b.box))
    shift = sum(shifts) / len(shifts) if shifts else 0.0
    return Agreement(shared / asked if asked else 1.0, boxes, shift, worst)


def _pairs(one: Iterable[Detection], other: Iterable[Detection], iou: float) -> list[tuple[Detection, Detection]]:
    """Each box has one partner at most; the surest chooses first."""
    free: defaultdict[str, list[Detection]] = defaultdict(list)
    for detection in other:
        free[detection.label].append(detection)
    pairs = []
    for detection in sorted(one, key=lambda d: -d.score):
        rivals = free[detection.label]
        best = max(rivals, key=lambda d: overlap(detection.box, d.box), default=None)
        if best is not None and overlap(detection.box, best.box) >= iou:
            rivals.remove(best)
            pairs.append((detection, best))
    return pairs


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inner = width * height
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def _shift(a: Box, b: Box) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) / max(a[2] - a[0], a[3] - a[1], 1.0)
