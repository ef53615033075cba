"""Events against the ground truth: which windows were called faulty, and which are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from scripts.gearbox.net import HOP, WINDOW
from scripts.gearbox.world import RATE


class Reckoning(NamedTuple):
    name: str
    faulty: int
    """Windows that lie within a fault."""
    found: int
    """Those of them that have an event."""
    events: int
    right: int
    """Events whose window touches a fault."""
    faults: int
    noticed: int
    """Faults with an event in them."""

    @property
    def recall(self) -> float:
        return self.found / self.faulty if self.faulty else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.events if self.events else 1.0


def reckon(truth: Mapping[str, Any], events: Iterable[tuple[str, float]]) -> list[Reckoning]:
    """One a recording, and the sum. `truth`: as `world.write` writes it; `events`: file name, and seconds of a window.

    A window that a fault begins or ends in may be called either way.
    """
    said: dict[str, set[float]] = {name: set() for name in truth}
    for path, t in events:
        if (name := path.rpartition("/")[2]) in said:
            said[name].add(round(t * RATE) / RATE)
    rows = [_one(name, truth[name], said[name]) for name in truth]
    sums = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    return [*rows, Reckoning("all", *sums)]


def _one(name: str, truth: Mapping[str, Any], said: set[float]) -> Reckoning:
    faults = [(start, end) for start, end, _ in truth["faults"]]
    long = WINDOW / RATE
    windows = [i * HOP / RATE for i in range(int((truth["seconds"] - long) * RATE) // HOP + 1)]
    inside = [t for t in windows if any(start <= t and t + long <= end for start, end in faults)]
    right = [t for t in said if any(start < t + long and t < end for start, end in faults)]
    noticed = [1 for start, end in faults if any(start <= t < end for t in said)]
    return Reckoning(
        name, len(inside), len(said.intersection(inside)), len(said), len(right), len(faults), len(noticed)
    )


def table(rows: Iterable[Reckoning]) -> str:
    lines = [
        f"{'recording':<24}{'faulty':>8}{'found':>8}{'events':>8}{'recall':>9}{'precision':>11}{'faults noticed':>16}"
    ]
    lines += [
        f"{r.name:<24}{r.faulty:>8}{r.found:>8}{r.events:>8}{r.recall:>9.3f}{r.precision:>11.3f}"
        f"{f'{r.noticed} of {r.faults}':>16}"
        for r in rows
    ]
    return "\n".join(lines)
