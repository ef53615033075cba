"""Models that suppress by themselves: YOLOv10, YOLO26, and exports with nms=True."""

from __future__ import annotations

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Floats, Layout, Probe


class EndToEnd(Layout):
    name = "end-to-end"
    shape = "[1, up to 1000, 6]: xyxy, score, class"
    overlaps = False

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        shape = probe.output.shape
        return len(shape) == 3 and shape[2] == 6 and shape[1] <= 1000

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """A row per cell would be YOLOX with one class: then names or metadata must say otherwise."""
        return (
            probe.strides(probe.output.shape[1]) is None
            or probe.names not in (None, 1)
            or probe.metadata.get("end2end") == "True"
        )

    def count_classes(self, probe: Probe) -> int:
        """The file holds no number of classes: the names say it, or else it is taken for COCO's."""
        return probe.names or 80

    def decode(self, output: Floats, min_score: float) -> Candidates:
        rows = output[0]
        rows = rows[(rows[:, 4] >= min_score) & (rows[:, 5] >= 0) & (rows[:, 5] < self.classes)]
        return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))
