"""The light of a scene, and the few strokes that everything in it is drawn with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.demo.camera import Floats

Image = NDArray[np.uint8]
Colour = tuple[float, float, float]

SHIFT: Final = 4
"""Sub-pixel bits of every coordinate given to OpenCV: movement is smooth, not in steps of a pixel."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """A lamp over the ground point (`x`, `y`): `reach` in metres, `colour` the gain (B, G, R) right under it."""

    x: float
    y: float
    reach: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Light:
    """What falls on things: `ambient` gain (B, G, R), the direction to the sun or moon (unit vector) and the lamps."""

    ambient: Colour
    sun: tuple[float, float, float]
    strength: float
    lamps: tuple[Lamp, ...]
    night: bool

    def at(self, x: Floats, y: Floats) -> Floats:
        """Gains [..., 3] for the ground points (`x`, `y`)."""
        gain = np.broadcast_to(np.array(self.ambient), (*np.shape(x), 3)).copy()
        for lamp in self.lamps:
            near = np.exp(-((x - lamp.x) ** 2 + (y - lamp.y) ** 2) / lamp.reach**2)
            gain += near[..., None] * np.array(lamp.colour)
        return gain

    def shades(self, normals: Floats) -> Floats:
        """Brightness [N] of faces with `normals` [N, 3]."""
        lit = np.clip(normals @ np.array(self.sun), 0.0, 1.0)
        return np.asarray(1.0 - self.strength + self.strength * lit * 1.35 + 0.08 * normals[:, 2])


def bgr(colour: Floats | Colour) -> tuple[int, int, int]:
    """A colour as OpenCV wants it."""
    blue, green, red = (max(0, min(255, int(part))) for part in colour)
    return blue, green, red


def fixed(points: Floats) -> NDArray[np.int32]:
    """Pixels [N, 2] in OpenCV's fixed point, kept where its arithmetic is safe."""
    return np.asarray(np.rint(np.clip(points, -8000, 8000) * (1 << SHIFT)), dtype=np.int32)


def polygon(canvas: Image, points: Floats, colour: Floats | Colour) -> None:
    """Fill the polygon `points` [N, 2] with smooth edges."""
    cv2.fillPoly(canvas, [fixed(points)], bgr(colour), cv2.LINE_AA, SHIFT)


def disc(
    canvas: Image, centre: Floats, axes: tuple[float, float], colour: Floats | Colour, upper: bool = False
) -> None:
    """Fill an ellipse, or only its upper half."""
    cv2.ellipse(
        canvas, fixed(centre), fixed(np.array(axes)), 0, 180 if upper else 0, 360, bgr(colour), -1, cv2.LINE_AA, SHIFT
    )


def glow(canvas: Image, centre: Floats, radius: float, colour: Colour) -> None:
    """Add a soft halo of `radius` pixels around `centre`."""
    height, width = canvas.shape[:2]
    x0, y0 = max(0, int(centre[0] - radius)), max(0, int(centre[1] - radius))
    x1, y1 = min(width, int(centre[0] + radius) + 1), min(height, int(centre[1] + radius) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    dx = (np.arange(x0, x1, dtype=np.float32) - np.float32(centre[0])) / np.float32(radius)
    dy = (np.arange(y0, y1, dtype=np.float32) - np.float32(centre[1])) / np.float32(radius)
    fall = np.clip(1.0 - np.sqrt(dx[None, :] ** 2 + dy[:, None] ** 2), 0.0, 1.0) ** 2
    region = canvas[y0:y1, x0:x1]
    cv2.add(region, np.asarray(fall[..., None] * np.array(colour, np.float32), dtype=np.uint8), dst=region)
