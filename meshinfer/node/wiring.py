"""Which links a peer wants. Pure but for the dice: what is seen goes in, what to do comes out.

Some neighbours at random, whoever they are: a random graph of degree six hangs together when a third of its peers die
at once, has no centre, and is a few hops wide (an expander). Some that hold the same footage, since they settle who
does what. The rest is let go where the other end can spare it too. Nothing here knows how many peers there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from random import Random
from typing import NamedTuple

from meshinfer.model.ids import PeerId

LOW, AIM, HIGH = 6, 7, 8
"""Random neighbours: below LOW more are dialed, up to AIM; above HIGH one is let go."""

SHARING = 8
"""Links to peers with the same footage."""

FAR = 2
"""Of those that were lost or never reached, so many are tried all the time, in turn: after a partition somebody finds
the other side, and the records do the rest."""

ALONE = 14
"""Peers that are dialed at once while there is no link at all."""

FAIL_AFTER = 12.0
"""Seconds that a peer has to be reached before another is dialed in its place: an address that is silent takes ten."""

REWIRE = 240.0
"""Seconds, on average, between two links to somebody new: the graph stays random however it began."""

PART_EVERY, PART_RARELY = 3.0, 600.0
"""Seconds between two attempts to let a link go; more and more where all have been asked and nobody agreed."""

CROWDED, CENTRE = HIGH + 3, 3 * HIGH
"""Random links of a peer that is helped to get rid of some: its neighbours look for others. Links of one that is a
centre of the mesh."""


class Seen(NamedTuple):
    """The links of a peer and who else is there. Guests are no neighbours and in none of these."""

    linked: Set[PeerId]
    sharing: Sequence[PeerId]
    """Who holds footage that lies here too, most wanted first."""
    known: Set[PeerId]
    """Who has an address, linked or not."""
    unreached: Mapping[PeerId, float]
    """Seconds for which those that are dialed have been away."""
    needed: Set[PeerId] = frozenset()
    """Links that something is under way on: they are not counted, and stay."""


class Plan(NamedTuple):
    dial: frozenset[PeerId]
    """Connections to keep, or to make."""
    ask: tuple[PeerId, ...]
    """Links to let go, where the other end agrees."""


class Wiring:
    """What one peer does about its links, over time."""

    def __init__(self, dice: Random, *, guest: bool = False) -> None:
        """A guest is there for a moment: it takes no care of the graph, and nobody counts on it."""
        self._dice, self._guest = dice, guest
        self._targets: dict[PeerId, float] = {}
        """Whom we dial, and since when."""
        self._failed: dict[PeerId, float] = {}
        """Who could not be reached, or was lost, and when."""
        self._due: set[PeerId] = set()
        """Dialed however many links there are: who was dialed and lost, and somebody new now and then."""
        self._linked: frozenset[PeerId] = frozenset()
        self._kept: frozenset[PeerId] = frozenset()
        self._parted: set[PeerId] = set()
        """Who left by agreement since the last look."""
        self._refused: set[PeerId] = set()
        self._part_at, self._pause = 0.0, PART_EVERY
        self._rewire_at: float | None = None

    def lacks(self, linked: Set[PeerId]) -> bool:
        """Whether there are too few neighbours: bootstrap peers are dialed as long as that is so."""
        return len(linked) < LOW

    def plan(self, seen: Seen, now: float) -> Plan:
        """What to do at `now` (monotonic seconds)."""
        self._take_in(seen, now)
        known = seen.known
        by_failure = sorted(seen.sharing, key=lambda peer: peer in self._failed and peer not in seen.linked)
        shared = [peer for peer in by_failure if peer in seen.linked or peer in known][:SHARING]
        self._kept = frozenset(shared) | seen.needed
        others = seen.linked - self._kept
        trying = [p for p in self._targets if p not in seen.linked and p in known and p not in shared]
        fresh = [peer for peer in trying if peer not in self._failed]
        self._due |= self._someone_new(seen, known, now)
        keep = {peer for peer in self._targets if peer in seen.linked} | set(shared) | self._due
        need = ALONE if not seen.linked else AIM - len(others) if len(others) < LOW else 0
        if need:
            keep |= set((fresh + self._candidates(known - seen.linked - keep - set(fresh)))[:need])
        if not self._guest:
            lost = [peer for peer in trying if peer in self._failed] + self._by_failure(self._failed.keys())
            keep |= set(list(dict.fromkeys(peer for peer in lost if peer not in keep))[:FAR])
        self._targets = {peer: self._targets.get(peer, now) for peer in keep}
        return Plan(frozenset(keep), self._surplus(others, now))

    def may_go(self, peer: PeerId, links: int, linked: Set[PeerId]) -> bool:
        """Whether the link to `peer`, who has so many random `links` and would like to be rid of it, can be spared.
        Where it cannot, and `peer` is crowded, somebody else is looked for in its place."""
        if peer in self._kept:
            return False
        spare = peer not in linked or len(linked - self._kept) > LOW
        if not spare and links >= CROWDED:
            self._rewire_at = 0.0
        return spare

    def random_links(self, linked: Set[PeerId]) -> int:
        """How many links there are for no reason but to have some."""
        return len(linked - self._kept)

    def parted(self, peer: PeerId) -> None:
        """The link to `peer` goes, as both agreed."""
        self._targets.pop(peer, None)
        self._parted.add(peer)
        self._refused.clear()
        self._pause = PART_EVERY

    def refused(self, peer: PeerId) -> None:
        """`peer` needs the link that we could do without."""
        self._refused.add(peer)

    def _take_in(self, seen: Seen, now: float) -> None:
        for peer in self._linked - seen.linked - self._parted:
            if peer in self._targets:
                self._due.add(peer)
            else:
                self._failed[peer] = now  # it dialed us: should it not come back, it is looked for
        for peer, since in list(self._targets.items()):
            if peer not in seen.linked and min(now - since, seen.unreached.get(peer, 0.0)) >= FAIL_AFTER:
                self._failed[peer] = now
                del self._targets[peer]
        known = seen.known
        self._failed = {p: at for p, at in self._failed.items() if p in known and p not in seen.linked}
        self._due = {p for p in self._due if p in known and p not in seen.linked and p not in self._failed}
        self._refused &= seen.linked
        self._linked = frozenset(seen.linked)
        self._parted.clear()

    def _candidates(self, peers: Set[PeerId]) -> list[PeerId]:
        """At random, and last those that did not answer, the oldest failure first."""
        fresh = sorted(peers - self._failed.keys())
        return self._dice.sample(fresh, len(fresh)) + self._by_failure(peers & self._failed.keys())

    def _by_failure(self, peers: Set[PeerId]) -> list[PeerId]:
        return sorted(peers, key=lambda peer: (self._failed[peer], peer))

    def _someone_new(self, seen: Seen, known: Set[PeerId], now: float) -> set[PeerId]:
        if self._rewire_at is None:
            self._rewire_at = now + self._dice.uniform(0.2, 1.8) * REWIRE
        if self._guest or now < self._rewire_at:
            return set()
        self._rewire_at = now + self._dice.uniform(0.2, 1.8) * REWIRE
        fresh = sorted(known - seen.linked - self._failed.keys() - self._targets.keys())
        return set(self._dice.sample(fresh, min(1, len(fresh))))

    def _surplus(self, others: Set[PeerId], now: float) -> tuple[PeerId, ...]:
        """A link or, where there are many too many, half of those: one round in a few seconds."""
        many = len(others) - HIGH
        if many <= 0 or self._guest or now < self._part_at:
            return ()
        if willing := sorted(others - self._refused):
            self._part_at = now + PART_EVERY
        else:
            self._part_at, self._pause = now + self._pause, min(PART_RARELY, 2 * self._pause)
            self._refused.clear()
        return tuple(self._dice.sample(willing, min(len(willing), max(1, many // 2))))
