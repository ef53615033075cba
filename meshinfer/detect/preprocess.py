"""Frames to the tensor a model wants, into buffers that are made once.

Measured for 768x432 into 640x640: 0.36 ms, a tenth of what `cv2.dnn.blobFromImage` takes for the same values. The gain:
only the picture is written (the padding stays), and each channel is scaled as a plane of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.sidecar import Channels, Colour, Fit, Sidecar

# For the whole process: as with the runtime, cores are shared out by frame (docs/adr/0004).
cv2.setNumThreads(1)

PADDING = 114
"""Grey of the padding: what both Ultralytics and YOLOX train with."""

Image = NDArray[np.uint8]
"""Height x width x 3, BGR."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a model expects of its input: (pixel * scale - mean) / std, channels in the order of `colour`."""

    colour: Colour = "rgb"
    scale: float = 1 / 255
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)
    fit: Fit = "letterbox"

    def overridden(self, sidecar: Sidecar) -> Recipe:
        return Recipe(
            sidecar.colour or self.colour,
            sidecar.scale or self.scale,
            sidecar.mean or self.mean,
            sidecar.std or self.std,
            sidecar.fit or self.fit,
        )


IMAGENET = Recipe(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="stretch")
"""Of nearly every backbone that was first trained on ImageNet."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame lies in the model's input: x_in = x * scale_x + left."""

    width: int
    height: int
    """Of the frame."""
    scale_x: float
    scale_y: float
    left: int
    top: int
    inner_width: int
    inner_height: int

    def to_frame(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """xyxy in pixels of the input -> of the frame, clipped to it, 2 decimals."""
        boxes = (boxes - (self.left, self.top) * 2) / ((self.scale_x, self.scale_y) * 2)
        return np.clip(boxes, 0, (self.width, self.height) * 2).round(2)


def place(fit: Fit, width: int, height: int, input_width: int, input_height: int) -> Placement:
    """How a frame of `width` x `height` is fitted in. The rounding is that of Ultralytics; YOLOX rounds sizes down."""
    if fit == "stretch":
        return Placement(width, height, input_width / width, input_height / height, 0, 0, input_width, input_height)
    scale = min(input_width / width, input_height / height)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    left = top = 0
    if fit == "letterbox":
        left = round((input_width - inner_width) / 2 - 0.1)
        top = round((input_height - inner_height) / 2 - 0.1)
    return Placement(width, height, scale, scale, left, top, inner_width, inner_height)


MULTIPLE = 32
"""Pixels to which the sides of a rectangular input are rounded up: a detector's coarsest grid."""


def snug(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    """The smallest input that a frame fits into at the scale it would have in the largest one."""
    p = place("letterbox", width, height, most_width, most_height)
    return (
        min(most_width, -(-p.inner_width // MULTIPLE) * MULTIPLE),
        min(most_height, -(-p.inner_height // MULTIPLE) * MULTIPLE),
    )


class Canvas:
    """One thread's input tensor. `blob` is what the last `draw` made: valid until the next."""

    def __init__(
        self,
        width: int,
        height: int,
        recipe: Recipe,
        dtype: type[np.float32 | np.float16 | np.uint8] = np.float32,
        channels_last: bool = False,
    ) -> None:
        """A uint8 canvas takes recipes that leave pixels as they are."""
        self.size, self._recipe = (width, height), recipe
        self.blob: NDArray[Any] = np.empty((1, height, width, 3) if channels_last else (1, 3, height, width), dtype)
        self._channels = np.moveaxis(self.blob[0], 2, 0) if channels_last else self.blob[0]
        # Per channel of the output: value = pixel * gain + offset.
        self._gain = tuple(dtype(recipe.scale / s) for s in recipe.std)
        self._offset = tuple(dtype(-m / s) for m, s in zip(recipe.mean, recipe.std, strict=True))
        self._source = (2, 1, 0) if recipe.colour == "rgb" else (0, 1, 2)
        self._placement: Placement | None = None

    def draw(self, image: Image) -> Placement:
        height, width = image.shape[:2]
        placement = self._placement
        if placement is None or (placement.width, placement.height) != (width, height):
            placement = self._prepare(width, height)
        if self._resized.shape == image.shape:
            source = image
        else:
            source = cv2.resize(image, self._inner_size, dst=self._resized, interpolation=cv2.INTER_LINEAR)
        cv2.split(source, self._planes)
        for channel, plane in enumerate(self._source):
            inner = self._inner[channel]
            np.multiply(self._planes[plane], self._gain[channel], out=inner)
            if offset := self._offset[channel]:
                np.add(inner, offset, out=inner)
        return placement

    def _prepare(self, width: int, height: int) -> Placement:
        """Buffers for frames of another size: frames of one video all have the same."""
        p = place(self._recipe.fit, width, height, *self.size)
        for channel in range(3):
            self._channels[channel] = PADDING * self._gain[channel] + self._offset[channel]
        self._inner = self._channels[:, p.top : p.top + p.inner_height, p.left : p.left + p.inner_width]
        self._inner_size = (p.inner_width, p.inner_height)
        self._resized = np.empty((p.inner_height, p.inner_width, 3), np.uint8)
        self._planes = [np.empty((p.inner_height, p.inner_width), np.uint8) for _ in range(3)]
        self._placement = p
        return p
