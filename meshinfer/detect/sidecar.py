"""`yolox_nano.toml` beside `yolox_nano.onnx`: what a model file cannot say about itself (docs/MODELS.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from meshinfer.errors import ModelError
from meshinfer.model.bundle import MAX_SIDECAR
from meshinfer.model.series import SeriesTable

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


def sidecar_bytes(model: Path) -> bytes:
    """The sidecar beside a model file as it lies there; empty where there is none. Raises ModelError."""
    return read_bounded(sidecar_path(model), may_miss=True)


def read_bounded(path: Path, *, may_miss: bool) -> bytes:
    """The bytes of one sidecar. Raises ModelError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIDECAR + 1)
    except FileNotFoundError:
        if may_miss:
            return b""
        raise ModelError(f"{path.name}: no such sidecar") from None
    except OSError as e:
        raise ModelError(f"{path.name}: cannot be read: {e.strerror}") from None
    if len(data) > MAX_SIDECAR:
        raise ModelError(f"{path.name}: over {MAX_SIDECAR // 1024} KiB: it should hold a few lines")
    return data


def read_sidecar(model: Path) -> Sidecar:
    """The sidecar of a model file; an empty one where there is none. Raises ModelError that names the key."""
    path, text = sidecar_path(model), sidecar_bytes(model)
    try:
        return msgspec.toml.decode(text, type=Sidecar)
    except msgspec.ValidationError as e:
        raise ModelError(f"{path.name}: {e}; it may hold: {', '.join(Sidecar.__struct_fields__)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ModelError(f"{path.name}: no TOML: {e}") from None
