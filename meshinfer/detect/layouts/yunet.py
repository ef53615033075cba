"""YuNet: faces. Twelve outputs, four per stride: two scores, a box, and five points that are left aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout, corners, grid
from meshinfer.detect.layouts.probe import Array, Probe
from meshinfer.detect.preprocess import Recipe

_STRIDES = (8, 16, 32)


class _Head(NamedTuple):
    """Places of the outputs of one stride."""

    scores: tuple[int, int]
    """Both are multiplied: which is which does not matter."""
    boxes: int


class YuNet(Layout):
    name = "yunet"
    shape = "12 outputs: [1, cells, 1] twice, [1, cells, 4] and [1, cells, 10] for strides 8, 16, 32"
    recipe = Recipe(colour="bgr", scale=1.0, fit="top-left")
    usual = ("face",)

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return _heads(probe) is not None

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        heads = _heads(probe)
        assert heads is not None
        self._heads = tuple(
            (head, *grid(probe.width, probe.height, (s,))) for head, s in zip(heads, _STRIDES, strict=True)
        )

    def count_classes(self, probe: Probe) -> int:
        return 1

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        found = []
        for head, cells, stride in self._heads:
            a, b = (np.clip(outputs[place].ravel(), 0, 1) for place in head.scores)
            scores = np.sqrt(a * b)
            kept = np.flatnonzero(scores >= min_score)
            values = outputs[head.boxes][0, kept]
            centres = (values[:, :2] + cells[kept]) * stride[kept]
            # Sizes are logarithms: e^20 cells is beyond every picture, and below what overflows.
            sizes = np.exp(np.minimum(values[:, 2:], 20)) * stride[kept]
            found.append(Candidates(corners(centres, sizes), scores[kept], np.zeros(len(kept), np.int64)))
        return Candidates.joined(found)


def _heads(probe: Probe) -> tuple[_Head, ...] | None:
    """By length and number of columns, since names and order differ."""
    if len(probe.outputs) != 12:
        return None
    heads = []
    for stride in _STRIDES:
        cells = probe.cells((stride,))
        places = {columns: _places(probe, (1, cells, columns)) for columns in (1, 4, 10)}
        if [len(places[columns]) for columns in (1, 4, 10)] != [2, 1, 1]:
            return None
        first, second = places[1]
        heads.append(_Head((first, second), places[4][0]))
    return tuple(heads)


def _places(probe: Probe, shape: tuple[int, ...]) -> list[int]:
    return [place for place, output in enumerate(probe.outputs) if output.shape == shape]
