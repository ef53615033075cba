"""Vehicles: small meshes of a car, a van and a box truck, drawn face by face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.demo.camera import Camera, Floats
from meshinfer.demo.motion import Pose
from meshinfer.demo.paint import SHIFT, Colour, Image, Light, fixed, polygon

Kind = Literal["car", "van", "truck"]
PAINT: Final[tuple[Colour, ...]] = (
    (225, 225, 222),
    (60, 58, 55),
    (40, 40, 175),
    (150, 90, 35),
    (165, 165, 160),
    (75, 110, 45),
    (45, 150, 215),
)
GLASS: Final[Colour] = (95, 78, 62)
TYRE: Final[Colour] = (26, 26, 28)


@dataclass(frozen=True, slots=True)
class Face:
    """A flat polygon: rows of the mesh's vertices in order, its colour, and whether it shines by itself at night."""

    rows: NDArray[np.intp]
    colour: Colour
    glows: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A convex piece of the mesh: `rows` are its vertices, `faces` come in drawing order, bodywork first.

    `colours`, `glows`, outward `normals` and `middles` [F, ...] are those of the faces.
    """

    rows: slice
    faces: tuple[Face, ...]
    colour: Colour
    colours: Floats
    glows: NDArray[np.bool_]
    normals: Floats
    middles: Floats


class Vehicle:
    """One vehicle. Its own axes: x ahead, y to its left, z up, metres, the origin on the ground in its middle."""

    def __init__(self, kind: Kind, rng: np.random.Generator) -> None:
        self.kind: Kind = kind
        paint = PAINT[int(rng.integers(len(PAINT)))]
        self._vertices: list[tuple[float, float, float]] = []
        self._parts: list[Part] = []
        self._faces: list[Face] = []
        if kind == "car":
            self.length, self.width, self.height = float(rng.uniform(4.1, 4.7)), 1.82, 1.48
            self._car(paint)
        elif kind == "van":
            self.length, self.width, self.height = float(rng.uniform(5.0, 5.8)), 2.0, 2.35
            self._van(paint, PAINT[int(rng.integers(len(PAINT)))])
        else:
            self.length, self.width, self.height = float(rng.uniform(7.2, 8.4)), 2.45, 3.3
            self._truck(paint, ((228, 228, 224), (190, 196, 200), paint)[int(rng.integers(3))], rng)
        self.vertices = np.array(self._vertices)
        self.lamps: Floats = np.array([[self.length / 2, side * self.width * 0.36, 0.72] for side in (1, -1)])

    def _add(self, points: list[tuple[float, float, float]], colour: Colour, glows: bool = False) -> None:
        first = len(self._vertices)
        self._vertices += points
        self._faces.append(Face(np.arange(first, first + len(points)), colour, glows))

    def _close(self, colour: Colour, first: int) -> None:
        vertices, faces = np.array(self._vertices), tuple(self._faces)
        self._parts.append(
            Part(
                rows=slice(first, len(vertices)),
                faces=faces,
                colour=colour,
                colours=np.array([face.colour for face in faces]),
                glows=np.array([face.glows for face in faces]),
                normals=np.array([_normal(vertices[face.rows]) for face in faces]),
                middles=np.array([vertices[face.rows].mean(axis=0) for face in faces]),
            )
        )
        self._faces = []

    def _prism(
        self, profile: list[tuple[float, float]], half: list[float], colours: list[Colour], side: Colour
    ) -> None:
        """A profile (x, z), clockwise seen from the left, drawn out to `half` widths; `colours` are its strips'."""
        count = len(profile)
        left = [(x, half[i], z) for i, (x, z) in enumerate(profile)]
        right = [(x, -half[i], z) for i, (x, z) in enumerate(profile)]
        for i, colour in enumerate(colours):
            after = (i + 1) % count
            self._add([left[i], left[after], right[after], right[i]], colour)
        self._add(left[::-1], side)
        self._add(right, side)

    def _sides(self, points: list[tuple[float, float]], half: float, colour: Colour) -> None:
        """The same (x, z) patch on both flanks."""
        self._add([(x, half, z) for x, z in points[::-1]], colour)
        self._add([(x, -half, z) for x, z in points], colour)

    def _wheels(self, places: list[float], radius: float) -> None:
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        for place in places:
            for size, colour in ((1.0, TYRE), (0.55, (135.0, 135.0, 138.0))):
                ring = [
                    (place - float(np.cos(a)) * radius * size, radius + float(np.sin(a)) * radius * size) for a in turn
                ]
                self._sides(ring, self.width / 2 + 0.01, colour)

    def _lights(self, x: float, z: float, size: float, *, rear: bool = False) -> None:
        """A pair of headlights, or of tail lights."""
        half = self.width / 2
        for side in (1.0, -1.0):
            a, b = sorted((side * half * 0.55, side * half * 0.92))
            pane = [(x, b, z), (x, b, z + size), (x, a, z + size), (x, a, z)]
            self._add(pane if rear else pane[::-1], (40.0, 40.0, 205.0) if rear else (225.0, 245.0, 250.0), True)

    def _chassis(self, shrink: float, top: float) -> None:
        first, half, end = len(self._vertices), self.width / 2 - 0.1, self.length / 2 * shrink
        dark = (24.0, 24.0, 25.0)
        self._prism([(-end, 0.18), (-end, top), (end, top), (end, 0.18)], [half] * 4, [dark] * 4, dark)
        self._close(dark, first)

    def _car(self, paint: Colour) -> None:
        end, half = self.length / 2, self.width / 2
        self._chassis(0.96, 0.5)
        first = len(self._vertices)
        body = [
            (-end, 0.3),
            (-end, 0.72),
            (-end + 0.12, 0.93),
            (end - 1.15, 0.93),
            (end - 0.1, 0.76),
            (end, 0.62),
            (end, 0.3),
        ]
        self._prism(body, [half] * 7, [paint] * 6, paint)
        self._sides(
            [(-end + 0.1, 0.3), (-end + 0.1, 0.4), (end - 0.1, 0.4), (end - 0.1, 0.3)], half + 0.005, (45, 45, 48)
        )
        self._wheels([-end + 0.85, end - 0.85], 0.33)
        self._lights(end + 0.01, 0.56, 0.14)
        self._lights(-end - 0.01, 0.6, 0.14, rear=True)
        self._close(paint, first)
        first = len(self._vertices)
        cabin = [(-end + 0.25, 0.92), (-end + 0.75, 1.4), (-end + 1.0, 1.48), (end - 2.15, 1.48), (end - 1.2, 0.92)]
        halves = [half * 0.93, half * 0.8, half * 0.78, half * 0.78, half * 0.93]
        self._prism(cabin, halves, [GLASS, paint, paint, GLASS], paint)
        for sign in (1.0, -1.0):
            for x0, x1, top0, top1 in ((-end + 0.55, -0.12, -end + 0.95, -0.12), (0.0, end - 1.45, 0.0, end - 2.2)):
                patch = [
                    (x0, half * 0.92, 0.98),
                    (top0, half * 0.81, 1.41),
                    (top1, half * 0.81, 1.41),
                    (x1, half * 0.92, 0.98),
                ]
                pane = [(x, sign * y, z) for x, y, z in patch]
                self._add(pane if sign < 0 else pane[::-1], GLASS)
        self._close(paint, first)

    def _van(self, paint: Colour, stripe: Colour) -> None:
        end, half = self.length / 2, self.width / 2
        self._chassis(0.96, 0.55)
        first = len(self._vertices)
        body = [
            (-end, 0.36),
            (-end, 2.15),
            (-end + 0.12, 2.35),
            (end - 1.5, 2.35),
            (end - 0.75, 1.4),
            (end, 1.12),
            (end, 0.36),
        ]
        self._prism(
            body,
            [half, half, half * 0.92, half * 0.92, half, half, half],
            [paint, paint, paint, GLASS, paint, paint],
            paint,
        )
        self._sides([(end - 1.85, 1.4), (end - 1.75, 2.1), (end - 1.4, 2.1), (end - 0.85, 1.4)], half + 0.005, GLASS)
        self._sides([(-end + 0.2, 1.0), (-end + 0.2, 1.22), (end - 1.1, 1.22), (end - 1.1, 1.0)], half + 0.005, stripe)
        back = -end - 0.01
        self._add(
            [(back, half * 0.8, 1.45), (back, half * 0.8, 2.0), (back, -half * 0.8, 2.0), (back, -half * 0.8, 1.45)],
            GLASS,
        )
        self._wheels([-end + 0.95, end - 0.9], 0.36)
        self._lights(end + 0.01, 0.75, 0.22)
        self._lights(back, 0.8, 0.3, rear=True)
        self._close(paint, first)

    def _truck(self, paint: Colour, cargo: Colour, rng: np.random.Generator) -> None:
        end, half = self.length / 2, self.width / 2
        self._chassis(0.97, 0.95)
        first = len(self._vertices)
        cab = [(end - 1.9, 0.5), (end - 1.9, 2.65), (end - 0.5, 2.65), (end - 0.05, 1.55), (end, 1.45), (end, 0.45)]
        self._prism(cab, [half * 0.96] * 6, [paint, paint, GLASS, paint, paint], paint)
        self._sides([(end - 1.4, 1.55), (end - 1.4, 2.35), (end - 0.55, 2.35), (end - 0.25, 1.55)], half * 0.965, GLASS)
        self._sides(
            [(end - 1.7, 0.5), (end - 1.7, 0.62), (end - 0.1, 0.62), (end - 0.1, 0.5)], half * 0.965, (45, 45, 48)
        )
        front = end + 0.01
        grille = [
            (front, -half * 0.6, 0.95),
            (front, -half * 0.6, 1.3),
            (front, half * 0.6, 1.3),
            (front, half * 0.6, 0.95),
        ]
        self._add(grille, (50, 50, 54))
        self._wheels([end - 1.0], 0.48)
        self._lights(front, 0.6, 0.22)
        self._close(paint, first)
        first = len(self._vertices)
        back, fore = -end, end - 2.05
        box = [(back, 0.95), (back, 3.3), (fore, 3.3), (fore, 0.95)]
        self._prism(box, [half] * 4, [cargo] * 3, cargo)
        stripe = PAINT[int(rng.integers(2, len(PAINT)))]
        if rng.random() < 0.7:
            low = float(rng.uniform(1.3, 2.1))
            self._sides(
                [(back + 0.4, low), (back + 0.4, low + 0.55), (fore - 0.4, low + 0.55), (fore - 0.4, low)],
                half + 0.005,
                stripe,
            )
        rear = back - 0.01
        seam = tuple(part * 0.8 for part in cargo)
        for y0, y1 in ((-half * 0.93, -0.04), (0.04, half * 0.93)):
            self._add(
                [(rear, y1, 1.05), (rear, y1, 3.18), (rear, y0, 3.18), (rear, y0, 1.05)], (seam[0], seam[1], seam[2])
            )
        self._lights(rear, 0.7, 0.2, rear=True)
        self._sides([(back + 0.3, 0.62), (back + 0.3, 0.9), (fore, 0.9), (fore, 0.62)], half * 0.97, (52, 52, 56))
        self._wheels([-end + 1.1, -end + 2.15], 0.48)
        self._close(cargo, first)

    def draw(
        self, canvas: Image, ids: Image, number: int, camera: Camera, pose: Pose, light: Light, lamps_on: bool
    ) -> Floats | None:
        """Draw onto `canvas` and the id mask `ids`; the silhouette's extent (x0, y0, x1, y1), None if unseen."""
        cos, sin = float(np.cos(pose.heading)), float(np.sin(pose.heading))
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        place = np.array([pose.x, pose.y, 0.0])
        pixels, depth = camera.project(self.vertices @ turn.T + place)
        if depth.min() < 2.0:
            return None
        extent = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
        if extent[0] > camera.size[0] or extent[1] > camera.size[1] or extent[2] < 0 or extent[3] < 0:
            return None
        gain, eye, points = (
            light.at(np.array(pose.x), np.array(pose.y)),
            (camera.position - place) @ turn,
            fixed(pixels),
        )
        order = list(range(len(self._parts)))
        if self.kind == "truck" and depth[self._parts[2].rows].mean() > depth[self._parts[1].rows].mean():
            order = [0, 2, 1]
        for part in (self._parts[index] for index in order):
            hull = cv2.convexHull(pixels[part.rows].astype(np.float32))[:, 0].astype(np.float64)
            polygon(canvas, hull, np.array(part.colour) * gain * 0.7)
            cv2.fillConvexPoly(ids, fixed(hull), number, cv2.LINE_8, SHIFT)
            shades = light.shades(part.normals @ turn.T)[:, None] * gain
            tones = np.clip(part.colours * np.where(part.glows[:, None] & lamps_on, 1.0, shades), 0, 255).astype(int)
            turned_to_us = np.sum((eye - part.middles) * part.normals, axis=1) > 0.0
            for index in np.flatnonzero(turned_to_us):
                cv2.fillPoly(canvas, [points[part.faces[index].rows]], tones[index].tolist(), cv2.LINE_AA, SHIFT)
        return extent


def _normal(corners: Floats) -> Floats:
    """The unit normal of a planar polygon [N, 3] that runs clockwise seen from outside."""
    after = np.roll(corners, -1, axis=0)
    normal = -np.cross(corners, after).sum(axis=0)
    return np.asarray(normal / max(1e-9, float(np.linalg.norm(normal))))
