"""YOLOv5 and v7: three anchors per cell, decoded by the export or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.layouts.layout import Floats, Probe, grid
from meshinfer.detect.layouts.objectness import Objectness, shape_fits

_STRIDES = (8, 16, 32)
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
"""Pixels, per stride: those of YOLOv5's and YOLOv7-tiny's published configurations."""


class YoloV5(Objectness):
    name = "yolov5"
    shape = "[1, 3 x cells, 5+classes]"

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return shape_fits(probe, 3)

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """Pixels go up to the input's size; what was not decoded has just left a sigmoid."""
        return bool(probe.output[0, :, :4].max() > 2)

    def boxes(self, values: Floats, cells: NDArray[np.int64]) -> tuple[Floats, Floats]:
        return values[:, :2], values[:, 2:]


class YoloV5Undecoded(YoloV5):
    name = "yolov5-undecoded"
    shape = "[1, 3 x cells, 5+classes], all values 0 to 1; anchors of YOLOv5"

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return shape_fits(probe, 3) and probe.output.shape[1] == 3 * probe.cells(_STRIDES)

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        values = probe.output[0, :, :4]
        return bool(values.min() >= 0 and values.max() <= 1)

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        self._cells, self._strides = grid(probe.width, probe.height, _STRIDES, repeat=3)
        per_anchor = [probe.cells((s,)) for s in _STRIDES]
        self._anchors = np.concatenate(
            [np.repeat(np.array(a, np.float32), n, axis=0) for a, n in zip(ANCHORS, per_anchor, strict=True)]
        )

    def boxes(self, values: Floats, cells: NDArray[np.int64]) -> tuple[Floats, Floats]:
        centres = (values[:, :2] * 2 - 0.5 + self._cells[cells]) * self._strides[cells]
        return centres, (values[:, 2:] * 2) ** 2 * self._anchors[cells]
