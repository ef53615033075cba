"""The still part of a scene: sky, ground, building or fence, props and poles, painted once at twice the size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.demo.camera import Camera, Floats
from meshinfer.demo.layouts import Layout, Prop
from meshinfer.demo.paint import Image, Light, bgr, fixed, glow, polygon
from meshinfer.demo.walls import facade, ground, prop_side

SUPER: Final = 2
GROUND: Final = (-34.0, 2.0, 34.0, 48.0)
"""The part of the ground (x0, y0, x1, y1 in metres) with texture."""
POLE_HEIGHT: Final = 6.2


@dataclass(frozen=True, slots=True)
class Occluder:
    """Something still that movers can be behind: its depth in metres, its place in the frame, its silhouette there."""

    depth: float
    area: tuple[slice, slice]
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The painted background [H, W, 3] and what of it stands in front of movers."""

    image: Image
    occluders: tuple[Occluder, ...]


class Painter:
    """Paints a backdrop; every method adds to `canvas`."""

    def __init__(self, camera: Camera, light: Light, rng: np.random.Generator) -> None:
        self.small, self.camera, self.light, self.rng = camera, camera.scaled(SUPER), light, rng
        width, height = self.camera.size
        self.canvas: Image = np.zeros((height, width, 3), np.uint8)
        self.occluders: list[Occluder] = []

    def lay(self, picture: Image, origin: Floats, across: Floats, down: Floats) -> None:
        """Lay `picture` into the world (see `Camera.plane`)."""
        tall, wide = picture.shape[:2]
        corners = np.array([origin + across * u + down * v for u, v in ((0, 0), (wide, 0), (wide, tall), (0, tall))])
        pixels, depth = self.camera.project(corners)
        plane = self.camera.plane(origin, across, down)
        width, height = self.camera.size
        x0, y0, x1, y1 = 0, 0, width, height
        if depth.min() > 0.5:
            x0, y0 = (max(0, int(low) - 1) for low in pixels.min(axis=0))
            x1, y1 = (
                min(limit, int(high) + 2) for limit, high in zip((width, height), pixels.max(axis=0), strict=True)
            )
        if x0 >= x1 or y0 >= y1:
            return
        shift = np.array([[1.0, 0.0, -x0], [0.0, 1.0, -y0], [0.0, 0.0, 1.0]])
        mapping, size = shift @ plane, (x1 - x0, y1 - y0)
        region = self.canvas[y0:y1, x0:x1]
        warped = cv2.warpPerspective(picture, mapping, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpPerspective(np.full((tall, wide), 255, np.uint8), mapping, size, flags=cv2.INTER_LINEAR)
        cv2.copyTo(warped, (inside > 127).astype(np.uint8), region)

    def occlude(self, outlines: list[Floats], x: float, y: float) -> None:
        """Remember silhouettes (pixel polygons of the small frame) that stand at the ground point (`x`, `y`)."""
        width, height = self.small.size
        mask = np.zeros((height, width), np.uint8)
        for outline in outlines:
            cv2.fillPoly(mask, [fixed(outline)], 255, cv2.LINE_8, 4)
        left, top, wide, tall = cv2.boundingRect(mask)
        if wide and tall:
            area = (slice(top, top + tall), slice(left, left + wide))
            depth = float(self.small.project(np.array([[x, y, 0.0]]))[1][0])
            self.occluders.append(Occluder(depth, area, mask[area].copy()))

    def sky(self) -> None:
        """The sky down to the horizon, and what stands far away."""
        width, height = self.camera.size
        horizon = int(np.clip(self.camera.horizon, 4, height))
        top, low = ((38, 24, 16), (64, 44, 34)) if self.light.night else ((222, 178, 132), (238, 226, 210))
        share = np.linspace(0, 1, horizon)[:, None, None]
        self.canvas[:horizon] = (np.array(top) * (1 - share) + np.array(low) * share).astype(np.uint8)
        gain = np.array(self.light.ambient)
        self.canvas[horizon:] = (np.array((60.0, 100.0, 84.0)) * gain).astype(np.uint8)
        x = -20
        while x < width:
            wide, tall = int(self.rng.integers(50, 150)), int(self.rng.integers(6, 40))
            tone = np.array((165, 150, 140)) * float(self.rng.uniform(0.8, 1.0)) * gain
            cv2.rectangle(self.canvas, (x, horizon - tall), (x + wide, horizon + 6), tuple(int(v) for v in tone), -1)
            x += wide + int(self.rng.integers(-10, 40))

    def hedge(self, y: float) -> None:
        """Trees along X, from the depth `y` on."""
        gain = np.array(self.light.ambient)
        rows = self.rng.uniform((-45.0, y, 0.2), (45.0, y + 8.0, 4.2), (420, 3))
        rows = rows[np.lexsort((rows[:, 2], -rows[:, 1]))]
        pixels, depth = self.camera.project(rows)
        for pixel, far, high in zip(pixels, depth, rows[:, 2], strict=True):
            if far > 5.0:
                tone = np.array((45, 92, 66)) * (0.5 + 0.13 * high + float(self.rng.uniform(-0.12, 0.12))) * gain
                radius = int(1150.0 * float(self.rng.uniform(0.5, 1.0)) / far)
                cv2.circle(self.canvas, (int(pixel[0]), int(pixel[1])), radius, bgr(tone), -1, cv2.LINE_AA)

    def ground(self, yard: Layout) -> None:
        """The ground with its marks, lit."""
        picture, scale = ground(yard, GROUND, self.light, self.rng)
        x0, _, _, y1 = GROUND
        step = 1 / scale
        horizon = max(0, int(self.camera.horizon) + 1)
        above = self.canvas[:horizon].copy()
        self.lay(picture, np.array([x0, y1, 0.0]), np.array([step, 0, 0]), np.array([0, -step, 0]))
        self.canvas[:horizon] = above

    def building(self, yard: Layout, height: float) -> None:
        """The wall at the back."""
        picture, scale = facade(yard, (-34.0, 34.0), height, self.light, self.rng)
        step = 1 / scale
        self.lay(picture, np.array([-34.0, yard.back, height]), np.array([step, 0, 0]), np.array([0, 0, -step]))

    def fence(self, yard: Layout) -> None:
        """Posts, rails and wires on both sides of the gate; each is an occluder of its own."""
        gain = self.light.at(np.array(0.0), np.array(yard.back)) * 0.9
        for x0, x1 in ((-34.0, yard.opening[0]), (yard.opening[1], 34.0)):
            bars = [((x, x), (0.0, 2.1), 0.07) for x in np.arange(x0, x1 + 0.01, 2.4)]
            bars += [((x0, x1), (z, z), 0.035) for z in (0.25, 0.7, 1.15, 1.6, 2.05)]
            outlines = [self._bar((bx[0], bx[1]), yard.back, (bz[0], bz[1]), wide) for bx, bz, wide in bars]
            for outline in outlines:
                polygon(self.canvas, outline * SUPER, np.array((118, 122, 116)) * gain)
            self.occlude(outlines, (x0 + x1) / 2, yard.back)
        x = yard.opening[1] + 0.5
        arm = [self._bar((x, x), yard.back - 0.4, (0.0, 1.1), 0.3)]
        angle = 1.15
        for part in range(6):
            a, b = (0.9 + 0.75 * step for step in (part, part + 1))
            ends = np.array([[x - np.cos(angle) * r, yard.back - 0.4, 0.2 + np.sin(angle) * r] for r in (a, b)])
            pixels = self.small.project(ends)[0]
            side = np.array([2.0, 1.0])
            arm.append(np.array([pixels[0] - side, pixels[1] - side, pixels[1] + side, pixels[0] + side]))
        for index, outline in enumerate(arm):
            colour = (70, 75, 80) if not index else ((225, 225, 228) if index % 2 else (45, 45, 200))
            polygon(self.canvas, outline * SUPER, np.array(colour) * gain)
        self.occlude(arm, x, yard.back - 0.4)

    def _bar(self, x: tuple[float, float], y: float, z: tuple[float, float], wide: float) -> Floats:
        """The outline in small-frame pixels of an upright or level bar."""
        ends, depth = self.small.project(np.array([[x[0], y, z[0]], [x[1], y, z[1]]]))
        if depth.min() < 0.5:
            return np.zeros((4, 2))
        half = max(0.5, 280.0 * wide / float(depth.mean()))
        side = np.array([half, 0.0]) if x[0] == x[1] else np.array([0.0, half])
        return np.array([ends[0] - side, ends[1] - side, ends[1] + side, ends[0] + side])

    def prop(self, prop: Prop) -> None:
        """A box with textured sides."""
        cos, sin = np.cos(prop.turn), np.sin(prop.turn)
        along, away = np.array([cos, sin, 0.0]), np.array([-sin, cos, 0.0])
        centre, up = np.array([prop.x, prop.y, 0.0]), np.array([0.0, 0.0, 1.0])
        gain = self.light.at(np.array(prop.x), np.array(prop.y))
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        base = np.array([centre + along * sx * prop.width / 2 + away * sy * prop.depth / 2 for sx, sy in signs])
        for corner, after in ((base[i], base[(i + 1) % 4]) for i in range(4)):
            normal = np.cross(after - corner, up)
            normal /= max(1e-9, float(np.linalg.norm(normal)))
            if normal @ (self.camera.position - corner) <= 0:
                continue
            wide = float(np.linalg.norm(after - corner))
            shade = float(self.light.shades(normal[None])[0])
            picture, scale = prop_side(prop, wide, self.rng)
            lit = np.clip(picture * (gain * shade), 0, 255).astype(np.uint8)
            self.lay(lit, corner + up * prop.height, (after - corner) / wide / scale, -up / scale)
        top = self.camera.project(base + up * prop.height)[0]
        polygon(self.canvas, top, np.array(prop.colour) * gain * float(self.light.shades(up[None])[0]))
        corners = self.small.project(np.concatenate([base, base + up * prop.height]))[0]
        self.occlude([cv2.convexHull(corners.astype(np.float32))[:, 0].astype(np.float64)], prop.x, prop.y)

    def pole(self, x: float, y: float) -> None:
        """A lamp post."""
        gain = self.light.at(np.array(x), np.array(y))
        outline = self._bar((x, x), y, (0.0, POLE_HEIGHT), 0.14)
        foot = self._bar((x, x), y, (0.0, 0.5), 0.3)
        for shape, tone in ((foot, 110), (outline, 96)):
            polygon(self.canvas, shape * SUPER, np.array((tone, tone, tone)) * gain)
        self.occlude([outline, foot], x, y)
        head = self.camera.project(np.array([[x, y, POLE_HEIGHT]]))[0][0]
        polygon(self.canvas, head + np.array([[-16, -3], [16, -3], [14, 4], [-14, 4]]), (84, 84, 84))
        if self.light.night:
            polygon(self.canvas, head + np.array([[-13, 3], [13, 3], [13, 6], [-13, 6]]), (215, 245, 255))
            glow(self.canvas, head + np.array([0.0, 5.0]), 90, (90, 130, 150))

    def finish(self) -> Backdrop:
        """The backdrop at the frame's size."""
        image = cv2.resize(self.canvas, self.small.size, interpolation=cv2.INTER_AREA)
        return Backdrop(np.asarray(image, dtype=np.uint8), tuple(sorted(self.occluders, key=lambda it: -it.depth)))


def paint(yard: Layout, camera: Camera, light: Light, height: float, rng: np.random.Generator) -> Backdrop:
    """Paint the backdrop of `yard`; `height` is the building's, metres."""
    painter = Painter(camera, light, rng)
    painter.sky()
    painter.ground(yard)
    if yard.view == "gate":
        painter.hedge(yard.back + 13.0)
        painter.fence(yard)
    else:
        painter.building(yard, height)
    for prop in sorted(yard.props, key=lambda it: -it.y):
        painter.prop(prop)
    for x, y in yard.poles:
        painter.pole(x, y)
    return painter.finish()
