"""Peers that only decide about their links, in rounds of a second: hundreds of real `Wiring`s and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from meshinfer.model.ids import PeerId
from meshinfer.node.wiring import Seen, Wiring

Graph = dict[PeerId, set[PeerId]]


class Overlay:
    """Who joined is known to all who have a link (records travel in no time); the dead stay known."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.wirings: dict[PeerId, Wiring] = {}
        self.graph: Graph = {}
        self.known: dict[PeerId, None] = {}
        self.away: dict[PeerId, dict[PeerId, float]] = {}
        """Since when each peer dials whom in vain."""
        self.behind: set[PeerId] = set()
        """Peers without an address."""
        self.bootstrap: dict[PeerId, PeerId] = {}
        self.met: set[PeerId] = set()
        """Who has had a link, and so knows the others."""
        self.sharing: dict[PeerId, tuple[PeerId, ...]] = {}
        self.parting: Callable[[PeerId, PeerId], bool] = lambda a, b: True
        """Whether a link is possible now."""
        self.made = self.parted = 0
        self._views: dict[PeerId, frozenset[PeerId]] = {}

    def join(self, name: str, bootstrap: PeerId | None = None, *, dials_only: bool = False) -> PeerId:
        peer = PeerId(name)
        self.wirings[peer] = Wiring(random.Random(self.dice.random()))
        self.graph[peer] = set()
        self.away[peer] = {}
        if bootstrap is not None:
            self.bootstrap[peer] = bootstrap
        if dials_only:
            self.behind.add(peer)
        else:
            self.known[peer] = None
        return peer

    def kill(self, peers: Iterable[PeerId]) -> None:
        for peer in list(peers):
            for other in self.graph.pop(peer):
                self.graph[other].discard(peer)
            del self.wirings[peer], self.away[peer]

    def cut(self, possible: Callable[[PeerId, PeerId], bool]) -> None:
        self.parting = possible
        for a, others in self.graph.items():
            for b in [b for b in others if not possible(a, b)]:
                others.discard(b)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            order = list(self.wirings)
            self.dice.shuffle(order)
            for peer in order:
                if self.dice.random() < 0.5:  # about every two seconds, each in its own time
                    self._act(peer)

    def _act(self, me: PeerId) -> None:
        wiring, linked = self.wirings[me], self.graph[me]
        if wiring.lacks(linked) and (door := self.bootstrap.get(me)) is not None:
            self._dial(me, door)
        if linked:
            self.met.add(me)
        known = self._known_to(me) if me in self.met else frozenset()
        unreached = {p: self.now - since for p, since in self.away[me].items()}
        plan = wiring.plan(Seen(frozenset(linked), self.sharing.get(me, ()), known, unreached), self.now)
        self.away[me] = {p: self.away[me].get(p, self.now) for p in plan.dial if p not in linked}
        for peer in plan.dial:
            self._dial(me, peer)
        for peer in plan.ask:
            if peer not in linked:
                continue
            if self.wirings[peer].may_go(me, len(linked), self.graph[peer]):
                wiring.parted(peer)
                self.wirings[peer].parted(me)
                linked.discard(peer)
                self.graph[peer].discard(me)
                self.parted += 1
            else:
                wiring.refused(peer)

    def _known_to(self, me: PeerId) -> frozenset[PeerId]:
        if me not in self._views or len(self._views[me]) < len(self.known) - 1:
            self._views[me] = frozenset(self.known) - {me}
        return self._views[me]

    def _dial(self, me: PeerId, peer: PeerId) -> None:
        if peer in self.graph and peer not in self.behind and peer not in self.graph[me] and self.parting(me, peer):
            self.graph[me].add(peer)
            self.graph[peer].add(me)
            self.away[me].pop(peer, None)
            self.made += 1

    # ---- what came of it ---------------------------------------------------------------------------------------------

    def parts(self) -> list[set[PeerId]]:
        unseen, parts = set(self.graph), []
        while unseen:
            part = set(self.hops(next(iter(sorted(unseen)))))
            parts.append(part)
            unseen -= part
        return sorted(parts, key=len)

    def hops(self, start: PeerId) -> dict[PeerId, int]:
        far = {start: 0}
        reached = [start]
        for peer in reached:
            for other in sorted(self.graph[peer]):
                if other not in far:
                    far[other] = far[peer] + 1
                    reached.append(other)
        return far

    def degrees(self) -> list[int]:
        return sorted(len(others) for others in self.graph.values())

    def diameter(self, samples: int = 20) -> int:
        some = self.dice.sample(sorted(self.graph), min(samples, len(self.graph)))
        return max(max(self.hops(peer).values()) for peer in some)
