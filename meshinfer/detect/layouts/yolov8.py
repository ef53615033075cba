"""YOLOv8, 9, 11 and 12: cxcywh in pixels and a score per class, one column (or row) per cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout, best_class, corners
from meshinfer.detect.layouts.probe import Array, Probe
from meshinfer.errors import ModelError


class YoloV8(Layout):
    name = "yolov8"
    shape = "[1, 4+classes, cells]"

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        shape = probe.output.shape
        return len(shape) == 3 and shape[0] == 1 and 5 <= shape[1] < shape[2]

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        return probe.strides(probe.output.shape[2]) is not None

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        largest = self._boxes(probe.output[0]).max()
        if 0 < largest <= 1:  # shares of the picture, as Ultralytics writes RT-DETR
            raise ModelError(
                f"puts out {probe.shapes}, in which no box goes beyond {largest:.2g}: those of {self.name} are in "
                "pixels of the input, and such as are in shares of it do not run"
            )

    def _boxes(self, output: Array) -> Array:
        return output[:4]

    def count_classes(self, probe: Probe) -> int:
        return int(probe.output.shape[1]) - 4

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        columns = outputs[0][0]
        # The maximum over rows that lie together in memory, first: what follows then works on a handful.
        columns = columns[:, columns[4:].max(axis=0) >= min_score]
        rows = np.ascontiguousarray(columns.T)
        scores, labels = best_class(rows[:, 4:])
        return Candidates(corners(rows[:, :2], rows[:, 2:4]), scores, labels)


class YoloV8Transposed(YoloV8):
    name = "yolov8-transposed"
    shape = "[1, cells, 4+classes]"

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        shape = probe.output.shape
        return len(shape) == 3 and shape[0] == 1 and 5 <= shape[2] < shape[1]

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """Its shape is also YOLOX's with one class less: the number of names settles it, or that of COCO."""
        shape = probe.output.shape
        return probe.strides(shape[1]) is not None and shape[2] - 4 == (probe.names or 80)

    def count_classes(self, probe: Probe) -> int:
        return int(probe.output.shape[2]) - 4

    def _boxes(self, output: Array) -> Array:
        return output[:, :4]

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        rows = outputs[0][0]
        rows = rows[rows[:, 4:].max(axis=1) >= min_score]
        scores, labels = best_class(rows[:, 4:])
        return Candidates(corners(rows[:, :2], rows[:, 2:4]), scores, labels)
