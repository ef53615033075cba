"""Image classifiers: a score per class for the whole picture, which becomes a box around all of the frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout
from meshinfer.detect.layouts.probe import Array, Probe
from meshinfer.detect.layouts.scores import Scoring, are_probabilities, within_unit
from meshinfer.detect.preprocess import IMAGENET, Recipe
from meshinfer.detect.sidecar import Activation


class Classifier(Layout):
    name = "classifier"
    shape = "[1, classes] or [1, classes, 1, 1]: a score per class for the whole frame"
    recipe = IMAGENET
    pixels_guessed = "its pixels are taken as ImageNet's: say `scale`, `mean` and `std` if they are not"
    overlaps = False
    reads = frozenset({"activation", "background"})

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        shape = probe.output.shape
        return len(shape) in (2, 4) and shape[0] == 1 and shape[1] >= 1 and shape[2:] in ((), (1, 1))

    def __init__(self, probe: Probe) -> None:
        values = probe.output.reshape(1, -1)
        columns = values.shape[1]
        alone = columns == 1
        # Several labels at a time do not sum to 1; four raw values hardly lie within 0 to 1 by chance.
        done = within_unit(values) if alone or columns > 3 else are_probabilities(values)
        told: Activation = "none" if done else "sigmoid" if alone else "softmax"
        self._scoring = Scoring(probe.said.activation or told, probe.said.background or "none")
        super().__init__(probe)
        # Ends beyond the padding that a letterbox leaves: what is clipped to the frame is the frame.
        self._box = np.array((0, 0, probe.width, probe.height), np.float32)
        if probe.metadata.get("task") == "classify":  # Ultralytics' export
            self.recipe, self.notices = Recipe(fit="stretch"), ()
        if not probe.said.activation:
            self.notices = (*self.notices, f"its scores are taken for {_READ[told]}: or else say `activation`")

    def count_classes(self, probe: Probe) -> int:
        return self._scoring.classes(probe.output.shape[1])

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        scores = self._scoring.scores(outputs[0].reshape(1, -1))[0]
        labels = np.flatnonzero(scores >= min_score)
        return Candidates(np.tile(self._box, (len(labels), 1)), scores[labels], labels)


_READ = {"none": "probabilities", "sigmoid": "a value before its sigmoid", "softmax": "values before a softmax"}
