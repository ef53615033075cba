"""What is known of a model before its layout is: its first outputs, and what file and sidecar say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.sidecar import Sidecar

Array = NDArray[Any]
Floats = NDArray[np.float32]

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Pixels per cell of a detector's grids: the usual three, for large inputs, for small objects, for tiny models."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One run over a grey picture."""

    width: int
    height: int
    """Of the input, in pixels."""
    outputs: tuple[Array, ...]
    """Floats as float32; whole numbers as they come."""
    called: tuple[str, ...]
    """What the file calls its outputs."""
    metadata: Mapping[str, str]
    names: int | None
    """How many classes metadata or sidecar name."""
    extra: frozenset[str] = frozenset()
    """Inputs beside the picture."""
    uint8: bool = False
    """The picture goes in as bytes: whatever scaling there is lies in the model."""
    free: bool = False
    """The file leaves width and height open."""
    said: Sidecar = field(default_factory=Sidecar)

    @property
    def output(self) -> Array:
        """The only output; an empty array where there are several."""
        return self.outputs[0] if len(self.outputs) == 1 else np.empty(0, np.float32)

    @property
    def shapes(self) -> str:
        """For people; where there are several, with what the file calls them, as the sidecar's `outputs` wants it."""
        if len(self.outputs) == 1:
            return str(list(self.output.shape))
        return ", ".join(f"{name[:64]} {list(o.shape)}" for name, o in zip(self.called, self.outputs, strict=True))

    def cells(self, strides: tuple[int, ...]) -> int:
        """Of the grids with so many pixels per cell; what is left over at right and bottom has cells of its own."""
        return sum(-(-self.height // s) * -(-self.width // s) for s in strides)

    def strides(self, cells: int) -> tuple[int, ...] | None:
        """Those whose grids have so many cells in all."""
        return next((s for s in STRIDES if self.cells(s) == cells), None)
