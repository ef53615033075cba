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
Activation = Literal["sigmoid", "softmax", "none"]
Background = Literal["first", "last", "none"]
Channels = tuple[float, float, float]

_Mean = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Std = Annotated[float, Meta(gt=0, le=1e6)]
_Side = Annotated[int, Meta(ge=16, le=4096)]
_Pixels = Annotated[float, Meta(gt=0, le=65536)]
_Anchors = Annotated[tuple[tuple[_Pixels, _Pixels], ...], Meta(min_length=1, max_length=64)]


class Sidecar(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every key overrides what the layout implies or the metadata says."""

    layout: Annotated[str, Meta(max_length=32)] | None = None
    width: _Side | None = None
    height: _Side | None = None
    """At which a model that takes any size is run."""
    rectangular: bool = True
    """Whether a model that takes any size may be given frames without most of their padding."""
    colour: Colour | None = None
    """Order of the channels the model was trained with."""
    scale: Annotated[float, Meta(gt=0, le=1)] | None = None
    """The model sees (pixel * scale - mean) / std; 1.0 leaves 0..255, 0.00392157 gives 0..1."""
    mean: tuple[_Mean, _Mean, _Mean] | None = None
    std: tuple[_Std, _Std, _Std] | None = None
    fit: Fit | None = None
    """How a frame is fitted into the model's input: padded on both sides, deformed, or padded right and below."""
    names: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
            Meta(min_length=1, max_length=10_000),
        ]
        | None
    ) = None
    outputs: (
        Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(min_length=1, max_length=64)]
        | None
    ) = None
    """Which outputs count, by name; of several in the order boxes, scores, labels, number of detections."""
    activation: Activation | None = None
    """What makes scores of the raw values."""
    background: Background | None = None
    """Which class means that nothing is there."""
    anchors: Annotated[tuple[_Anchors, ...], Meta(min_length=1, max_length=8)] | None = None
    """Per stride: width and height of each, in pixels of the input."""
    strides: Annotated[tuple[Annotated[int, Meta(ge=1, le=4096)], ...], Meta(min_length=1, max_length=8)] | None = None
    """Pixels of the input per cell of each grid."""
    licence: Annotated[str, Meta(max_length=128)] = ""
    series: SeriesTable | None = None
    """Of a model that looks at series: docs/SERIES.md."""


DECODING = ("activation", "background", "anchors", "strides")
"""Keys that only some layouts read."""


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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ModelError(f"{path.name}: no TOML: {e}") from None
