"""Gossip: lost, repeated, late, and passed by what was said after it. It goes straight to everybody, or from hop to
hop along the links of the overlay, where everybody passes on what it has not seen (as GossipSub does in its mesh).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from meshinfer.sim.network import Network, Traffic
from meshinfer.sim.overlay import Pair

ORIGIN_RATE, ORIGIN_BURST = 50.0, 1000.0
"""Messages of one peer that others take, a second and at once: as in `mesh/limits.py`."""


@dataclass(slots=True, eq=False)
class _Message:
    origin: int
    data: bytes
    seen: dict[int, int] = field(default_factory=dict)
    """The life in which each peer has seen it: its message ids die with a process."""
    due: dict[int, tuple[int, float]] = field(default_factory=dict)
    """The life in which, and when, the first copy on its way to a peer arrives."""


class Gossip:
    """`along` are the links that it goes along; None: straight to everybody who is connected."""

    def __init__(self, network: Network, along: list[Pair] | None) -> None:
        self._network = network
        self._along: dict[int, dict[int, None]] | None = None if along is None else {}
        self.traffic = Traffic()
        self.refused: Counter[int] = Counter()
        """Messages of floods, by their origin."""
        self._levels: dict[int, tuple[float, float]] = {}
        for a, b in along or ():
            self.add(a, b)

    def add(self, a: int, b: int) -> None:
        """From now on it goes along this link too."""
        if self._along is not None:
            self._along.setdefault(a, {})[b] = None
            self._along.setdefault(b, {})[a] = None

    def publish(self, origin: int, data: bytes) -> None:
        if not self._may(origin):
            self.refused[origin] += 1
            return
        if self._along is None:
            for to in self._network.linked[origin]:
                self._hop(origin, to, _Message(origin, data))
            return
        message = _Message(origin, data)
        message.seen[origin] = self._network.ends[origin].process.life
        self._pass_on(message, origin, origin)

    def _may(self, origin: int) -> bool:
        now = self._network.agenda.now
        level, then = self._levels.get(origin, (ORIGIN_BURST, now))
        level = min(ORIGIN_BURST, level + (now - then) * ORIGIN_RATE)
        self._levels[origin] = (level - (level >= 1), now)
        return level >= 1

    def _pass_on(self, message: _Message, via: int, came_from: int) -> None:
        assert self._along is not None
        for to in self._along.get(via, ()):
            if to != came_from:
                self._hop(via, to, message)

    def _hop(self, via: int, to: int, message: _Message) -> None:
        network, link = self._network, self._network.link_quality
        rng, end = network.rng, network.ends[to]
        if to == message.origin or not network.is_up(via, to) or network.is_cut(via, to):
            return
        self.traffic.count(via, message.data)
        life = end.process.life
        if rng.random() < link.loss or message.seen.get(to) == life:
            return
        for _ in range(2 if rng.random() < link.duplicate else 1):
            delay = rng.uniform(*link.delay)
            if rng.random() < link.reorder:
                delay += rng.uniform(*link.held_up)
            else:
                delay = network.behind(via, to, "gossip", delay)
            if self._along is None:
                network.agenda.after(delay, f"gossip from {via}", partial(end.gossip, message.data), end.process)
                continue
            # A copy that comes after another would be dropped there: it need not travel.
            first, at = message.due.get(to), network.agenda.now + delay
            if first is None or first[0] != life or at < first[1]:
                message.due[to] = life, at
                network.agenda.after(delay, f"gossip from {via}", partial(self._arrive, via, to, message), end.process)

    def _arrive(self, via: int, to: int, message: _Message) -> None:
        end = self._network.ends[to]
        if message.seen.get(to) == end.process.life:
            return
        message.seen[to] = end.process.life
        self._pass_on(message, to, via)
        end.gossip(message.data)
