"""What the readers of series have in common."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Samples x channels; NaN where a value is missing."""
Times = NDArray[np.float64]

PIECE: Final = 8192
"""Samples that are read at a time."""


class Block(NamedTuple):
    """Samples that follow each other: none at the end of the file."""

    values: Samples
    t: Times | None
    """Seconds of each from the first sample; None: they come at the file's even rate."""


class Reader(Protocol):
    """One format. Everything in it comes from the file and is bounded; all of it raises MediaError."""

    channels: tuple[str, ...]
    rate: float
    """Samples a second; 0 where the file does not say."""
    captured: float | None
    """Unix seconds of the first sample, where the file says so."""
    promised: int
    """Samples that there should be; 0 where the file does not say."""

    def read(self, most: int) -> Block:
        """At least one sample, but at the end."""
        ...

    def skip(self, most: int) -> int:
        """Pass over samples; how many there were: none only at the end."""
        ...

    def close(self) -> None: ...
