"""From a failure to the smallest scenario that fails in the same way: parts are removed while it still does.

Greedy and bounded by virtual events, not by time, so it comes to the same end on every machine. A smaller scenario is
another run, so each is tried with a few seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from meshinfer.sim.chronicle import Violated
from meshinfer.sim.scenario import Byzantine, Scenario

Play = Callable[[Scenario, int, int], tuple[Violated | None, int, int]]
"""Runs (scenario, seed, most events). What broke, events that it took, faults that were planned."""

SEEDS = 6
BUDGET = 60
"""Events in all, in runs as long as the one that failed."""

LEAST = 100_000
"""Events in all, at least."""


PEERS = 2, 3, 4, 5, 6, 8, 12
CONTENTS = 1, 2, 4, 8, 16
FAULTS = (
    *("kills", "crash", "lost_store", "gone", "rolled_back", "pauses", "cuts", "partitions"),
    *("full_disks", "skew", "jumps", "moves", "models"),
)
LINK = "loss", "duplicate", "reorder"
SHARES = "every", "cancels", "failing", "late", "slow", "lacking"
"""What a scenario may do without, from the largest part to the smallest."""


class Shrunk:
    """The smallest found so far."""

    def __init__(self, scenario: Scenario, broken: Violated, play: Play) -> None:
        self.scenario, self.broken = scenario, broken
        self._play, self._rule = play, broken.rule
        again, events, self._planned = play(scenario, broken.seed, 0)
        assert again is not None, "a seed is a whole run"
        self._most = 2 * events + 1000
        self._left = max(LEAST, BUDGET * events)

    def run(self) -> None:
        """Until nothing more can be left out, or the budget is used up."""
        while sum(self._accept(smaller) for smaller in self._smaller()) and self._left > 0:
            pass
        for number in range(self._planned):
            if number not in self.scenario.without and self._left > 0:
                less = replace(self.scenario, without=(*self.scenario.without, number))
                self._try(less, self.broken.seed)

    def _smaller(self) -> Iterator[Scenario]:
        """The scenario as it is by then, with something left out: the largest parts first."""
        for peers in PEERS:
            if peers < self.scenario.peers[1]:
                yield replace(self.scenario, peers=(peers, peers))
        yield replace(self.scenario, jobs=(1, 1))
        for contents in CONTENTS:
            if contents < self.scenario.contents:
                yield replace(self.scenario, contents=contents)
        for name in FAULTS:
            yield replace(self.scenario, faults=replace(self.scenario.faults, **{name: 0.0}))
        for name in LINK:
            yield replace(self.scenario, link=replace(self.scenario.link, **{name: 0.0}))
        for name in SHARES:
            yield replace(self.scenario, **{name: 0.0})
        if self.scenario.byzantine.share:
            yield replace(self.scenario, byzantine=Byzantine())
            for attack in self.scenario.byzantine.attacks:
                yield replace(self.scenario, byzantine=replace(self.scenario.byzantine, attacks=(attack,)))

    def _accept(self, less: Scenario) -> bool:
        if less == self.scenario:
            return False
        seeds = dict.fromkeys((self.broken.seed, *range(SEEDS)))
        return any(self._left > 0 and self._try(less, seed) for seed in seeds)

    def _try(self, scenario: Scenario, seed: int) -> bool:
        broken, events, planned = self._play(scenario, seed, self._most)
        self._left -= events
        if broken is None or broken.rule != self._rule:
            return False
        self.scenario, self.broken, self._planned = scenario, broken, planned
        return True


def as_toml(scenario: Scenario) -> str:
    """What differs from the defaults, readable by `read_scenario`."""
    plain, tables = [], []
    for name, value in _differing(scenario, Scenario()):
        if hasattr(value, "__struct_fields__"):
            inner = [f"{n} = {_value(v)}" for n, v in _differing(value, type(value)())]
            tables += ["", f"[{name}]", *inner]
        else:
            plain.append(f"{name} = {_value(value)}")
    return "\n".join([*plain, *tables]) + "\n"


def _differing(value: Any, default: Any) -> list[tuple[str, Any]]:
    fields = value.__struct_fields__
    return [(name, getattr(value, name)) for name in fields if getattr(value, name) != getattr(default, name)]


def _value(value: Any) -> str:
    match value:
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
    return str(value)
