"""The yards: what stands where, what is painted on the ground, where vehicles drive and where people walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from meshinfer.demo.paint import Colour
from meshinfer.demo.vehicles import Kind

View = Literal["dock", "gate", "lot"]
VIEWS: Final[tuple[View, ...]] = ("dock", "gate", "lot")
Point = tuple[float, float]

WHITE: Final[Colour] = (205, 208, 208)
YELLOW: Final[Colour] = (60, 180, 215)


@dataclass(frozen=True, slots=True)
class Mark:
    """A painted line on the ground, `width` metres wide; `dash` metres of paint and of gap, 0 for a whole line."""

    start: Point
    end: Point
    width: float
    colour: Colour
    dash: float = 0.0


@dataclass(frozen=True, slots=True)
class Prop:
    """A box that stands in the yard: centre, sizes along X and Y, height (metres), turn (radians), kind."""

    x: float
    y: float
    width: float
    depth: float
    height: float
    turn: float
    kind: Literal["crate", "container", "booth", "bollard", "skip"]
    colour: Colour


@dataclass(frozen=True, slots=True)
class Lane:
    """A way for vehicles: its corners, speeds in m/s, who uses it, and where they stop (metres along it), if at all."""

    corners: tuple[Point, ...]
    speed: tuple[float, float]
    kinds: tuple[Kind, ...]
    stop: float | None = None
    waits: bool = False
    stays: bool = False


@dataclass(slots=True)
class Layout:
    """One yard."""

    view: View
    back: float
    """Y of the building or the fence, metres."""
    lanes: list[Lane] = field(default_factory=list)
    parked: list[tuple[float, float, float, tuple[Kind, ...]]] = field(default_factory=list)
    """Places for standing vehicles: x, y, heading, kinds."""
    props: list[Prop] = field(default_factory=list)
    poles: list[Point] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    verges: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Grass: x0, y0, x1, y1."""
    doors: list[float] = field(default_factory=list)
    """X of the middle of each loading door."""
    opening: tuple[float, float] = (0.0, 0.0)
    """X range of the gate in the fence."""
    walk: Callable[[np.random.Generator], list[Point]] = lambda rng: [(-20.0, 10.0), (20.0, 10.0)]


ANY: Final[tuple[Kind, ...]] = ("car", "car", "van", "truck")
SMALL: Final[tuple[Kind, ...]] = ("car", "car", "van")
CRATE: Final[Colour] = (95, 140, 180)
CONTAINERS: Final[tuple[Colour, ...]] = ((130, 85, 35), (45, 60, 150), (75, 110, 50), (60, 120, 190))


def layout(view: View, rng: np.random.Generator) -> Layout:
    """A yard of the kind `view`, its measures drawn from `rng`."""
    return {"dock": _dock, "gate": _gate, "lot": _lot}[view](rng)


def _crossing(y: float, back: float) -> tuple[Point, Point]:
    """A straight way through the picture at depth `y`, from where nothing of it is seen to where nothing is."""
    reach = 17.0 + 0.75 * y
    return ((-reach, y), (reach, y)) if back > 0 else ((reach, y), (-reach, y))


def _edge(y: float) -> float:
    """How far from the middle a walker at depth `y` is out of the picture, whatever the camera's turn."""
    return 4.5 + 0.78 * y


def _walker(rows: list[tuple[float, float]]) -> Callable[[np.random.Generator], list[Point]]:
    """Walks along one of `rows` (y ranges), half of them changing the row on the way."""

    def walk(rng: np.random.Generator) -> list[Point]:
        low, high = rows[int(rng.integers(len(rows)))]
        y, sign = float(rng.uniform(low, high)), float(rng.choice([-1.0, 1.0]))
        points = [(-sign * _edge(y), y)]
        if rng.random() < 0.6:
            low, high = rows[int(rng.integers(len(rows)))]
            x, other = float(rng.uniform(-6, 6)), float(rng.uniform(low, high))
            points += [(x - sign * 1.5, y), (x + sign * 1.5, other)]
            y = other
        return [*points, (sign * _edge(y), y)]

    return walk


def _stacks(rng: np.random.Generator, places: list[Point]) -> list[Prop]:
    """Crates at some of `places`."""
    props: list[Prop] = []
    for x, y in places:
        if rng.random() < 0.75:
            size = float(rng.uniform(1.0, 1.3))
            colour = (CRATE[0] * float(rng.uniform(0.8, 1.1)), CRATE[1], CRATE[2])
            props.append(
                Prop(x, y, size, size, float(rng.uniform(0.7, 1.5)), float(rng.uniform(-0.3, 0.3)), "crate", colour)
            )
            if rng.random() < 0.5:
                props.append(Prop(x + size * 1.25, y, size, size, 0.7, float(rng.uniform(-0.2, 0.2)), "crate", CRATE))
    return props


