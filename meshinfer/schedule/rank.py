"""Who runs what several peers hold: weighted rendezvous hashing.

Each peer draws -w / ln(h), h in (0, 1) from the hash of (unit, peer); the largest comes first. Everyone computes
the same order from the same candidates, a peer's share is proportional to its weight, and when a peer goes only its
tasks move (Thaler and Ravishankar 1998; weighted by Schindelhauer and Schomaker 2005). All spans of a video fall to one
peer, which reads it once from its start; whoever is idle may be given some of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

from meshinfer.model.ids import PeerId, UnitId, hash_of


def ranked(unit: UnitId, candidates: Iterable[PeerId], weights: Mapping[PeerId, int]) -> list[PeerId]:
    """Candidates, best first. A weight that is unknown is 1."""
    return sorted(candidates, key=lambda peer: (-_score(unit, peer, weights.get(peer, 1)), peer))


@lru_cache(maxsize=16_384)
def _score(unit: UnitId, peer: PeerId, weight: int) -> float:
    h = (int(hash_of(unit.encode(), peer.encode(), digits=13), 16) + 0.5) / 2**52
    return -max(weight, 1) / math.log(h)
