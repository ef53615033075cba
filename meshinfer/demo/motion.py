"""Where everything that moves is at a time: routes over the ground, speeds, stops, and who would run into whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meshinfer.demo.camera import Floats

PERIOD: Final = 60.0
"""Seconds of movement a scene holds; after that it starts over."""

GRID: Final = np.arange(0.0, PERIOD + 1e-9, 0.25)
"""The times at which movers are held apart from each other."""


@dataclass(frozen=True, slots=True)
class Pose:
    """A place on the ground (metres), a heading (radians from +X towards +Y), and what the gait and the lights need."""

    x: float
    y: float
    heading: float
    travelled: float
    speed: float


def route(corners: Sequence[tuple[float, float]], rounds: int = 3) -> Floats:
    """Points [N, 2] about 0.3 m apart along `corners`, each corner cut round (Chaikin)."""
    points = np.array(corners, dtype=np.float64)
    for _ in range(rounds if len(points) > 2 else 0):
        inner = np.stack([points[:-1] * 0.75 + points[1:] * 0.25, points[:-1] * 0.25 + points[1:] * 0.75], axis=1)
        points = np.concatenate([points[:1], inner.reshape(-1, 2)[1:-1], points[-1:]])
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    steps = np.linspace(0.0, lengths[-1], max(2, int(lengths[-1] / 0.3)))
    return np.column_stack([np.interp(steps, lengths, points[:, 0]), np.interp(steps, lengths, points[:, 1])])


class Track:
    """One mover's run along a route.

    It starts at `start` seconds, keeps `speed` m/s, and rests at each of `stops` (metres along the route, seconds). A
    mover that `waits` is there before its start; one that `stays` is there after its end; others only on the way.
    """

    def __init__(
        self,
        points: Floats,
        *,
        start: float,
        speed: float,
        stops: Sequence[tuple[float, float]] = (),
        waits: bool = False,
        stays: bool = False,
        brisk: float = 1.6,
    ) -> None:
        self._points = points
        steps = np.hypot(*np.diff(points, axis=0).T)
        self._along = np.concatenate([[0.0], np.cumsum(steps)])
        directions = np.unwrap(np.arctan2(*np.diff(points, axis=0).T[::-1]))
        self._headings = np.concatenate([directions, directions[-1:]])
        self._waits, self._stays = waits, stays
        self._times, self._places = self._timetable(start, speed, stops, brisk)

    @property
    def parked(self) -> bool:
        """Whether it never moves within the scene."""
        return self._waits and float(self._times[0]) > PERIOD

    def _timetable(
        self, start: float, speed: float, stops: Sequence[tuple[float, float]], brisk: float
    ) -> tuple[Floats, Floats]:
        end = float(self._along[-1])
        halts = [*sorted(stops), (end, 0.0)] if self._stays else sorted(stops)
        now, place, pace, step = start, 0.0, 0.0 if self._waits else speed, 0.1
        times, places = [now], [place]
        while place < end - 0.02 and now < PERIOD + 1.0:
            ahead = halts[0][0] - place if halts else np.inf
            if halts and ahead < 0.05:
                now, pace = now + halts.pop(0)[1], 0.0
                times.append(now)
                places.append(place)
                continue
            pace = min(speed, pace + brisk * step, float(np.sqrt(2 * brisk * ahead)) + 0.05)
            now, place = now + step, min(end, place + pace * step)
            times.append(now)
            places.append(place)
        return np.array(times), np.array(places)

    def sample(self, times: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Rows (x, y, heading, travelled) at `times` [T], and whether the mover is in the scene then."""
        places = np.interp(times, self._times, self._places)
        columns = [*self._points.T, self._headings]
        present = (self._waits | (times >= self._times[0])) & (self._stays | (times <= self._times[-1]))
        return np.column_stack([*(np.interp(places, self._along, column) for column in columns), places]), present

    def pose(self, time: float) -> Pose | None:
        """Where the mover is at `time`, or None where it is not in the scene."""
        rows, present = self.sample(np.array([time, time + 0.1]))
        if not present[0]:
            return None
        x, y, heading, place = rows[0]
        return Pose(float(x), float(y), float(heading), float(place), float((rows[1, 3] - place) / 0.1))


def footprint(track: Track, length: float, width: float) -> tuple[Floats, float]:
    """Discs that cover a mover at every time of `GRID`: centres [T, 3, 2] (NaN when away) and their radius."""
    rows, present = track.sample(GRID)
    ahead = np.column_stack([np.cos(rows[:, 2]), np.sin(rows[:, 2])])
    centres = rows[:, None, :2] + ahead[:, None, :] * np.array([-length / 3, 0.0, length / 3])[None, :, None]
    centres[~present] = np.nan
    return centres, width / 2 + 0.3


def collide(one: tuple[Floats, float], other: tuple[Floats, float]) -> bool:
    """Whether two footprints ever touch."""
    apart = np.hypot(*np.moveaxis(one[0][:, :, None] - other[0][:, None, :], -1, 0))
    return bool(np.any(apart < one[1] + other[1]))
