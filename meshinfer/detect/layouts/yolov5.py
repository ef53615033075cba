"""YOLOv5 and v7: three anchors per cell, decoded by the export or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.layouts.layout import grid
from meshinfer.detect.layouts.objectness import Objectness, shape_fits
from meshinfer.detect.layouts.probe import Floats, Probe
from meshinfer.errors import ModelError

STRIDES = (8, 16, 32)
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
    reads = frozenset({"anchors", "strides"})

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        shape = probe.output.shape
        if probe.said.anchors or probe.said.strides:
            return len(shape) == 3 and shape[0] == 1 and shape[1] >= 1 and shape[2] >= 6
        return shape_fits(probe, 3) and shape[1] == 3 * probe.cells(STRIDES)

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        values = probe.output[0, :, :4]
        return bool(values.min() >= 0 and values.max() <= 1)

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        strides, anchors = probe.said.strides or STRIDES, probe.said.anchors or ANCHORS
        rows = sum(len(a) * probe.cells((s,)) for s, a in zip(strides, anchors, strict=False))
        if len(strides) != len(anchors) or rows != probe.output.shape[1]:
            raise ModelError(
                f"puts out {probe.output.shape[1]} rows; {len(strides)} strides with {len(anchors)} lists of `anchors` "
                f"make {rows}: say `strides` and `anchors` in its sidecar as it was trained"
            )
        grids = [grid(probe.width, probe.height, (s,), len(a)) for s, a in zip(strides, anchors, strict=True)]
        self._cells, self._strides = (np.concatenate(part) for part in zip(*grids, strict=True))
        self._anchors = np.concatenate(
            [
                np.repeat(np.array(a, np.float32), probe.cells((s,)), axis=0)
                for s, a in zip(strides, anchors, strict=True)
            ]
        )
        if not probe.said.anchors:
            self.notices = (*self.notices, "its anchors are not in the file: taken for YOLOv5's")

    def boxes(self, values: Floats, cells: NDArray[np.int64]) -> tuple[Floats, Floats]:
        centres = (values[:, :2] * 2 - 0.5 + self._cells[cells]) * self._strides[cells]
        return centres, (values[:, 2:] * 2) ** 2 * self._anchors[cells]
