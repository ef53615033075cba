"""Which output holds what, where there are several: by dtype, shape, name and values, since any one of them may lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from meshinfer.detect.layouts.probe import Array, Probe
from meshinfer.detect.layouts.scores import are_probabilities, within_unit

_NAMED = (
    ("detection_boxes", "detection_scores", "detection_classes", "num_detections"),
    ("det_boxes", "det_scores", "det_classes", "num_dets"),
)
"""Of TensorFlow's API, which puts out four more, and of EfficientNMS."""


class Rows(NamedTuple):
    """Places of the outputs of a model that writes finished detections."""

    boxes: int
    scores: int
    labels: int
    valid: int | None = None
    """How many of the rows count."""


def find_rows(probe: Probe) -> Rows | None:
    """Boxes [..., K, 4] with scores and labels [..., K], and how many of them count; None: not there, or ambiguous."""
    outputs = probe.outputs
    if probe.said.outputs:
        rows = Rows(*range(len(outputs))) if len(outputs) in (3, 4) else None
        return rows if rows and _belong(outputs, rows) else None
    called = [name.removesuffix(":0") for name in probe.called]  # as TensorFlow 1 writes them
    for names in _NAMED:
        if set(names) <= set(called):
            rows = Rows(*(called.index(name) for name in names))
            if _belong(outputs, rows):
                return rows
    candidates = [rows for rows in _by_shape(outputs) if _belong(outputs, rows)] if len(outputs) in (3, 4) else []
    settled = [rows for rows in candidates if _is_label(probe, rows.labels) and not _is_label(probe, rows.scores)]
    return settled[0] if len(settled) == 1 else None


def _by_shape(outputs: tuple[Array, ...]) -> Iterator[Rows]:
    places = range(len(outputs))
    for boxes in places:
        for scores in places:
            for labels in places:
                if len({boxes, scores, labels}) == 3:
                    left = set(places) - {boxes, scores, labels}
                    yield Rows(boxes, scores, labels, left.pop() if left else None)


def _belong(outputs: tuple[Array, ...], rows: Rows) -> bool:
    shape = outputs[rows.boxes].shape
    return (
        len(shape) in (2, 3)
        and shape[-1] == 4
        and (len(shape) == 2 or shape[0] == 1)
        and outputs[rows.scores].shape == outputs[rows.labels].shape == shape[:-1]
        and outputs[rows.scores].dtype == np.float32
        and (rows.valid is None or outputs[rows.valid].size == 1)
    )


def _is_label(probe: Probe, place: int) -> bool:
    values, name = probe.outputs[place], probe.called[place].lower()
    if values.dtype.kind in "iu":
        return True
    if "score" in name or "conf" in name:
        return False
    if "label" in name or "class" in name:
        return True
    return values.size > 0 and bool((values == np.round(values)).all()) and bool(values.max() > 1)


class Pair(NamedTuple):
    """Places of the outputs of a model with a box and raw scores per row."""

    boxes: int
    scores: int


def find_pair(probe: Probe) -> Pair | None:
    """Boxes [1, n, 4] and values [1, n, columns] of the same rows; None: not there, or ambiguous."""
    if len(probe.outputs) != 2:
        return None
    a, b = (o.shape for o in probe.outputs)
    if len(a) != 3 or len(b) != 3 or a[:2] != b[:2] or a[0] != 1 or 0 in (*a, *b):
        return None
    if probe.said.outputs:
        return Pair(0, 1) if a[2] == 4 else None
    if a[2] == b[2] == 4:
        boxy = [place for place, name in enumerate(probe.called) if "box" in name.lower()]
        if len(boxy) != 1:
            boxy = [place for place, output in enumerate(probe.outputs) if not are_probabilities(output)]
        if len(boxy) != 1:
            boxy = [place for place, output in enumerate(probe.outputs) if within_unit(output)]
        return Pair(boxy[0], 1 - boxy[0]) if len(boxy) == 1 else None
    if a[2] == 4:
        return Pair(0, 1)
    return Pair(1, 0) if b[2] == 4 else None
