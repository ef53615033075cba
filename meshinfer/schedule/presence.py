"""Who is there: connected, so a moment ago, or about to be. Work is left to nobody else."""

from __future__ import annotations

import math

from meshinfer.model.ids import PeerId

GRACE = 10.0
"""Seconds after its connection broke during which a peer still counts: a flap or a restart moves no work."""


class Presence:
    """The other peers, as this one sees them."""

    def __init__(self) -> None:
        self.connected: set[PeerId] = set()
        self.left: dict[PeerId, float] = {}
        """When their connection broke, for those that were connected a moment ago."""
        self.expected: dict[PeerId, float] = {}
        """Peers first heard of then and never met: this peer, or they, may just have started."""
        self.newest = -math.inf
        """When a peer last came to count."""

    def live(self, peer: PeerId) -> bool:
        """Connected, or so a moment ago."""
        return peer in self.connected or peer in self.left

    def counts(self, peer: PeerId) -> bool:
        """Whether work may be left to this peer."""
        return self.live(peer) or peer in self.expected

    def up(self, peer: PeerId, now: float) -> bool:
        """It is connected; whether it counts only now."""
        counted = self.counts(peer)
        self.connected.add(peer)
        self.left.pop(peer, None)
        self.expected.pop(peer, None)
        self.newest = self.newest if counted else now
        return not counted

    def down(self, peer: PeerId, now: float) -> None:
        if peer in self.connected:
            self.connected.discard(peer)
            self.left[peer] = now

    def introduced(self, peer: PeerId, now: float) -> None:
        """It was heard of for the first time."""
        if not self.live(peer):
            self.expected[peer] = self.newest = now

    def shift(self, seconds: float) -> None:
        """This peer stood still for so long: nobody is held to that time."""
        for absent in (self.left, self.expected):
            for peer in absent:
                absent[peer] += seconds

    def deadlines(self) -> list[float]:
        return [since + GRACE for since in (*self.left.values(), *self.expected.values())]

    def expire(self, now: float) -> bool:
        """Whether somebody counts no more."""
        gone = False
        if not (self.left or self.expected):
            return False
        for absent in (self.left, self.expected):
            for peer in [peer for peer, since in absent.items() if since + GRACE <= now]:
                del absent[peer]
                gone = True
        return gone
