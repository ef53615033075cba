"""`yolox_nano.toml` beside `yolox_nano.onnx`: what a model file cannot say about itself (docs/MODELS.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from meshinfer.errors import ModelError
from meshinfer.model.series import SeriesTable

_MAX_BYTES = 1024 * 1024

Colour = Literal["bgr", "rgb"]
Fit = Literal["letterbox", "stretch", "top-left"]
Channels = tuple[float, float, float]


class Sidecar(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every key overrides what the layout implies or the metadata says."""

    layout: Annotated[str, Meta(max_length=32)] | None = None
    colour: Colour | None = None
    """Order of the channels the model was trained with."""
    scale: Annotated[float, Meta(gt=0, le=1)] | None = None
    """The model sees (pixel * scale - mean) / std; 1.0 leaves 0..255, 0.00392157 gives 0..1."""
    mean: Channels | None = None
    std: tuple[Annotated[float, Meta(gt=0)], Annotated[float, Meta(gt=0)], Annotated[float, Meta(gt=0)]] | None = None
    fit: Fit | None = None
    """How a frame is fitted into the model's input: padded on both sides, deformed, or padded right and below."""
    names: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
            Meta(min_length=1, max_length=10_000),
        ]
        | None
    ) = None
    licence: Annotated[str, Meta(max_length=128)] = ""
    series: SeriesTable | None = None
    """Of a model that looks at series: docs/SERIES.md."""


def sidecar_path(model: Path) -> Path:
    return model.with_suffix(".toml")


def read_sidecar(model: Path) -> Sidecar:
    """The sidecar of a model file; an empty one where there is none. Raises ModelError that names the key."""
    path = sidecar_path(model)
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return Sidecar()
    except OSError as e:
        raise ModelError(f"{path.name}: cannot be read: {e.strerror}") from None
    if len(text) > _MAX_BYTES:
        raise ModelError(f"{path.name}: over {_MAX_BYTES} bytes: it should hold a few lines")
    try:
        return msgspec.toml.decode(text, type=Sidecar)
    except msgspec.ValidationError as e:
        raise ModelError(f"{path.name}: {e}; it may hold: {', '.join(Sidecar.__struct_fields__)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ModelError(f"{path.name}: no TOML: {e}") from None
