"""A drawn scene: one fixed camera over a yard in which people walk and vehicles drive, by day or by night."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from meshinfer.demo.backdrop import Backdrop, paint
from meshinfer.demo.camera import Camera, Floats
from meshinfer.demo.layouts import VIEWS, Layout, View, layout
from meshinfer.demo.motion import PERIOD, Pose, Track, collide, footprint, route
from meshinfer.demo.paint import Image, Lamp, Light, glow
from meshinfer.demo.people import Person
from meshinfer.demo.truth import Label, Truth
from meshinfer.demo.vehicles import Vehicle

NOISE_PAD: Final = 64


@dataclass(frozen=True, slots=True)
class Mover:
    """Somebody or something on a track."""

    body: Person | Vehicle
    track: Track

    @property
    def label(self) -> Label:
        """The class it counts as."""
        return "person" if isinstance(self.body, Person) else "vehicle"


class Scene:
    """A yard chosen by `seed`; the same seed, hour and size give the same frames on the same machine.

    Movement repeats after `motion.PERIOD` seconds. `size` is (width, height) in pixels.
    """

    def __init__(self, seed: int, night: bool, size: tuple[int, int] = (640, 360), view: View | None = None) -> None:
        rng = np.random.default_rng([seed, int(night), 0x59A2D])
        self.seed, self.night, self.size = seed, night, size
        self.view: View = VIEWS[int(rng.integers(len(VIEWS)))] if view is None else view
        self._yard = layout(self.view, rng)
        self._camera = Camera.over_yard(
            size,
            height=float(rng.uniform(4.8, 6.2)),
            pitch=float(rng.uniform(14.0, 17.0)),
            yaw=float(rng.uniform(-16.0, 16.0)),
            fov=float(rng.uniform(56.0, 61.0)),
        )
        self._light = _light(self._yard, night, rng)
        backdrop: Backdrop = paint(self._yard, self._camera, self._light, float(rng.uniform(5.0, 6.0)), rng)
        self._back, self._occluders = backdrop.image, backdrop.occluders
        self.movers = _populate(self._yard, rng)
        grain = 2.6 if night else 1.5
        pool = rng.normal(128.0, grain, (size[1] + NOISE_PAD, size[0] + NOISE_PAD, 1)) + rng.normal(
            0.0, grain * 0.35, (size[1] + NOISE_PAD, size[0] + NOISE_PAD, 3)
        )
        self._noise: Image = np.clip(np.rint(pool), 0, 255).astype(np.uint8)
        self._title = f"CAM {seed % 8 + 1:02d}  {self.view.upper()}"
        self._clock = (23 * 3600 if night else 10 * 3600) + int(rng.integers(0, 3000))

    def frame(self, t_seconds: float) -> tuple[Image, list[Truth]]:
        """The picture at `t_seconds` (BGR [H, W, 3]) and everything that can be seen in it."""
        canvas = self._back.copy()
        ids = np.zeros((self.size[1], self.size[0]), np.uint8)
        present = self._present(t_seconds % PERIOD)
        self._ground_light(canvas, present)
        seen: list[tuple[Mover, int, Floats, int]] = []
        waiting = list(self._occluders)
        for number, (depth, mover, pose) in enumerate(present, start=1):
            while waiting and waiting[0].depth > depth:
                waiting.pop(0)
            extent = self._draw(canvas, ids, number, mover, pose)
            if extent is None:
                continue
            x0, y0, x1, y1 = self._clip(extent)
            whole = int(np.count_nonzero(ids[y0:y1, x0:x1] == number))
            seen.append((mover, number, extent, whole))
            # What stands nearer than this one is painted over it again, so that the next, nearer mover comes on top.
            following = present[number][0] if number < len(present) else -np.inf
            for occluder in waiting:
                if occluder.depth < depth and occluder.depth >= following:
                    cv2.copyTo(self._back[occluder.area], occluder.mask, canvas[occluder.area])
                    ids[occluder.area][occluder.mask > 0] = 0
        if self.night:
            self._glare(canvas, ids, present)
        self._develop(canvas, t_seconds)
        truths = [self._truth(ids, *entry) for entry in seen]
        return canvas, [truth for truth in truths if truth is not None]

    def _present(self, time: float) -> list[tuple[float, Mover, Pose]]:
        """Everybody in the yard at `time`, the farthest first."""
        rows = []
        for mover in self.movers:
            pose = mover.track.pose(time)
            if pose is not None:
                depth = float(self._camera.project(np.array([[pose.x, pose.y, 0.0]]))[1][0])
                if depth > 2.0:
                    rows.append((depth, mover, pose))
        return sorted(rows, key=lambda row: -row[0])

    def _clip(self, extent: Floats) -> tuple[int, int, int, int]:
        low, high = np.floor(extent[:2]).astype(int) - 1, np.ceil(extent[2:]).astype(int) + 2
        width, height = self.size
        return max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0])), min(height, int(high[1]))

    def _draw(self, canvas: Image, ids: Image, number: int, mover: Mover, pose: Pose) -> Floats | None:
        if isinstance(mover.body, Vehicle):
            lamps_on = self.night and not mover.track.parked
            return mover.body.draw(canvas, ids, number, self._camera, pose, self._light, lamps_on)
        gain = self._light.at(np.array(pose.x), np.array(pose.y))
        return mover.body.draw(canvas, ids, number, self._camera, pose, gain)

    def _truth(self, ids: Image, mover: Mover, number: int, extent: Floats, whole: int) -> Truth | None:
        x0, y0, x1, y1 = self._clip(extent)
        if x0 >= x1 or y0 >= y1 or not whole:
            return None
        mine = (ids[y0:y1, x0:x1] == number).astype(np.uint8)
        left, top, wide, tall = cv2.boundingRect(mine)
        if not wide or not tall:
            return None
        width, height = self.size
        inside = (min(width, extent[2]) - max(0.0, extent[0])) * (min(height, extent[3]) - max(0.0, extent[1]))
        share = inside / max(1.0, (extent[2] - extent[0]) * (extent[3] - extent[1]))
        visible = float(np.clip(cv2.countNonZero(mine) / whole * share, 0.0, 1.0))
        box = (float(x0 + left), float(y0 + top), float(x0 + left + wide), float(y0 + top + tall))
        return Truth(mover.label, box, round(visible, 3))

    def _ground_light(self, canvas: Image, present: list[tuple[float, Mover, Pose]]) -> None:
        """Shadows under everybody, and at night the beams on the ground, as one soft layer a quarter of the size."""
        width, height = self.size
        dark = np.zeros((height // 2, width // 2), np.uint8)
        bright = np.zeros((height // 4, width // 4), np.uint8)
        sun = np.array(self._light.sun)
        for _, mover, pose in present:
            cos, sin = np.cos(pose.heading), np.sin(pose.heading)
            turn = np.array([[cos, -sin], [sin, cos]])
            half, wide, tall = 0.22, 0.2, 1.7
            if isinstance(mover.body, Vehicle):
                half, wide, tall = mover.body.length / 2, mover.body.width / 2, mover.body.height * 0.85
            base = np.array([[half, wide], [half, -wide], [-half, -wide], [-half, wide]]) @ turn.T + [pose.x, pose.y]
            reach = -sun[:2] / max(0.3, sun[2]) * tall * (0.25 if self.night else 0.8)
            cast = cv2.convexHull(np.concatenate([base, base + reach]).astype(np.float32))[:, 0]
            self._shape(dark, np.asarray(cast, dtype=np.float64), 2, 255)
            if self.night and isinstance(mover.body, Vehicle) and not mover.track.parked:
                front = mover.body.length / 2
                for reach_, spread, level in ((8.0, 2.6, 90), (5.5, 1.8, 170), (3.0, 1.2, 240)):
                    corners = [[front, 0.7], [front + reach_, spread], [front + reach_, -spread], [front, -0.7]]
                    self._shape(bright, np.array(corners) @ turn.T + [pose.x, pose.y], 4, level)
        soft = cv2.resize(cv2.blur(dark, (3, 3)), self.size, interpolation=cv2.INTER_LINEAR)
        depth = 0.30 if self.night else 0.48
        keep = cv2.merge([cv2.convertScaleAbs(soft, alpha=-depth, beta=255.0)] * 3)
        cv2.multiply(canvas, keep, dst=canvas, scale=1 / 255)
        if self.night:
            beam = cv2.resize(cv2.blur(bright, (5, 5)), self.size, interpolation=cv2.INTER_LINEAR)
            extra = cv2.multiply(canvas, cv2.merge([beam, beam, beam]), scale=1.5 / 255)
            cv2.add(canvas, extra, dst=canvas)

    def _shape(self, layer: Image, corners: Floats, shrink: int, level: int) -> None:
        """Fill a ground polygon [N, 2] (metres) into a layer `shrink` times smaller than the frame."""
        pixels, depth = self._camera.project(np.column_stack([corners, np.zeros(len(corners))]))
        if depth.min() > 1.0:
            points = np.rint(np.clip(pixels / shrink, -4000, 4000) * 16).astype(np.int32)
            cv2.fillConvexPoly(layer, points, level, cv2.LINE_8, 4)

    def _glare(self, canvas: Image, ids: Image, present: list[tuple[float, Mover, Pose]]) -> None:
        """Halos around headlights that look our way and are not hidden."""
        for number, (depth, mover, pose) in enumerate(present, start=1):
            if not isinstance(mover.body, Vehicle) or mover.track.parked:
                continue
            cos, sin = float(np.cos(pose.heading)), float(np.sin(pose.heading))
            facing = -(cos * pose.x + sin * pose.y) / max(1.0, float(np.hypot(pose.x, pose.y)))
            lamps = mover.body.lamps
            spots = np.column_stack(
                [
                    pose.x + lamps[:, 0] * cos - lamps[:, 1] * sin,
                    pose.y + lamps[:, 0] * sin + lamps[:, 1] * cos,
                    lamps[:, 2],
                ]
            )
            for spot in self._camera.project(spots)[0]:
                x, y = int(spot[0]), int(spot[1])
                seen = 0 <= x < self.size[0] and 0 <= y < self.size[1] and ids[y, x] == number
                if seen and facing > -0.2:
                    level = 0.35 + 0.65 * max(0.0, facing)
                    glow(canvas, spot, 420.0 / depth * level, (150 * level, 165 * level, 170 * level))

    def _develop(self, canvas: Image, time: float) -> None:
        """Sensor noise and the camera's own text."""
        step = round(time * 1000)
        x, y = step * 7919 % NOISE_PAD, step // 7 * 104729 % NOISE_PAD
        noise = self._noise[y : y + self.size[1], x : x + self.size[0]]
        cv2.addWeighted(canvas, 1.0, noise, 1.0, -128.0, dst=canvas)
        clock = self._clock + int(time)
        text = f"{self._title}  {clock // 3600 % 24:02d}:{clock // 60 % 60:02d}:{clock % 60:02d}"
        for colour, corner in (((20, 20, 20), (11, 21)), ((235, 235, 235), (10, 20))):
            cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def _light(yard: Layout, night: bool, rng: np.random.Generator) -> Light:
    angle, high = float(rng.uniform(0.6, 2.5)), float(rng.uniform(0.7, 1.0))
    sun = np.array([np.cos(angle), -abs(np.sin(angle)) * 0.7, 0.4 + high])
    direction = sun / np.linalg.norm(sun)
    towards = (float(direction[0]), float(direction[1]), float(direction[2]))
    if not night:
        gain = float(rng.uniform(0.92, 1.08))
        return Light((gain * 0.98, gain, gain * 1.02), towards, float(rng.uniform(0.30, 0.5)), (), night=False)
    lamps = [Lamp(x, y + 0.5, 6.5, (0.42, 0.58, 0.66)) for x, y in yard.poles]
    if yard.view != "gate":
        lamps += [Lamp(door, yard.back - 1.6, 5.0, (0.40, 0.50, 0.55)) for door in yard.doors]
    else:
        lamps.append(Lamp((yard.opening[0] + yard.opening[1]) / 2 + 3.0, yard.back - 1.0, 6.0, (0.45, 0.58, 0.62)))
    lamps.append(Lamp(0.0, 11.0, 9.0, (0.20, 0.23, 0.25)))
    base = float(rng.uniform(0.30, 0.38))
    return Light((base * 1.2, base * 1.02, base * 0.92), towards, 0.25, tuple(lamps), night=True)


