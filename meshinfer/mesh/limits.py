"""How much one peer may say. Generous: honest peers stay far below, a flood is cut to what a node can carry."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class Rate(NamedTuple):
    """`per_second` tokens flow in, at most `burst` are kept; each message takes one."""

    per_second: float
    burst: float


ORIGIN_RATE = Rate(50, 1000)
"""Announcements of one origin on one topic. The protocol allows 5 a second: ten times that, and a backlog at once."""

FORWARDER_RATE = Rate(1000, 4000)
"""Announcements that one neighbour passes on, from everybody: about what a Python node can check in a second."""

MAX_STREAMS_PER_PEER = 32
"""Streams of our protocols that one peer may have open to us at once."""


class Buckets:
    """A token bucket per key. Full ones are forgotten by `sweep`, so memory follows the peers that talk."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._levels: dict[Hashable, tuple[float, float]] = {}

    def take(self, key: Hashable, now: float) -> bool:
        """Whether `key` may send one more at `now` (monotonic seconds)."""
        level, then = self._levels.get(key, (self._rate.burst, now))
        level = min(self._rate.burst, level + (now - then) * self._rate.per_second)
        allowed = level >= 1
        self._levels[key] = (level - 1 if allowed else level, now)
        return allowed

    def sweep(self, now: float) -> None:
        full_after = self._rate.burst / self._rate.per_second
        self._levels = {k: (level, then) for k, (level, then) in self._levels.items() if now - then < full_after}

    def __len__(self) -> int:
        return len(self._levels)
