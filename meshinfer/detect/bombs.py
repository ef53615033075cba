"""Nodes that make much out of little: a few bytes that ask for gigabytes, or for a loop without end.

Only sizes that stand in the file are known here. One that is computed first passes, and is for the trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from meshinfer.errors import ModelError

MAX_MADE = 1 << 24
"""Elements of a tensor that is made from constants: the largest, anchors and masks, have about a million."""
MAX_SCALE = 1 << 12
"""Times that a picture grows: 8x8 is usual, 32x32 the most."""
MAX_TRIPS = 10_000
"""Of a loop, those around it counted: one picture has fewer boxes."""

Values = Sequence[float]


class Suspect(NamedTuple):
    """A node whose work may depend on a constant."""

    op: str
    inputs: tuple[bytes, ...]
    attributes: Mapping[bytes, Values | None]


class Scope:
    """The small constants of a graph and of those around it."""

    def __init__(self, outer: Scope | None) -> None:
        self.outer = outer
        self.initializers: set[bytes] = set()
        self.constants: dict[bytes, Values] = {}
        self.computed: set[bytes] = set()
        """Names that hide constants of graphs around this one."""

    def find(self, name: bytes) -> Values | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.constants:
                return scope.constants[name]
            if name in scope.initializers or name in scope.computed:
                return None
            scope = scope.outer
        return None


def check(node: Suspect, scope: Scope) -> None:
    """Raises ModelError for a node that makes more than it may."""
    if made := _MADE.get(node.op):
        most, size = made(node, scope)
        if not size <= most:  # NaN, too
            raise ModelError(
                f"holds a node of type {node.op} that asks for {size:.3g} "
                f"{'times its input' if most == MAX_SCALE else 'elements'}, over {most}: it is damaged or hostile"
            )


def trips(node: Suspect, scope: Scope, around: int) -> int:
    """How often the body of a Loop runs. Raises ModelError where that does not stand in the file, or is too often."""
    values = _input(node, 0, scope)
    if values is None or len(values) != 1:
        raise ModelError("uses the operator Loop without a constant number of trips: its work has no bound")
    count = max(0, values[0]) * around
    if not count <= MAX_TRIPS:
        raise ModelError(f"uses the operator Loop with {count:.3g} trips: over {MAX_TRIPS} are refused")
    return max(1, int(count))


def _input(node: Suspect, index: int, scope: Scope) -> Values | None:
    if index >= len(node.inputs) or not node.inputs[index]:
        return None
    return scope.find(node.inputs[index])


def _product(values: Values | None) -> float:
    return math.prod(abs(float(v)) for v in values) if values else 0.0


def _of_input(index: int) -> Callable[[Suspect, Scope], tuple[int, float]]:
    return lambda node, scope: (MAX_MADE, _product(_input(node, index, scope)))


def _resized(node: Suspect, scope: Scope) -> tuple[int, float]:
    at = 2 if len(node.inputs) > 2 else 1  # of version 10, and Upsample, it has no region
    grown = max(_product(_input(node, at, scope)), _product(node.attributes.get(b"scales")))
    sized = _product(_input(node, 3, scope))
    return (MAX_MADE, sized) if sized else (MAX_SCALE, grown)


def _range(node: Suspect, scope: Scope) -> tuple[int, float]:
    ends = [_input(node, i, scope) for i in range(3)]
    if any(not end for end in ends):
        return MAX_MADE, 0.0
    start, limit, step = (float(end[0]) for end in ends if end)
    return MAX_MADE, (limit - start) / step if step else math.inf


def _padded(node: Suspect, scope: Scope) -> tuple[int, float]:
    pads = _input(node, 1, scope) or node.attributes.get(b"pads") or ()
    half = len(pads) // 2
    return MAX_MADE, math.prod(
        1 + max(0.0, float(a) + float(b)) for a, b in zip(pads[:half], pads[half:], strict=False)
    )


def _depth(node: Suspect, scope: Scope) -> tuple[int, float]:
    return MAX_SCALE * 16, _product(_input(node, 1, scope))


_MADE: Mapping[str, Callable[[Suspect, Scope], tuple[int, float]]] = {
    "ConstantOfShape": _of_input(0),
    "Expand": _of_input(1),
    "Tile": _of_input(1),
    "Reshape": _of_input(1),
    "Resize": _resized,
    "Upsample": _resized,
    "Range": _range,
    "Pad": _padded,
    "OneHot": _depth,
    **dict.fromkeys(
        ("RandomNormal", "RandomUniform"), lambda node, _: (MAX_MADE, _product(node.attributes.get(b"shape")))
    ),
}

SUSPECTS = frozenset(_MADE)
