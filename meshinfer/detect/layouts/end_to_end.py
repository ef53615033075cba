"""Finished rows, without overlaps: YOLOv10, YOLO26, YOLOv7 end to end, and exports with nms=True."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout
from meshinfer.detect.layouts.probe import Array, Probe


class EndToEnd(Layout):
    name = "end-to-end"
    shape = "[1, up to 1000, 6]: xyxy, score, class"
    overlaps = False

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        shape = probe.output.shape
        return len(shape) == 3 and shape[0] == 1 and shape[2] == 6 and shape[1] <= 1000

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """A row per cell would be YOLOX with one class: then names or metadata must say otherwise."""
        return (
            probe.strides(probe.output.shape[1]) is None
            or probe.names not in (None, 1)
            or probe.metadata.get("end2end") == "True"
        )

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        self.expects = ((1, None, 6),)

    def count_classes(self, probe: Probe) -> int:
        """The file holds no number of classes: the names say it, or else it is taken for COCO's."""
        return probe.names or 80

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        return self._rows(outputs[0][0], 0, 4, 5, min_score)

    def _rows(self, rows: Array, box: int, score: int, label: int, min_score: float) -> Candidates:
        """The number of a class that the model does not have is none of ours."""
        rows = rows[(rows[:, score] >= min_score) & (rows[:, label] >= 0) & (rows[:, label] < self.classes)]
        return Candidates(rows[:, box : box + 4], rows[:, score], rows[:, label].astype(np.int64))


class YoloV7EndToEnd(EndToEnd):
    name = "yolov7-end-to-end"
    shape = "[rows, 7]: picture, xyxy, class, score"

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return len(probe.output.shape) == 2 and probe.output.shape[1] == 7

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """[1, 7] could be seven scores: a row begins with the number of the only picture, and its class is whole."""
        rows = probe.output
        if probe.metadata.get("task") == "classify" or (len(rows) == 1 and probe.names == 7):
            return False
        return bool((rows[:, 0] == 0).all() and (rows[:, 5] == np.round(rows[:, 5])).all())

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        self.expects = ((None, 7),)

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        return self._rows(outputs[0], 1, 6, 5, min_score)
