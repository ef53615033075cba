"""The network between peers: connections that come and go, gossip that is lost, repeated and late, streams that break.

A connection needs both directions. Cut one, and what is sent that way stands still until the cut heals; peers that
notice first take the connection for broken, and with it every stream on it. Streams keep their order and lose nothing
but by breaking; gossip promises nothing.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from meshinfer.sim.agenda import Agenda, Process
from meshinfer.sim.chance import Rng
from meshinfer.sim.scenario import Link


class Endpoint(Protocol):
    """A peer, as the network knows it."""

    index: int
    process: Process

    def connected(self, other: int) -> None: ...

    def disconnected(self, other: int) -> None: ...

    def gossip(self, data: bytes) -> None: ...

    def frame(self, other: int, stream: int, data: bytes) -> None: ...


@dataclass(slots=True)
class _Pair:
    """Two peers: a is the smaller index."""

    a: int
    b: int
    up: bool = False
    since: float = 0.0
    epoch: int = 0
    """Of the connection: what was sent on an earlier one never arrives."""
    pending: bool = False
    """A dial or a break is on its way."""
    told: dict[int, float] = field(default_factory=dict)
    """When each side hears the latest news of the connection: news keep their order."""


class Network:
    def __init__(self, agenda: Agenda, rng: Rng, link: Link) -> None:
        self._agenda, self._rng, self._link = agenda, rng, link
        self._ends: list[Endpoint] = []
        self._pairs: dict[tuple[int, int], _Pair] = {}
        self._cuts: Counter[tuple[int, int]] = Counter()
        self._arrives: dict[tuple[int, int, str], float] = {}
        self._stalled: dict[tuple[int, int], deque[tuple[str, Callable[[], None]]]] = {}
        self.messages, self.bytes = Counter[int](), Counter[int]()
        """Sent, by sender."""

    def add(self, end: Endpoint) -> None:
        for other in self._ends:
            self._pairs[other.index, end.index] = _Pair(other.index, end.index)
        self._ends.append(end)

    # ---- connections -------------------------------------------------------------------------------------------------

    def _pair(self, a: int, b: int) -> _Pair:
        return self._pairs[min(a, b), max(a, b)]

    def met(self, a: int, b: int) -> float:
        """When their present connection came up; infinity where there is none."""
        pair = self._pair(a, b)
        return pair.since if pair.up else math.inf

    def reconsider(self, index: int) -> None:
        """A peer came up."""
        for other in self._ends:
            if other.index != index:
                self._reconsider(self._pair(index, other.index))

    def died(self, index: int) -> None:
        """A peer's process is gone, and its connections with it."""
        for other in self._ends:
            if other.index != index and (pair := self._pair(index, other.index)).up:
                self._break(pair)

    def _possible(self, pair: _Pair) -> bool:
        alive = self._ends[pair.a].process.alive and self._ends[pair.b].process.alive
        return alive and not self._cuts[pair.a, pair.b] and not self._cuts[pair.b, pair.a]

    def _reconsider(self, pair: _Pair) -> None:
        """Connect or break in a while, whichever is due then."""
        if pair.pending or pair.up == self._possible(pair):
            return
        pair.pending = True
        delay = self._rng.uniform(*(self._link.notice if pair.up else self._link.dial))
        self._agenda.after(delay, f"link {pair.a}-{pair.b}", lambda: self._settle(pair))

    def _settle(self, pair: _Pair) -> None:
        pair.pending = False
        if pair.up and not self._possible(pair):
            self._break(pair)
        elif not pair.up and self._possible(pair):
            pair.up, pair.since = True, self._agenda.now
            pair.epoch += 1
            for me, other in ((pair.a, pair.b), (pair.b, pair.a)):
                self._tell(pair, me, self._rng.uniform(*self._link.delay), other, up=True)

    def _break(self, pair: _Pair) -> None:
        pair.up = False
        pair.epoch += 1
        for me, other in ((pair.a, pair.b), (pair.b, pair.a)):
            self._stalled.pop((me, other), None)
            self._tell(pair, me, self._rng.uniform(*self._link.notice), other, up=False)
        self._reconsider(pair)

    def _tell(self, pair: _Pair, me: int, delay: float, other: int, *, up: bool) -> None:
        at = pair.told[me] = max(self._agenda.now + delay, pair.told.get(me, 0.0))
        end = self._ends[me]
        if end.process.alive:
            do = end.connected if up else end.disconnected
            label = f"{'up' if up else 'down'} {other}"
            self._agenda.after(at - self._agenda.now, label, lambda: do(other), end.process)

    # ---- cuts --------------------------------------------------------------------------------------------------------

    def cut(self, a: int, b: int) -> None:
        """Nothing gets from a to b, until `heal` was called as often."""
        self._cuts[a, b] += 1
        self._reconsider(self._pair(a, b))

    def heal(self, a: int, b: int) -> None:
        self._cuts[a, b] -= 1
        if not self._cuts[a, b]:
            for label, do in self._stalled.pop((a, b), ()):  # at once: what was sent later arrives later
                self._agenda.after(0.0, label, do, self._ends[b].process)
            self._reconsider(self._pair(a, b))

    # ---- what is sent ------------------------------------------------------------------------------------------------

    def publish(self, sender: int, data: bytes) -> None:
        """Gossip: to everybody connected, or not."""
        for end in self._ends:
            to = end.index
            if to == sender or not self._pair(sender, to).up or self._cuts[sender, to]:
                continue
            self._count(sender, data)
            if self._rng.random() < self._link.loss:
                continue
            for _ in range(2 if self._rng.random() < self._link.duplicate else 1):
                self._gossip(sender, end, data)

    def _gossip(self, sender: int, end: Endpoint, data: bytes) -> None:
        delay = self._rng.uniform(*self._link.delay)
        if self._rng.random() < self._link.reorder:
            delay += self._rng.uniform(*self._link.held_up)
        else:
            delay = self._behind(sender, end.index, "gossip", delay)
        self._agenda.after(delay, f"gossip from {sender}", lambda: end.gossip(data), end.process)

    def send(self, sender: int, to: int, stream: int, data: bytes) -> None:
        """A frame of a stream. Lost if the connection is, or breaks meanwhile."""
        pair, end = self._pair(sender, to), self._ends[to]
        if not pair.up:
            return
        self._count(sender, data)
        label, epoch = f"frame from {sender}", pair.epoch

        def arrive() -> None:
            if pair.epoch != epoch:
                return
            if self._cuts[sender, to]:
                self._stalled.setdefault((sender, to), deque()).append((label, arrive))
            else:
                end.frame(sender, stream, data)

        delay = self._behind(sender, to, "stream", self._rng.uniform(*self._link.delay))
        self._agenda.after(delay, label, arrive, end.process)

    def _behind(self, sender: int, to: int, what: str, delay: float) -> float:
        """Not before what was sent earlier."""
        at = max(self._agenda.now + delay, self._arrives.get((sender, to, what), 0.0))
        self._arrives[sender, to, what] = at
        return at - self._agenda.now

    def _count(self, sender: int, data: bytes) -> None:
        self.messages[sender] += 1
        self.bytes[sender] += len(data)