def _dock(rng: np.random.Generator) -> Layout:
    yard = Layout("dock", back=float(rng.uniform(26.5, 28.0)))
    back, pitch = yard.back, float(rng.uniform(5.6, 6.6))
    shift = float(rng.uniform(-2.5, 2.5))
    yard.doors = [shift + pitch * index for index in range(-3, 4)]
    near, far = back - 15.0, back - 11.8
    yard.lanes = [
        Lane(_crossing(near, 1.0), (3.5, 6.0), ANY),
        Lane(_crossing(far, -1.0), (3.5, 6.0), ANY),
    ]
    for index, door in enumerate(yard.doors[1:-1]):
        stand = back - 4.3
        if rng.random() < 0.32:
            yard.parked.append((door, stand, -np.pi / 2, ("truck",)))
        elif index % 2 and rng.random() < 0.7:
            side = float(rng.choice([-1.0, 1.0]))
            corners = (
                (door, stand),
                (door, far + 1.2),
                (door + side * 4.0, far if side < 0 else near),
                (side * 34.0, far if side < 0 else near),
            )
            yard.lanes.append(Lane(corners, (3.0, 4.5), ("truck", "van"), waits=True))
    for left in [door - pitch / 2 for door in yard.doors]:
        yard.marks.append(Mark((left, back - 0.3), (left, back - 8.6), 0.14, YELLOW))
    yard.marks += [
        Mark((-40, back - 8.6), (40, back - 8.6), 0.14, YELLOW),
        Mark((-40, (near + far) / 2), (40, (near + far) / 2), 0.13, WHITE, 1.6),
        Mark((-40, near - 1.8), (40, near - 1.8), 0.13, WHITE),
    ]
    yard.props = _stacks(rng, [(door + pitch / 2, back - 0.9) for door in yard.doors[1:-1]])
    if rng.random() < 0.6:
        side = float(rng.choice([-1.0, 1.0]))
        yard.props.append(
            Prop(
                side * 15.5, back - 3.4, 2.5, 6.1, 2.6, 0.0, "container", CONTAINERS[int(rng.integers(len(CONTAINERS)))]
            )
        )
    yard.poles = [(float(rng.uniform(-9, -5)), back - 10.15), (float(rng.uniform(5, 9)), back - 10.15)]
    yard.walk = _walker([(back - 9.4, back - 9.15), (near - 3.0, near - 2.3), (near - 3.0, near - 2.3)])
    return yard


def _lot(rng: np.random.Generator) -> Layout:
    yard = Layout("lot", back=float(rng.uniform(24.5, 26.0)))
    back, pitch = yard.back, 3.1
    shift = float(rng.uniform(-1.5, 1.5))
    yard.doors = [shift + float(rng.choice([-9.3, 0.0, 9.3]))]
    near, far = back - 12.4, back - 9.2
    yard.lanes = [Lane(_crossing(near, 1.0), (3.0, 5.5), ANY), Lane(_crossing(far, -1.0), (3.0, 5.5), ANY)]
    for index in range(-6, 7):
        x = shift + pitch * index
        yard.marks.append(Mark((x - pitch / 2, back - 2.0), (x - pitch / 2, back - 6.6), 0.11, WHITE))
        if abs(x - yard.doors[0]) < pitch * 0.8:
            continue
        draw = rng.random()
        heading = float(rng.choice([-1.0, 1.0])) * np.pi / 2
        if draw < 0.36:
            yard.parked.append((x, back - 4.4, heading, SMALL))
        elif draw < 0.50:
            corners = ((x, back - 4.4), (x, far + 1.0), (x - 3.5, far), (-34.0, far))
            yard.lanes.append(Lane(corners, (2.8, 4.2), SMALL, waits=True))
        elif draw < 0.62:
            corners = ((34.0, far), (x + 3.5, far), (x, far + 1.2), (x, back - 4.4))
            yard.lanes.append(Lane(corners, (2.8, 4.2), SMALL, stays=True))
    yard.marks += [
        Mark((-40, (near + far) / 2), (40, (near + far) / 2), 0.12, WHITE, 1.4),
        Mark((-40, near - 1.8), (40, near - 1.8), 0.13, WHITE),
    ]
    crossing = yard.doors[0]
    for step in range(9):
        y = near - 1.4 + step * 0.72
        yard.marks.append(Mark((crossing - 1.2, y), (crossing + 1.2, y), 0.36, WHITE))
    yard.verges = [(-60, -10, 60, near - 4.2)]
    yard.props = _stacks(rng, [(crossing + 5.0, back - 0.9), (crossing - 6.0, back - 0.9)])
    yard.props += [
        Prop(crossing + side * 1.5, back - 1.9, 0.22, 0.22, 0.95, 0.0, "bollard", YELLOW) for side in (-1, 1)
    ]
    yard.poles = [(crossing - float(rng.uniform(5, 8)), back - 7.2), (crossing + float(rng.uniform(5, 8)), back - 7.2)]
    plain = _walker([(back - 1.3, back - 1.1), (near - 3.2, near - 2.2)])

    def walk(rng: np.random.Generator) -> list[Point]:
        if rng.random() < 0.45:
            return plain(rng)
        side = float(rng.choice([-1.0, 1.0]))
        x, edge = crossing + float(rng.uniform(-0.7, 0.7)), near - 2.6
        points = [(side * _edge(edge), edge), (x + side * 1.5, edge), (x, edge + 1.2), (x, back - 2.4), (x, back - 0.2)]
        return points if rng.random() < 0.5 else points[::-1]

    yard.walk = walk
    return yard