def _populate(yard: Layout, rng: np.random.Generator) -> list[Mover]:
    """Vehicles first, then people; whoever would run into somebody already there, or into a prop, is left out."""
    movers: list[Mover] = []
    taken: list[tuple[Floats, float]] = []
    still = [(np.full((1, 3, 2), (prop.x, prop.y)), max(prop.width, prop.depth) * 0.6) for prop in yard.props]
    still += [(np.full((1, 3, 2), pole), 0.25) for pole in yard.poles]

    def admit(body: Person | Vehicle, track: Track) -> bool:
        length, width = (body.length, body.width) if isinstance(body, Vehicle) else (0.3, 0.5)
        mark = footprint(track, length, width)
        against = taken if isinstance(body, Vehicle) else taken + still
        if any(collide(mark, other) for other in against):
            return False
        movers.append(Mover(body, track))
        taken.append(mark)
        return True

    for x, y, heading, kinds in yard.parked:
        ahead = (x + 0.4 * np.cos(heading), y + 0.4 * np.sin(heading))
        body = Vehicle(kinds[int(rng.integers(len(kinds)))], rng)
        admit(body, Track(route([(x, y), ahead]), start=PERIOD * 2, speed=1.0, waits=True))
    for _ in range(32):
        lane = yard.lanes[int(rng.integers(len(yard.lanes)))]
        body = Vehicle(lane.kinds[int(rng.integers(len(lane.kinds)))], rng)
        stops = [(lane.stop - body.length / 2, float(rng.uniform(2.0, 5.0)))] if lane.stop is not None else []
        start = float(rng.uniform(4.0, 50.0) if lane.waits else rng.uniform(-14.0, PERIOD - 4.0))
        speed = float(rng.uniform(*lane.speed))
        admit(
            body, Track(route(lane.corners), start=start, speed=speed, stops=stops, waits=lane.waits, stays=lane.stays)
        )
        if sum(not mover.track.parked for mover in movers) >= 10:
            break
    walkers = 0
    for _ in range(80):
        points = route(yard.walk(rng))
        stops = [(float(rng.uniform(6.0, 20.0)), float(rng.uniform(3.0, 9.0)))] if rng.random() < 0.35 else []
        track = Track(
            points, start=float(rng.uniform(-16.0, PERIOD - 6.0)), speed=float(rng.uniform(1.0, 1.6)), stops=stops
        )
        walkers += admit(Person.any(rng), track)
        if walkers >= 18:
            break
    return movers
