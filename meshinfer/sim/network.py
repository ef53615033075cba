"""The network between peers: connections that come and go, and streams on them that break.

Linked peers connect whenever they can (`sim/overlay.py`), others for a visit. A connection needs both directions. Cut
one, and what is sent that way stands still until the cut heals; peers that notice first take the connection for broken,
and with it every stream on it. Streams keep their order and lose nothing but by breaking. Gossip, which promises
nothing, is `sim/gossip.py`.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.sim.agenda import Agenda, Process
from meshinfer.sim.chance import Rng
from meshinfer.sim.scenario import Link


class Endpoint(Protocol):
    """A peer, as the network knows it."""

    index: int
    process: Process
    models: dict[ModelDigest, tuple[str, ...]]

    @property
    def id(self) -> PeerId: ...

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
    until: float = math.inf
    """A visit ends; what is linked connects whenever it can."""
    told: dict[int, float] = field(default_factory=dict)
    """When each side hears the latest news of the connection: news keep their order."""


VISIT = 10.0
"""Seconds that a connection lasts which was made for a visit."""


class Traffic:
    """What was sent, by sender."""

    def __init__(self) -> None:
        self.messages, self.bytes = Counter[int](), Counter[int]()

    def count(self, sender: int, data: bytes) -> None:
        self.messages[sender] += 1
        self.bytes[sender] += len(data)

    @property
    def total(self) -> tuple[int, int]:
        """Messages, bytes."""
        return sum(self.messages.values()), sum(self.bytes.values())


class Network:
    def __init__(self, agenda: Agenda, rng: Rng, link: Link) -> None:
        self.agenda, self.rng, self.link_quality = agenda, rng, link
        self.ends: list[Endpoint] = []
        self.linked: list[dict[int, _Pair]] = []
        """The peers that each may connect to."""
        self.streams = Traffic()
        self._cuts: Counter[tuple[int, int]] = Counter()
        """Without those that are none any more."""
        self._parted: list[frozenset[int]] = []
        """One side of each partition."""
        self._arrives: dict[tuple[int, int, str], float] = {}
        self._stalled: dict[tuple[int, int], deque[tuple[str, Callable[[], None]]]] = {}

    def add(self, end: Endpoint) -> None:
        self.ends.append(end)
        self.linked.append({})

    def link(self, a: int, b: int) -> None:
        """From now on these two connect whenever they can."""
        pair = self._pair(a, b)
        pair.until = math.inf
        self._reconsider(pair)

    def visit(self, a: int, b: int) -> bool:
        """a connects to b, for a while. Whether it can be reached."""
        pair = self._pair(a, b)
        if pair.until < math.inf:
            pair.until = self.agenda.now + VISIT
            self.agenda.after(VISIT, f"visit {pair.a}-{pair.b}", lambda: self._reconsider(pair))
            self._reconsider(pair)
        return self._possible(pair)

    def _pair(self, a: int, b: int) -> _Pair:
        if b not in self.linked[a]:
            self.linked[a][b] = self.linked[b][a] = _Pair(min(a, b), max(a, b), until=-math.inf)
        return self.linked[a][b]

    # ---- connections -------------------------------------------------------------------------------------------------

    def is_up(self, a: int, b: int) -> bool:
        pair = self.linked[a].get(b)
        return pair is not None and pair.up

    def kept(self, a: int) -> frozenset[PeerId]:
        """Those that it is linked to, connected or not."""
        return frozenset(self.ends[b].id for b, pair in self.linked[a].items() if pair.until == math.inf)

    def met(self, a: int, b: int) -> float:
        """When their present connection came up; infinity where there is none."""
        pair = self.linked[a].get(b)
        return pair.since if pair is not None and pair.up else math.inf

    def reconsider(self, index: int) -> None:
        """A peer came up."""
        for pair in self.linked[index].values():
            self._reconsider(pair)

    def died(self, index: int) -> None:
        """A peer's process is gone, and its connections with it."""
        for pair in self.linked[index].values():
            if pair.up:
                self._break(pair)

    def _possible(self, pair: _Pair) -> bool:
        alive = self.ends[pair.a].process.alive and self.ends[pair.b].process.alive
        cut = self.is_cut(pair.a, pair.b) or self.is_cut(pair.b, pair.a)
        return alive and self.agenda.now < pair.until and not cut

    def _reconsider(self, pair: _Pair) -> None:
        """Connect or break in a while, whichever is due then."""
        if pair.pending or pair.up == self._possible(pair):
            return
        pair.pending = True
        delay = self.rng.uniform(*(self.link_quality.notice if pair.up else self.link_quality.dial))
        self.agenda.after(delay, f"link {pair.a}-{pair.b}", lambda: self._settle(pair))

    def _settle(self, pair: _Pair) -> None:
        pair.pending = False
        if pair.up and not self._possible(pair):
            self._break(pair)
        elif not pair.up and self._possible(pair):
            pair.up, pair.since = True, self.agenda.now
            pair.epoch += 1
            for me, other in ((pair.a, pair.b), (pair.b, pair.a)):
                self._tell(pair, me, self.rng.uniform(*self.link_quality.delay), other, up=True)

    def _break(self, pair: _Pair) -> None:
        pair.up = False
        pair.epoch += 1
        for me, other in ((pair.a, pair.b), (pair.b, pair.a)):
            self._stalled.pop((me, other), None)
            self._tell(pair, me, self.rng.uniform(*self.link_quality.notice), other, up=False)
        self._reconsider(pair)

    def _tell(self, pair: _Pair, me: int, delay: float, other: int, *, up: bool) -> None:
        at = pair.told[me] = max(self.agenda.now + delay, pair.told.get(me, 0.0))
        end = self.ends[me]
        if end.process.alive:
            do = end.connected if up else end.disconnected
            label = f"{'up' if up else 'down'} {other}"
            self.agenda.after(at - self.agenda.now, label, lambda: do(other), end.process)

    # ---- cuts --------------------------------------------------------------------------------------------------------

    def is_cut(self, a: int, b: int) -> bool:
        """Whether nothing gets from a to b."""
        if (a, b) in self._cuts:
            return True
        return bool(self._parted) and any((a in side) != (b in side) for side in self._parted)

    def cut(self, a: int, b: int) -> None:
        """Nothing gets from a to b, until `heal` was called as often."""
        self._cuts[a, b] += 1
        self._affected(a, b)

    def heal(self, a: int, b: int) -> None:
        self._cuts[a, b] -= 1
        if not self._cuts[a, b]:
            del self._cuts[a, b]
        self._affected(a, b)

    def part(self, side: frozenset[int]) -> None:
        """Nothing gets from these to the others or back, until `join`."""
        self._parted.append(side)
        self._across(side)

    def join(self, side: frozenset[int]) -> None:
        self._parted.remove(side)
        self._across(side)

    def _across(self, side: frozenset[int]) -> None:
        for a in sorted(side):
            for b in self.linked[a]:
                if b not in side:
                    self._affected(a, b)
                    self._affected(b, a)

    def _affected(self, a: int, b: int) -> None:
        if not self.is_cut(a, b):
            for label, do in self._stalled.pop((a, b), ()):  # at once: what was sent later arrives later
                self.agenda.after(0.0, label, do, self.ends[b].process)
        if (pair := self.linked[a].get(b)) is not None:
            self._reconsider(pair)

    # ---- streams -----------------------------------------------------------------------------------------------------

    def send(self, sender: int, to: int, stream: int, data: bytes) -> None:
        """A frame of a stream. Lost if the connection is, or breaks meanwhile."""
        pair, end = self.linked[sender].get(to), self.ends[to]
        if pair is None or not pair.up:
            return
        self.streams.count(sender, data)
        delay = self.behind(sender, to, "stream", self.rng.uniform(*self.link_quality.delay))
        arrive = partial(self._arrive, pair, pair.epoch, sender, to, stream, data)
        self.agenda.after(delay, f"frame from {sender}", arrive, end.process)

    def _arrive(self, pair: _Pair, epoch: int, sender: int, to: int, stream: int, data: bytes) -> None:
        if pair.epoch != epoch:
            return
        if self.is_cut(sender, to):
            again = partial(self._arrive, pair, epoch, sender, to, stream, data)
            self._stalled.setdefault((sender, to), deque()).append((f"frame from {sender}", again))
        else:
            self.ends[to].frame(sender, stream, data)

    def behind(self, sender: int, to: int, what: str, delay: float) -> float:
        """Not before what was sent earlier."""
        at = max(self.agenda.now + delay, self._arrives.get((sender, to, what), 0.0))
        self._arrives[sender, to, what] = at
        return at - self.agenda.now