def _gate(rng: np.random.Generator) -> Layout:
    yard = Layout("gate", back=float(rng.uniform(22.5, 24.5)))
    back, side = yard.back, float(rng.choice([-1.0, 1.0]))
    middle = float(rng.uniform(-2.5, 2.5))
    yard.opening = (middle - 4.0, middle + 4.0)
    street, turn = back + 4.6, back - 8.6
    inward, outward = middle + 1.9, middle - 1.9
    coming = (
        (side * 36, street),
        (inward + side * 3, street),
        (inward, street - 3),
        (inward, turn + 2),
        (inward - 3.2, turn - 1.8),
        (-36, turn - 1.8),
    )
    leaving = (
        (-36, turn + 1.6),
        (outward - 3, turn + 1.6),
        (outward, turn + 4),
        (outward, street),
        (outward - side * 3, street + 3.2),
        (-side * 36, street + 3.2),
    )
    yard.lanes = [
        Lane(coming, (3.4, 5.0), ANY, stop=(36 - abs(inward)) + 4.0),
        Lane(leaving, (3.4, 5.0), ANY, stop=36.0 + 5.5),
        Lane(_crossing(street + (3.2 if side > 0 else 0.0), -side), (6.0, 8.0), SMALL),
    ]
    yard.marks = [
        Mark((middle, back + 1), (middle, turn + 2.5), 0.14, WHITE, 1.3),
        Mark((middle - 4, back - 1.6), (middle, back - 1.6), 0.35, WHITE),
        Mark((middle - 30, turn - 0.1), (middle - 3, turn - 0.1), 0.13, WHITE, 1.3),
        Mark((middle - 30, turn - 3.8), (middle + 14, turn - 3.8), 0.13, WHITE),
        Mark((-60, street + 1.6), (60, street + 1.6), 0.14, WHITE, 1.8),
    ]
    yard.verges = [
        (-60, back + 0.2, middle - 4.3, street - 2.0),
        (middle + 4.3, back + 0.2, 60, street - 2.0),
        (-60, street + 5.4, 60, 80),
    ]
    yard.props = [Prop(middle + 5.6, back - 1.6, 2.2, 2.6, 2.7, 0.0, "booth", (190, 196, 200))]
    yard.props += [Prop(middle + sign * 4.2, back - 2.4, 0.24, 0.24, 1.0, 0.0, "bollard", YELLOW) for sign in (-1, 1)]
    yard.props += _stacks(rng, [(middle + 9.5, back - 1.4), (middle + 12.5, back - 1.6)])
    if rng.random() < 0.7:
        yard.props.append(
            Prop(
                middle + 14.5,
                back - 5.4,
                2.5,
                6.1,
                2.6,
                0.15,
                "container",
                CONTAINERS[int(rng.integers(len(CONTAINERS)))],
            )
        )
    yard.parked = (
        [(middle + 8.6, back - 6.0, float(rng.choice([-1, 1])) * np.pi / 2, SMALL)] if rng.random() < 0.7 else []
    )
    yard.poles = [(middle - 6.2, back - 1.0), (middle + 10.5, turn - 4.4)]
    rows = [(back - 1.6, back - 1.2), (turn - 4.8, turn - 4.3)]
    plain = _walker([rows[1]])

    def walk(rng: np.random.Generator) -> list[Point]:
        if rng.random() < 0.5:
            return plain(rng)
        x = middle + float(rng.uniform(3.1, 3.6))
        start = (x + float(rng.uniform(3.0, 5.0)), turn - 4.5)
        points = [
            (_edge(turn - 4.5), turn - 4.5),
            start,
            (x, turn + 2.0),
            (x, street - 2.6),
            (x + 2.5, street - 2.4),
            (32.0, street - 2.4),
        ]
        return points if rng.random() < 0.5 else points[::-1]

    yard.walk = walk
    return yard
