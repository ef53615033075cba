"""What a model wants of a series, and what its sidecar says of it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_WINDOW = 65536
"""Samples in a window: as wide as the widest frame whose detections travel."""
MAX_CHANNELS = 256
MAX_VALUES = 1 << 22
"""Samples times channels of a window: 16 MB."""
MAX_RATE = 1e9
"""Samples a second."""

RATE_SLACK = 0.01
"""By how much of itself a file's rate may differ from the model's: clocks drift, and time columns are rounded."""


class SeriesInput(Struct, frozen=True):
    """The windows that a model looks at: those that begin at samples 0, `hop`, 2 `hop`, ... and are whole."""

    window: int
    """Samples, of each channel."""
    hop: int
    channels: int
    names: tuple[str, ...] = ()
    """Which channels of the file, in the order of the model; empty: all that it has."""
    rate: float = 0.0
    """Samples a second that it was trained with; 0: any."""


Output = Literal["score", "reconstruction", "forecast", "classes"]
_Name = Annotated[str, Meta(min_length=1, max_length=64)]
Finite = Annotated[float, Meta(ge=-1e15, le=1e15)]


class SeriesTable(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[series]` of a sidecar: what a model that looks at series cannot say of itself (docs/SERIES.md)."""

    window: Annotated[int, Meta(ge=2, le=MAX_WINDOW)] | None = None
    """Samples of its input, where the file leaves that open."""
    hop: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    """Samples between the beginnings of two windows; None: as many as a window has."""
    channels: Annotated[tuple[_Name, ...], Meta(max_length=MAX_CHANNELS)] = ()
    """Columns of a table, in the order of the model."""
    rate: Annotated[float, Meta(gt=0, le=MAX_RATE)] | None = None
    """Samples a second; None: any."""
    mean: Annotated[tuple[Finite, ...], Meta(max_length=MAX_CHANNELS)] = ()
    std: Annotated[tuple[Annotated[float, Meta(gt=0, le=1e15)], ...], Meta(max_length=MAX_CHANNELS)] = ()
    """The model sees (value - mean) / std, of each channel."""
    output: Output | None = None
    scale: Finite = 1.0
    """What of a score or a mean squared error counts as 1.0; negative where less is worse."""
    label: _Name = "anomaly"
    activation: Literal["softmax", "sigmoid"] | None = None
    """Turns class scores into 0 to 1; None: they are."""

    def __post_init__(self) -> None:
        if self.scale == 0:
            raise ValueError("scale must not be 0")
