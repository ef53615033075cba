"""What a model takes in: which input is the picture, of what type and size, and what else it wants to be told."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.onnx import DTYPES, Input
from meshinfer.detect.preprocess import PADDING
from meshinfer.detect.sidecar import Sidecar
from meshinfer.errors import ModelError

_DEFAULT_SIZE = 640
_SIZES = range(16, 4097)

_PIXELS: Mapping[str, type[np.float32 | np.float16 | np.uint8]] = {
    **DTYPES,
    "tensor(uint8)": np.uint8,
}
_NUMBERS: Mapping[str, type[np.int64 | np.int32 | np.float32]] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
}
_SIZE_INPUTS = frozenset({"orig_target_sizes"})
"""Inputs [1, 2] that want to be told the picture's width and height."""


@dataclass(frozen=True, slots=True)
class Feed:
    picture: Input
    channels_last: bool
    batched: bool
    """Whether it has a first dimension for pictures; torchvision's exports take one alone."""
    extra: tuple[Input, ...]
    width: int
    height: int
    """Of the picture, unless another size is asked for."""
    free: bool
    """The file leaves both open."""
    notices: tuple[str, ...]

    @property
    def dtype(self) -> type[np.float32 | np.float16 | np.uint8]:
        return _PIXELS[self.picture.type]

    @property
    def uint8(self) -> bool:
        return self.dtype is np.uint8

    def feeds(self, blob: NDArray[Any], width: int, height: int) -> dict[str, NDArray[Any]]:
        """All inputs, for a picture of `width` x `height`. The same `blob` may be drawn into again."""
        told = {i.name: np.array([[width, height]], _NUMBERS[i.type]) for i in self.extra}
        return {self.picture.name: blob if self.batched else blob[0], **told}

    def grey(self, width: int, height: int) -> NDArray[Any]:
        """A picture in which nothing is."""
        shape = (1, height, width, 3) if self.channels_last else (1, 3, height, width)
        return np.full(shape, PADDING if self.uint8 else PADDING / 255, self.dtype)


def read_feed(inputs: tuple[Input, ...], metadata: Mapping[str, str], sidecar: Sidecar) -> Feed:
    """Raises ModelError: inputs that no layout has, or a size that is not the file's."""
    seen = ", ".join(f"{i.name} {i.type} {[d or '?' for d in i.shape]}" for i in inputs)
    extra = tuple(i for i in inputs if i.name in _SIZE_INPUTS and _takes_size(i))
    pictures = [i for i in inputs if i not in extra]
    if len(pictures) != 1:
        raise ModelError(
            f"wants {len(inputs)} inputs ({seen}); the layouts that run take one picture"
            f" (and {' or '.join(sorted(_SIZE_INPUTS))}): export it without the others"
        )
    (picture,) = pictures
    batched = len(picture.shape) != 3
    shape = picture.shape if batched else (1, *picture.shape)
    channels_last = batched and len(shape) == 4 and shape[3] == 3 and shape[1] != 3
    channels = shape[3] if channels_last else shape[1] if len(shape) == 4 else 0
    if picture.type not in _PIXELS or len(shape) != 4 or shape[0] not in (1, None) or channels not in (3, None):
        raise ModelError(
            f"its input is {seen}; the layouts that run take one picture: float, half or uint8, "
            "[1, 3, height, width], [1, height, width, 3] or [3, height, width]"
        )
    height, width = shape[1:3] if channels_last else shape[2:4]
    size, notices = _size(width, height, metadata, sidecar)
    return Feed(picture, channels_last, batched, extra, *size, width is None and height is None, notices)


def _takes_size(source: Input) -> bool:
    return (
        source.type in _NUMBERS
        and len(source.shape) == 2
        and source.shape[0] in (1, None)
        and source.shape[1] in (2, None)
    )


def _size(
    width: int | None, height: int | None, metadata: Mapping[str, str], sidecar: Sidecar
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Width and height to run at, and a notice where nobody says them."""
    for fixed, said, key in ((width, sidecar.width, "width"), (height, sidecar.height, "height")):
        if fixed and said and fixed != said:
            raise ModelError(f"its sidecar says {key} = {said}, but the file fixes {fixed}: take it out")
    exported = _imgsz(metadata.get("imgsz", "")) or (None, None)
    guessed = not ((width or sidecar.width or exported[0]) and (height or sidecar.height or exported[1]))
    width = width or sidecar.width or exported[0] or _DEFAULT_SIZE
    height = height or sidecar.height or exported[1] or _DEFAULT_SIZE
    if height not in _SIZES or width not in _SIZES:
        raise ModelError(f"wants pictures of {width}x{height}; {_SIZES[0]} to {_SIZES[-1]} pixels can be run")
    text = f"takes pictures of any size: run at {width}x{height}; say `width` and `height` in its sidecar for another"
    return (width, height), (text,) if guessed else ()


def _imgsz(text: str) -> tuple[int, int] | None:
    """Width and height out of Ultralytics metadata, `[height, width]`."""
    try:
        value = ast.literal_eval(text) if len(text) < 64 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    match value:
        case [int(height), int(width)]:
            return width, height
    return None
