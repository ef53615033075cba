"""DETR and RF-DETR as they are published: raw scores and a box, in shares of the picture, per query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout, corners
from meshinfer.detect.layouts.probe import Array, Probe
from meshinfer.detect.layouts.roles import find_pair
from meshinfer.detect.layouts.scores import Scoring, are_probabilities, within_unit
from meshinfer.detect.preprocess import IMAGENET
from meshinfer.detect.sidecar import Activation

MAX_QUERIES = 1000


class Detr(Layout):
    name = "detr"
    shape = f"[1, up to {MAX_QUERIES}, columns] and boxes [1, as many, 4] as cxcywh of 0 to 1"
    recipe = IMAGENET
    pixels_guessed = "its pixels are taken as ImageNet's: say `scale`, `mean` and `std` if they are not"
    overlaps = False
    reads = frozenset({"activation", "background"})

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return find_pair(probe) is not None

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """Corners would have the second one right and below of the first in every row: then it is an SSD."""
        pair = find_pair(probe)
        assert pair is not None
        boxes = probe.outputs[pair.boxes][0]
        inside = ((boxes > -0.1) & (boxes < 1.1)).mean() > 0.95  # RF-DETR's go a little beyond
        return len(boxes) <= MAX_QUERIES and inside and not (boxes[:, 2:] >= boxes[:, :2]).all()

    def __init__(self, probe: Probe) -> None:
        pair = find_pair(probe)
        assert pair is not None
        self._pair = pair
        values = probe.outputs[pair.scores][0]
        columns = values.shape[1]
        activation = probe.said.activation or _activation(values, probe.names)
        softmax = activation == "softmax" or are_probabilities(values)
        spare = probe.names == columns - 1 or (softmax and probe.names != columns)
        self._scoring = Scoring(activation, probe.said.background or ("last" if spare else "none"))
        super().__init__(probe)
        self._size = np.array((probe.width, probe.height), np.float32)
        usual = probe.names == columns - (activation == "softmax")
        if not (probe.said.activation or usual):
            read = f"its scores are read with activation {activation} and background {self._scoring.background}"
            self.notices = (*self.notices, f"{read}: or else say `activation` and `background`")

    def count_classes(self, probe: Probe) -> int:
        return self._scoring.classes(probe.outputs[self._pair.scores].shape[2])

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        kept, scores, labels = self._scoring.best(outputs[self._pair.scores][0], min_score)
        boxes = outputs[self._pair.boxes][0, kept]
        return Candidates(corners(boxes[:, :2] * self._size, boxes[:, 2:] * self._size), scores, labels)


def _activation(values: Array, names: int | None) -> Activation:
    """Over grey, softmax says "nothing" in its last column nearly everywhere.

    A column more than there are names is no sign: RF-DETR's heads have one that nothing trains, before a sigmoid.
    """
    if within_unit(values):
        return "none"
    nothing = (values.argmax(axis=1) == values.shape[1] - 1).mean() > 0.5
    return "softmax" if nothing and values.shape[1] > 1 and names != values.shape[1] else "sigmoid"
