"""Who takes part in the demo, what each holds, and how much of it there is."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct


class Size(Struct, frozen=True):
    """How much footage each site gets."""

    clips: int
    seconds: float


class Plan(Struct, frozen=True):
    """One kind of demo."""

    seeds: Mapping[str, int]
    """The sites whose footage there is, and what each is drawn from."""
    held: Mapping[str, tuple[str, ...]]
    """By peer: the sites whose footage it holds. One that holds none may publish or watch."""
    publisher: str
    watcher: str
    """The peer at which everything is heard and collected."""
    size: Size
    workers: int
    kills: bool = False
    """Whether the busiest holder and the publisher are killed half-way."""

    @property
    def holders(self) -> list[str]:
        return [name for name, sites in self.held.items() if sites]


def quiet(*, fast: bool) -> Plan:
    """Two peers with footage of their own, and one that holds none."""
    return Plan(
        seeds={"hamburg": 1, "rotterdam": 2},
        held={"hamburg": ("hamburg",), "rotterdam": ("rotterdam",), "office": ()},
        publisher="office",
        watcher="office",
        size=Size(clips=2, seconds=12.0) if fast else Size(clips=4, seconds=20.0),
        workers=max(1, (os.cpu_count() or 1) // 2),  # they share this machine
    )


def killing(*, fast: bool) -> Plan:
    """Each site's footage lies at two of three peers, and is long enough that half of it is some seconds of work."""
    return Plan(
        seeds={"hamburg": 1, "rotterdam": 2, "antwerp": 3},
        held={
            "hamburg": ("hamburg", "antwerp"),
            "rotterdam": ("rotterdam", "hamburg"),
            "antwerp": ("antwerp", "rotterdam"),
            "office": (),
            "laptop": (),
        },
        publisher="office",
        watcher="laptop",
        size=Size(clips=2, seconds=30.0) if fast else Size(clips=4, seconds=40.0),
        workers=1,
        kills=True,
    )
