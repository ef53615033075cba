"""The pictures that are laid into the world: the ground, the wall of the building and the sides of props."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from meshinfer.demo.camera import Floats
from meshinfer.demo.layouts import Layout, Prop
from meshinfer.demo.paint import Image, Light

GROUND_SCALE: Final = 24.0
WALL_SCALE: Final = 30.0


def speckle(rng: np.random.Generator, height: int, width: int, grain: int) -> Floats:
    """Smooth noise [height, width], mean 0, deviation about 1, blobs of `grain` pixels."""
    small = rng.normal(0, 1, (height // grain + 2, width // grain + 2)).astype(np.float32)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float64)


def ground(
    yard: Layout, area: tuple[float, float, float, float], light: Light, rng: np.random.Generator
) -> tuple[Image, float]:
    """The ground of `area` (x0, y0, x1, y1) seen from above, Y upwards, lit, and its pixels per metre."""
    x0, y0, x1, y1 = area
    scale = GROUND_SCALE
    width, height = int((x1 - x0) * scale), int((y1 - y0) * scale)
    tone = np.array((112, 112, 110)) * float(rng.uniform(0.85, 1.12)) + rng.normal(0, 3, 3)
    texture = np.full((height, width, 3), tone.astype(np.uint8), np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return int((x - x0) * scale), int((y1 - y) * scale)

    for _ in range(int(rng.integers(4, 9))):
        x, y = rng.uniform(-18, 18), rng.uniform(7, 26)
        shade = tuple(int(v) for v in tone * rng.uniform(0.88, 1.06))
        cv2.rectangle(texture, at(x, y), at(x + rng.uniform(1, 5), y + rng.uniform(0.8, 3)), shade, -1)
    for gx0, gy0, gx1, gy1 in yard.verges:
        cv2.rectangle(texture, at(gx0, gy0), at(gx1, gy1), (58, 98, 82), -1)
        cv2.rectangle(texture, at(gx0, gy0), at(gx1, gy1), (150, 152, 152), 5)
    for mark in yard.marks:
        start, end = np.array(mark.start), np.array(mark.end)
        length = float(np.hypot(*(end - start)))
        spans = [(0.0, 1.0)]
        if mark.dash:
            spans = [(a / length, min(1.0, (a + mark.dash) / length)) for a in np.arange(0, length, 2 * mark.dash)]
        for a, b in spans:
            first, last = start + (end - start) * a, start + (end - start) * b
            thick = max(1, round(mark.width * scale))
            cv2.line(texture, at(*first), at(*last), tuple(int(v) for v in mark.colour), thick, cv2.LINE_AA)
    for lane in yard.lanes[:2]:
        for (ax, ay), (bx, by) in zip(lane.corners, lane.corners[1:], strict=False):
            for side in (-0.75, 0.75):
                wear = texture.copy()
                cv2.line(wear, at(ax, ay + side), at(bx, by + side), (70, 70, 70), 9, cv2.LINE_AA)
                cv2.addWeighted(wear, 0.10, texture, 0.90, 0, dst=texture)
    for _ in range(5):
        x, y = rng.uniform(-15, 15), rng.uniform(8, 22)
        stain = texture.copy()
        cv2.ellipse(
            stain,
            at(x, y),
            (int(rng.integers(6, 26)), int(rng.integers(5, 16))),
            0,
            0,
            360,
            (55, 55, 56),
            -1,
            cv2.LINE_AA,
        )
        cv2.addWeighted(stain, 0.28, texture, 0.72, 0, dst=texture)
    tile = 3.5 * speckle(rng, 256, 256, 2) + 3.0 * speckle(rng, 256, 256, 12)
    grain = np.tile(tile, (height // 256 + 1, width // 256 + 1))[:height, :width]
    grain += 4.0 * speckle(rng, height, width, 110)
    gx, gy = np.meshgrid(np.linspace(x0, x1, 136), np.linspace(y1, y0, 92))
    gains = np.asarray(cv2.resize(light.at(gx, gy).astype(np.float32), (width, height)), dtype=np.float32)
    lit = (texture + grain[..., None].astype(np.float32)) * gains
    return np.clip(lit, 0, 255).astype(np.uint8), scale


def facade(
    yard: Layout, span: tuple[float, float], tall: float, light: Light, rng: np.random.Generator
) -> tuple[Image, float]:
    """The wall over the X range `span`, `tall` metres high, lit, and its pixels per metre."""
    scale = WALL_SCALE
    width, height = int((span[1] - span[0]) * scale), int(tall * scale)
    cladding = np.array(
        ((196, 192, 184), (170, 176, 182), (186, 178, 160), (150, 158, 150))[int(rng.integers(4))], np.float64
    )
    accent = np.array(((140, 80, 30), (50, 60, 165), (70, 105, 45), (40, 130, 200))[int(rng.integers(4))], np.float64)
    wall = np.full((height, width, 3), cladding.astype(np.uint8), np.uint8)
    wall[:, :: int(scale * 0.4)] = (cladding * 0.9).astype(np.uint8)
    wall[:, 1 :: int(scale * 0.4)] = np.minimum(255, cladding * 1.05).astype(np.uint8)
    wall[: int(0.55 * scale)] = accent.astype(np.uint8)
    wall[int(0.55 * scale) : int(0.62 * scale)] = (cladding * 0.7).astype(np.uint8)
    wall[-int(0.5 * scale) :] = (cladding * 0.62).astype(np.uint8)

    def box(x: float, z: float, w: float, h: float, colour: Floats | tuple[float, float, float]) -> None:
        left, top = int((x - span[0]) * scale), int((tall - z - h) * scale)
        tone = tuple(int(v) for v in np.clip(np.array(colour), 0, 255))
        cv2.rectangle(wall, (left, top), (left + int(w * scale), top + int(h * scale)), tone, -1)

    if yard.view == "dock":
        for number, x in enumerate(yard.doors, start=1):
            box(x - 1.75, 0.0, 3.5, 3.75, (60, 62, 64))
            open_door = rng.random() < 0.2
            box(x - 1.45, 0.0, 2.9, 3.4, (52, 50, 48) if open_door else (205, 206, 204))
            for z in np.arange(0.3, 3.4, 0.34):
                box(x - 1.45, z, 2.9, 0.05, (42, 40, 40) if open_door else (168, 170, 170))
            for side in (-1.75, 1.5):
                for z in np.arange(0.0, 1.6, 0.4):
                    box(x + side, z, 0.25, 0.2, (40, 190, 225))
            box(x - 0.45, 3.9, 0.9, 0.75, (235, 235, 232))
            spot = (int((x - span[0] - 0.27) * scale), int((tall - 4.02) * scale))
            cv2.putText(wall, str(number), spot, cv2.FONT_HERSHEY_SIMPLEX, 0.75, (40, 40, 40), 2, cv2.LINE_AA)
    else:
        for x in np.arange(-31.0, 32.0, 3.1):
            if abs(x - yard.doors[0]) > 2.2:
                for z in (1.1, 3.3):
                    lit = light.night and rng.random() < 0.35
                    box(x - 0.95, z - 0.06, 1.9, 1.42, (225, 225, 222))
                    box(x - 0.87, z, 1.74, 1.3, (150, 215, 245) if lit else (120, 98, 78))
                    box(x - 0.03, z, 0.06, 1.3, (225, 225, 222))
        box(yard.doors[0] - 1.6, 0.0, 3.2, 2.9, accent * 0.8)
        box(yard.doors[0] - 1.2, 0.0, 2.4, 2.45, (170, 225, 250) if light.night else (128, 105, 85))
        box(yard.doors[0] - 0.04, 0.0, 0.08, 2.45, (60, 60, 60))
        box(yard.doors[0] - 2.0, 2.9, 4.0, 0.28, (70, 70, 72))
    shade = float(light.shades(np.array([[0.0, -1.0, 0.0]]))[0])
    columns = np.linspace(span[0], span[1], width)
    gains = light.at(columns, np.full(width, yard.back - 1.0)) * shade
    fall = np.linspace(0.92, 1.0, height)[:, None, None]
    textured = wall + 2.5 * speckle(rng, height, width, 3)[..., None]
    glows = (wall.max(axis=2, keepdims=True) > 205) & light.night & (wall[..., 2:] > wall[..., :1] + 25)
    return np.clip(np.where(glows, wall * 0.85, textured * gains[None] * fall), 0, 255).astype(np.uint8), scale


def prop_side(prop: Prop, wide: float, rng: np.random.Generator) -> tuple[Floats, float]:
    """One side of a prop [H, W, 3], unlit, and its pixels per metre."""
    scale = 60.0
    height, width = max(4, int(prop.height * scale)), max(4, int(wide * scale))
    side = np.tile(np.array(prop.colour, np.float64), (height, width, 1))
    if prop.kind == "crate":
        side[:: max(4, int(0.17 * scale))] *= 0.6
        side[:, :5] *= 0.75
        side[:, -5:] *= 0.75
        side *= 1 + 0.05 * speckle(rng, height, width, 6)[..., None]
    elif prop.kind in ("container", "skip"):
        side *= (1 + 0.10 * np.sign(np.sin(np.arange(width) / scale * 2 * np.pi / 0.28)))[None, :, None]
        side[:6] *= 0.7
        side[-6:] *= 0.7
    elif prop.kind == "booth":
        low, high = int(height * 0.18), int(height * 0.58)
        side[low:high, int(width * 0.1) : int(width * 0.9)] = (120, 98, 78)
        side[: int(height * 0.07)] = (60, 110, 190)
    elif prop.kind == "bollard":
        side[:: max(2, height // 3)] *= 0.3
        side[height // 3 : height // 2] = (40, 40, 42)
    return side, scale
