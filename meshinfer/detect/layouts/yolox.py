"""YOLOX: one box per cell, as offsets from the cell (how it is published) or decoded into pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.layouts.layout import grid
from meshinfer.detect.layouts.objectness import Objectness, shape_fits
from meshinfer.detect.layouts.probe import Floats, Probe
from meshinfer.detect.preprocess import Recipe

_RECIPE = Recipe(colour="bgr", scale=1.0, fit="top-left")


class YoloX(Objectness):
    name = "yolox"
    shape = "[1, cells, 5+classes], offsets from the cells"
    recipe = _RECIPE

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return shape_fits(probe, 1)

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """Offsets stay within a few cells; centres in pixels reach across the picture."""
        return bool(probe.output[0, :, 0].max() < probe.width / 2)

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        strides = probe.strides(probe.output.shape[1])
        assert strides is not None
        self._cells, self._strides = grid(probe.width, probe.height, strides)

    def boxes(self, values: Floats, cells: NDArray[np.int64]) -> tuple[Floats, Floats]:
        strides = self._strides[cells]
        # Sizes are logarithms: e^20 cells is beyond every picture, and below what overflows.
        return (values[:, :2] + self._cells[cells]) * strides, np.exp(np.minimum(values[:, 2:], 20)) * strides


class YoloXDecoded(Objectness):
    name = "yolox-decoded"
    shape = "[1, cells, 5+classes], pixels"
    recipe = _RECIPE

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return shape_fits(probe, 1)

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        if not probe.said.layout and probe.names != self.classes and self.classes != 80:
            other = 'if it has none, say layout = "yolov8-transposed"'
            self.notices = (*self.notices, f"its fifth column is taken for objectness: {other}")

    def boxes(self, values: Floats, cells: NDArray[np.int64]) -> tuple[Floats, Floats]:
        return values[:, :2], values[:, 2:]
