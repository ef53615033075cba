"""Rows of a box, an objectness and a score per class: what YOLOv5, v7 and YOLOX have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.layouts.layout import Candidates, Layout, best_class, corners
from meshinfer.detect.layouts.probe import Array, Floats, Probe


class Objectness(Layout):
    def count_classes(self, probe: Probe) -> int:
        return int(probe.output.shape[2]) - 5

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        (output,) = outputs
        # Class scores are at most 1, so objectness alone rules out nearly every row.
        kept = np.flatnonzero(output[0, :, 4] >= min_score)
        rows = output[0, kept]
        scores, labels = best_class(rows[:, 5:])
        scores = scores * rows[:, 4]
        enough = scores >= min_score
        centres, sizes = self.boxes(rows[enough, :4], kept[enough])
        return Candidates(corners(centres, sizes), scores[enough], labels[enough])

    @abstractmethod
    def boxes(self, values: Floats, cells: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Centres and sizes in pixels of the input, from the first four values of the rows numbered `cells`."""


def shape_fits(probe: Probe, repeat: int) -> bool:
    """[1, cells x repeat, 5+classes]"""
    shape = probe.output.shape
    return (
        len(shape) == 3
        and shape[0] == 1
        and shape[2] >= 6
        and shape[1] % repeat == 0
        and probe.strides(shape[1] // repeat) is not None
    )
