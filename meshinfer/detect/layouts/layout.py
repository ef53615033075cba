"""What a layout is: how the numbers that a detector puts out become boxes, scores and classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.preprocess import Recipe

Floats = NDArray[np.float32]

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Pixels per cell of a detector's grids: the usual three, for large inputs, for small objects, for tiny models."""


class Candidates(NamedTuple):
    """Boxes that scored enough, before suppression; rows belong together."""

    boxes: Floats
    """[n, 4] xyxy in pixels of the model's input."""
    scores: Floats
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[Any]) -> Candidates:
        """Those at `rows`: indexes or a mask."""
        return Candidates(self.boxes[rows], self.scores[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a model after one run over a grey picture."""

    width: int
    height: int
    """Of the input, in pixels."""
    outputs: tuple[NDArray[Any], ...]
    metadata: Mapping[str, str]
    names: int | None
    """How many classes metadata or sidecar name."""

    @property
    def output(self) -> Floats:
        """The only output; an empty array where there are several, which no layout takes."""
        return self.outputs[0].astype(np.float32) if len(self.outputs) == 1 else np.empty(0, np.float32)

    @property
    def shapes(self) -> str:
        return ", ".join(str(list(o.shape)) for o in self.outputs)

    def cells(self, strides: tuple[int, ...]) -> int:
        return sum((self.height // s) * (self.width // s) for s in strides)

    def strides(self, cells: int) -> tuple[int, ...] | None:
        """Those whose grids have so many cells in all."""
        return next((s for s in STRIDES if self.cells(s) == cells), None)


class Layout(ABC):
    """One way of writing detections. Instances hold no state between frames and are shared by threads."""

    name: ClassVar[str]
    """As sidecars and `meshinfer models ls` write it."""
    shape: ClassVar[str]
    """For people who compare it with the shapes seen."""
    recipe: ClassVar[Recipe] = Recipe()
    """What models of this layout expect of their input unless a sidecar says otherwise."""
    overlaps: ClassVar[bool] = True
    """Whether one object has several boxes: suppression is needed."""

    @classmethod
    @abstractmethod
    def fits(cls, probe: Probe) -> bool:
        """Whether the output's shape can be decoded this way."""

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        """Whether values or metadata say so, where shapes alone would fit several layouts."""
        return True

    def __init__(self, probe: Probe) -> None:
        """For a probe that `fits`."""
        self.classes = self.count_classes(probe)

    @abstractmethod
    def count_classes(self, probe: Probe) -> int: ...

    @abstractmethod
    def decode(self, output: Floats, min_score: float) -> Candidates:
        """The candidates in one frame's output with at least `min_score`: the best class of each box."""


def grid(width: int, height: int, strides: tuple[int, ...], repeat: int = 1) -> tuple[Floats, Floats]:
    """Column and row of every cell [n, 2] and its stride [n, 1], row by row, each grid `repeat` times."""
    cells, sizes = [], []
    for stride in strides:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        cell = np.tile(np.stack((columns, rows), -1).reshape(-1, 2), (repeat, 1))
        cells.append(cell)
        sizes.append(np.full((len(cell), 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def corners(centres: Floats, sizes: Floats) -> Floats:
    """Centre and size to xyxy."""
    half = sizes / 2
    return np.concatenate((centres - half, centres + half), axis=1)


def best_class(scores: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Of [n, classes]: each row's best score, and its class."""
    labels = scores.argmax(axis=1)
    return scores[np.arange(len(scores)), labels], labels
