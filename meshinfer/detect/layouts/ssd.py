"""SSD and its kin: thousands of rows with a score per class, of which the first means background, and a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout, corners, grid
from meshinfer.detect.layouts.probe import Array, Floats, Probe
from meshinfer.detect.layouts.roles import find_pair
from meshinfer.detect.layouts.scores import Scoring, are_probabilities, within_unit
from meshinfer.detect.preprocess import Recipe
from meshinfer.errors import ModelError

_VARIANCES = (np.float32(0.1), np.float32(0.2))
"""Of centres and sizes: those of the paper's code, which everyone kept."""


class Ssd(Layout):
    name = "ssd"
    shape = "[1, rows, 1+classes] and boxes [1, as many, 4] as xyxy, or relative to `anchors` of the sidecar"
    recipe = Recipe(scale=1.0, mean=(127.0,) * 3, std=(128.0,) * 3, fit="stretch")
    pixels_guessed = "its pixels are taken as (pixel - 127) / 128: say `scale`, `mean` and `std` if they are not"
    reads = frozenset({"activation", "background", "anchors", "strides"})

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        pair = find_pair(probe)
        return pair is not None and probe.outputs[pair.scores].shape[2] >= 2

    def __init__(self, probe: Probe) -> None:
        pair = find_pair(probe)
        assert pair is not None
        self._pair = pair
        values = probe.outputs[pair.scores][0]
        activation = probe.said.activation or ("none" if within_unit(values) else "softmax")
        # Probabilities that do not sum to 1 have left a sigmoid, which needs no background.
        plain = activation == "sigmoid" or (activation == "none" and not are_probabilities(values))
        self._scoring = Scoring(activation, probe.said.background or ("none" if plain else "first"))
        super().__init__(probe)
        boxes = probe.outputs[pair.boxes][0]
        self._priors = _priors(probe, len(boxes)) if probe.said.anchors else None
        ordered = bool((boxes[:, 2:] >= boxes[:, :2]).mean() > 0.9)
        if self._priors is None and not ordered:
            raise ModelError(
                f"puts out {probe.shapes}: an SSD whose boxes are relative to anchors, which are not in the file: say "
                "`strides` and `anchors` in its sidecar, e.g. strides = [16, 32], anchors = [[[30, 30]], [[60, 60]]]"
            )
        size = np.array((probe.width, probe.height) * 2, np.float32)
        self._size = size if self._priors is not None or np.abs(boxes).max() <= 4 else np.ones(4, np.float32)

    def count_classes(self, probe: Probe) -> int:
        return self._scoring.classes(probe.outputs[self._pair.scores].shape[2])

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        kept, scores, labels = self._scoring.best(outputs[self._pair.scores][0], min_score)
        boxes = outputs[self._pair.boxes][0, kept]
        if self._priors is not None:
            boxes = _relative(boxes, self._priors[kept])
        return Candidates(boxes * self._size, scores, labels)


def _relative(values: Floats, priors: Floats) -> Floats:
    """Priors as cxcywh; sizes are logarithms: e^20 is beyond every picture, and below what overflows."""
    centres = values[:, :2] * _VARIANCES[0] * priors[:, 2:] + priors[:, :2]
    return corners(centres, np.exp(np.minimum(values[:, 2:] * _VARIANCES[1], 20)) * priors[:, 2:])


def _priors(probe: Probe, rows: int) -> Floats:
    """[rows, 4] cxcywh in shares of the input: per cell all of its stride's anchors."""
    strides, anchors = probe.said.strides or (), probe.said.anchors or ()
    made = sum(len(a) * probe.cells((s,)) for s, a in zip(strides, anchors, strict=False))
    if len(strides) != len(anchors) or made != rows:
        raise ModelError(
            f"puts out {rows} boxes; {len(strides)} `strides` with {len(anchors)} lists of `anchors` make {made}"
        )
    size = np.array((probe.width, probe.height), np.float32)
    parts = []
    for stride, shapes in zip(strides, anchors, strict=True):
        cells, _ = grid(probe.width, probe.height, (stride,))
        centres = np.repeat((cells + np.float32(0.5)) * stride, len(shapes), axis=0)
        parts.append(np.concatenate((centres, np.tile(np.array(shapes, np.float32), (len(cells), 1))), axis=1))
    return np.asarray(np.concatenate(parts) / np.tile(size, 2), np.float32)
