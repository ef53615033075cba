"""NanoDet and PicoDet: the distance of each side of the box from its cell, as a distribution over a few steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout, grid
from meshinfer.detect.layouts.probe import Array, Floats, Probe
from meshinfer.detect.layouts.scores import Scoring, activated, within_unit
from meshinfer.detect.preprocess import Recipe
from meshinfer.detect.sidecar import Activation

_STEPS = 8
"""Per side: reg_max + 1 of every published configuration but those that write it into the shape."""
_ALL = (8, 16, 32, 64)


class _Head(NamedTuple):
    """Where the scores and distances of some cells lie: an output, and columns of it."""

    scores: tuple[int, slice]
    sides: tuple[int, slice]
    cells: int


class NanoDet(Layout):
    name = "nanodet"
    shape = "6 outputs: [1, cells, classes] and [1, cells, 4 x steps] for strides 8, 16, 32"
    recipe = Recipe(colour="bgr", scale=1.0, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395), fit="stretch")
    reads = frozenset({"activation", "strides"})
    strides: ClassVar[tuple[int, ...]] = (8, 16, 32)
    centre: ClassVar[float] = 0.5
    """Where in its cell a box is measured from."""

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return _split(probe, probe.said.strides or cls.strides) is not None

    def __init__(self, probe: Probe) -> None:
        self._strides = probe.said.strides or self.strides
        self._heads = self.heads(probe)
        super().__init__(probe)
        values = [probe.outputs[place][0, :, columns] for head in self._heads for place, columns in [head.scores]]
        told: Activation = "none" if all(within_unit(v) for v in values) else "sigmoid"
        self._scoring = Scoring(probe.said.activation or told)
        cells, stride = grid(probe.width, probe.height, self._strides)
        self._centres, self._stride = (cells + np.float32(self.centre)) * stride, stride
        self._size = np.array((probe.width, probe.height) * 2, np.float32)

    def heads(self, probe: Probe) -> tuple[_Head, ...]:
        heads = _split(probe, self._strides)
        assert heads is not None
        return heads

    def count_classes(self, probe: Probe) -> int:
        place, columns = self._heads[0].scores
        return int(probe.outputs[place][0, :1, columns].shape[1])

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        found, first = [], 0
        for head in self._heads:
            place, columns = head.scores
            kept, scores, labels = self._scoring.best(outputs[place][0, :, columns], min_score)
            place, columns = head.sides
            boxes = self._boxes(outputs[place][0, kept, columns], first + kept)
            found.append(Candidates(boxes, scores, labels))
            first += head.cells
        return Candidates.joined(found)

    def _boxes(self, values: Floats, cells: Array) -> Floats:
        shares = activated(values.reshape(len(values), 4, values.shape[1] // 4), "softmax")
        distances = (shares @ np.arange(shares.shape[2], dtype=np.float32)) * self._stride[cells]
        centres = self._centres[cells]
        boxes = np.concatenate((centres - distances[:, :2], centres + distances[:, 2:]), axis=1)
        # Within the picture before suppression, as they were trained and measured.
        return np.clip(boxes, 0, self._size)


class PicoDet(NanoDet):
    name = "picodet"
    shape = "8 outputs: [1, cells, classes] and [1, cells, 4 x steps] for strides 8, 16, 32, 64"
    strides = _ALL

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        if not probe.said.layout:
            self.notices = (
                *self.notices,
                'its shapes are also those of NanoDet-Plus: if it is one, say layout = "nanodet-plus"',
            )


class NanoDetPlus(NanoDet):
    """Its cells are measured from their top left corner."""

    name = "nanodet-plus"
    shape = "[1, cells, classes + 4 x steps] for strides 8, 16, 32, 64, or 8 outputs as of picodet"
    strides = _ALL
    centre = 0.0

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        strides = probe.said.strides or cls.strides
        return _joint(probe, strides) is not None or _split(probe, strides) is not None

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """Its scores come first and have left a sigmoid; distances go below 0 or beyond 1."""
        if (heads := _joint(probe, probe.said.strides or cls.strides)) is None:
            return False
        rows = probe.output[0]
        return within_unit(rows[:, heads[0].scores[1]]) and not within_unit(rows[:, heads[0].sides[1]])

    def heads(self, probe: Probe) -> tuple[_Head, ...]:
        return _joint(probe, self._strides) or super().heads(probe)


def _joint(probe: Probe, strides: tuple[int, ...]) -> tuple[_Head, ...] | None:
    """One output for all cells and columns; the names say how many of them are scores."""
    shape = probe.output.shape
    if len(shape) != 3 or shape[0] != 1 or shape[1] != probe.cells(strides):
        return None
    classes = probe.names or shape[2] - 4 * _STEPS
    sides = shape[2] - classes
    if classes < 1 or sides % 4 or not 8 <= sides <= 4 * 64:
        return None
    return (_Head((0, slice(0, classes)), (0, slice(classes, None)), shape[1]),)


def _split(probe: Probe, strides: tuple[int, ...]) -> tuple[_Head, ...] | None:
    """Two outputs per stride, paired by their lengths since names and order differ; None: not there, or ambiguous."""
    outputs = probe.outputs
    if len(outputs) != 2 * len(strides) or any(o.ndim != 3 or o.shape[0] != 1 for o in outputs):
        return None
    heads = []
    for stride in strides:
        cells = probe.cells((stride,))
        pair = [place for place, output in enumerate(outputs) if output.shape[1] == cells]
        sides = [place for place in pair if _may_be_sides(probe, place)]
        if len(pair) != 2 or not sides:
            return None
        if len(sides) == 2:  # as many classes as distances: scores have left a sigmoid
            sides = [place for place in sides if not within_unit(outputs[place])]
        if len(sides) != 1:
            return None
        scores = pair[1 - pair.index(sides[0])]
        heads.append(_Head((scores, slice(None)), (sides[0], slice(None)), cells))
    columns = {(outputs[h.scores[0]].shape[2], outputs[h.sides[0]].shape[2]) for h in heads}
    return tuple(heads) if len(columns) == 1 else None


def _may_be_sides(probe: Probe, place: int) -> bool:
    columns = probe.outputs[place].shape[2]
    return columns % 4 == 0 and 8 <= columns <= 4 * 64 and not within_unit(probe.outputs[place])
