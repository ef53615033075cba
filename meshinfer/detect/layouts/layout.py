"""What a layout is: how the numbers that a detector puts out become boxes, scores and classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.layouts.probe import Array, Floats, Probe
from meshinfer.detect.preprocess import Recipe
from meshinfer.errors import ModelError

Labels = NDArray[np.int64]


class Candidates(NamedTuple):
    """Boxes that scored enough, before suppression; rows belong together."""

    boxes: Floats
    """[n, 4] xyxy in pixels of the model's input."""
    scores: Floats
    labels: Labels

    def take(self, rows: NDArray[Any]) -> Candidates:
        """Those at `rows`: indexes or a mask."""
        return Candidates(self.boxes[rows], self.scores[rows], self.labels[rows])

    @staticmethod
    def joined(parts: Sequence[Candidates]) -> Candidates:
        return Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Layout(ABC):
    """One way of writing detections. Instances hold no state between frames and are shared by threads."""

    name: ClassVar[str]
    """As sidecars and `meshinfer models ls` write it."""
    shape: ClassVar[str]
    """For people who compare it with the shapes seen."""
    recipe: Recipe = Recipe()
    """What models of this layout expect of their input unless a sidecar says otherwise."""
    overlaps: ClassVar[bool] = True
    """Whether one object has several boxes: suppression is needed."""
    reads: ClassVar[frozenset[str]] = frozenset()
    """Which of the sidecar's keys on decoding (`sidecar.DECODING`) it heeds; the others would be an error."""
    extra: ClassVar[frozenset[str]] = frozenset()
    """The inputs beside the picture that its models have."""
    pixels_guessed: ClassVar[str] = ""
    """How pixels are scaled, where models of this layout differ in it: said as a notice."""
    usual: ClassVar[tuple[str, ...]] = ()
    """What its models call their classes, where there is one answer."""

    @classmethod
    @abstractmethod
    def fits(cls, probe: Probe) -> bool:
        """Whether the outputs' shapes can be decoded this way."""

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """Whether values or metadata say so, where shapes alone would fit several layouts."""
        return True

    def __init__(self, probe: Probe) -> None:
        """For a probe that `fits`. Raises ModelError: what the sidecar says of decoding does not."""
        self.classes = self.count_classes(probe)
        guessed = self.pixels_guessed if not (probe.said.scale or probe.said.mean or probe.uint8) else ""
        self.notices: tuple[str, ...] = (guessed,) if guessed else ()
        """What was assumed, for the user to judge."""
        self.expects: tuple[tuple[int | None, ...], ...] = tuple(o.shape for o in probe.outputs)
        """The shapes that `decode` takes; None: any number of rows."""

    @abstractmethod
    def count_classes(self, probe: Probe) -> int: ...

    @abstractmethod
    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        """The candidates in one frame's outputs with at least `min_score`: the best class of each box.

        Takes any values: NaN and infinity may come back in boxes, never in the labels.
        """

    def check(self, outputs: Sequence[Array]) -> None:
        """Raises ModelError for shapes that `decode` does not take: a model may put out other ones for every frame."""
        for output, expected in zip(outputs, self.expects, strict=True):
            if len(output.shape) != len(expected) or any(
                e is not None and d != e for d, e in zip(output.shape, expected, strict=True)
            ):
                raise ModelError(
                    f"put out {list(output.shape)} where {[e or '?' for e in expected]} was expected: "
                    "its outputs change their shape from frame to frame"
                )


def grid(width: int, height: int, strides: tuple[int, ...], repeat: int = 1) -> tuple[Floats, Floats]:
    """Column and row of every cell [n, 2] and its stride [n, 1], row by row, each grid `repeat` times."""
    cells, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)]
        cell = np.tile(np.stack((columns, rows), -1).reshape(-1, 2), (repeat, 1))
        cells.append(cell)
        sizes.append(np.full((len(cell), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def corners(centres: Floats, sizes: Floats) -> Floats:
    """Centre and size to xyxy."""
    half = sizes / 2
    return np.concatenate((centres - half, centres + half), axis=1)


def best_class(scores: Floats) -> tuple[Floats, Labels]:
    """Of [n, classes]: each row's best score, and its class."""
    labels = scores.argmax(axis=1)
    return scores[np.arange(len(scores)), labels], labels
