"""Who is linked to whom: a random graph, and besides it everybody with those that hold copies of the same footage.

A random graph of a few links a peer stays connected when a third of it goes, has no centre, and any two are
log(n) / log(links) hops apart (Bollobás 2001). Holders of copies are linked because they must hear each other's claims.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations, pairwise

from meshinfer.model.ids import ContentId
from meshinfer.sim.chance import Rng

Pair = tuple[int, int]
"""The smaller index first."""


def random_links(rng: Rng, peers: int, each: int) -> list[Pair]:
    """A connected graph in which each peer has about `each` links: those that come later choose among the earlier,
    as joining peers do."""
    if peers <= each + 1:
        return list(combinations(range(peers), 2))
    # Each link has two ends, so a peer chooses half of its own; a ring through all keeps them connected.
    order = rng.sample(range(peers), peers)
    links = {_pair(a, b) for a, b in zip(order, [*order[1:], order[0]], strict=True)}
    degree = dict.fromkeys(range(peers), 2)
    for a in order:
        for _ in range(4 * each):
            if degree[a] >= each:
                break
            b = rng.randint(0, peers - 1)
            if b != a and degree[b] <= each and _pair(a, b) not in links:
                links.add(_pair(a, b))
                degree[a] += 1
                degree[b] += 1
    return sorted(links)


def sharing(contents: Sequence[Collection[ContentId]]) -> list[Pair]:
    """Peers that hold a copy of the same content."""
    holders: dict[ContentId, list[int]] = {}
    for index, held in enumerate(contents):
        for content in sorted(held):
            holders.setdefault(content, []).append(index)
    return sorted({pair for by in holders.values() for pair in combinations(sorted(set(by)), 2)})


def without(neighbours: Sequence[int]) -> list[Pair]:
    """Links that take the place of a peer that went for good: its neighbours in a row, so none is cut off."""
    row = sorted(set(neighbours))
    return [_pair(a, b) for a, b in pairwise(row)]


def _pair(a: int, b: int) -> Pair:
    return min(a, b), max(a, b)
