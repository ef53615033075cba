"""FastestDet: one grid of 16-pixel cells; the score is objectness^0.6 x class^0.4."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout, best_class, corners, grid
from meshinfer.detect.layouts.probe import Array, Probe
from meshinfer.detect.preprocess import Recipe

_STRIDE = 16


class FastestDet(Layout):
    name = "fastestdet"
    shape = "[1, 5+classes, height/16, width/16]"
    recipe = Recipe(colour="bgr", fit="stretch")

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        shape = probe.output.shape
        cells = (-(-probe.height // _STRIDE), -(-probe.width // _STRIDE))
        return len(shape) == 4 and shape[0] == 1 and shape[1] >= 6 and shape[2:] == cells

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        self._cells, _ = grid(probe.width, probe.height, (_STRIDE,))
        self._size = np.array((probe.width, probe.height), np.float32)

    def count_classes(self, probe: Probe) -> int:
        return int(probe.output.shape[1]) - 5

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        (output,) = outputs
        columns = output[0].reshape(output.shape[1], -1)
        objectness = np.maximum(columns[0], 0) ** np.float32(0.6)
        kept = np.flatnonzero(objectness >= min_score)
        rows = columns[:, kept].T
        best, labels = best_class(rows[:, 5:])
        scores = objectness[kept] * np.maximum(best, 0) ** np.float32(0.4)
        enough = scores >= min_score
        values = rows[enough, 1:5]
        centres = (np.tanh(values[:, :2]) + self._cells[kept[enough]]) * np.float32(_STRIDE)
        sizes = self._size / (1 + np.exp(-values[:, 2:]))
        return Candidates(corners(centres, sizes), scores[enough], labels[enough])
