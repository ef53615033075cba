"""Raw values to scores: sigmoid or softmax, with or without a class that means nothing is there."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from meshinfer.detect.layouts.layout import Labels, best_class
from meshinfer.detect.layouts.probe import Array, Floats
from meshinfer.detect.sidecar import Activation, Background

_SLACK = 1e-3
"""Of the quick look at raw values, against rounding: what it lets through is looked at again."""


class Scoring(NamedTuple):
    """How [n, columns] of raw values become a score per class."""

    activation: Activation
    background: Background = "none"
    """Which column says that nothing is there: it is no class."""

    def classes(self, columns: int) -> int:
        return columns - (self.background != "none")

    @property
    def objects(self) -> slice:
        return {"first": slice(1, None), "last": slice(None, -1), "none": slice(None)}[self.background]

    def scores(self, values: Array) -> Floats:
        """[n, columns] -> [n, classes]"""
        return activated(values, self.activation)[:, self.objects]

    def best(self, values: Array, min_score: float) -> tuple[Labels, Floats, Labels]:
        """The rows with a score of at least `min_score`, and of each of them the best score and its class."""
        kept = np.flatnonzero(self._may_reach(values, min_score))
        scores, labels = best_class(self.scores(values[kept]))
        enough = scores >= min_score
        return kept[enough], scores[enough], labels[enough]

    def _may_reach(self, values: Array, min_score: float) -> Array:
        """A bound without an exponential: most rows fall here.

        Of softmax: p(class) <= 1 / (1 + e^(background - class)), whatever the other classes are.
        """
        best = values[:, self.objects].max(axis=1)
        if self.activation == "none":
            return np.asarray(best >= min_score)
        if self.activation == "softmax":
            if self.background == "none":
                return np.ones(len(values), bool)
            best = best - values[:, 0 if self.background == "first" else -1]
        return np.asarray(best >= logit(min_score) - _SLACK)


def logit(score: float) -> float:
    """The inverse of the sigmoid."""
    score = min(max(score, 1e-9), 1 - 1e-7)
    return math.log(score / (1 - score))


def activated(values: Array, activation: Activation) -> Floats:
    """Along the last axis."""
    if activation == "sigmoid":
        result = 1 / (1 + np.exp(-values))
    elif activation == "softmax":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        result = powers / powers.sum(axis=-1, keepdims=True)
    else:
        result = values
    return np.asarray(result, np.float32)


def are_probabilities(values: Array) -> bool:
    """Whether every row's values are shares of 1: a softmax is behind them."""
    return within_unit(values) and bool((np.abs(values.sum(axis=-1) - 1) < 1e-2).all())


def within_unit(values: Array) -> bool:
    """Whether all values lie within 0 to 1 (there are some), as scores do."""
    return values.size > 0 and bool((values >= 0).all() and (values <= 1 + 1e-4).all())
