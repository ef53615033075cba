"""Who runs a task that several peers hold: weighted rendezvous hashing.

Each peer draws -w / ln(h), h in (0, 1) from the hash of (task, peer); the largest comes first. Everyone computes
the same order from the same candidates, a peer's share is proportional to its weight, and when a peer goes only its
tasks move (Thaler and Ravishankar 1998; weighted by Schindelhauer and Schomaker 2005).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from meshinfer.model.ids import PeerId, TaskId, hash_of


def ranked(task: TaskId, candidates: Iterable[PeerId], weights: Mapping[PeerId, int]) -> list[PeerId]:
    """Candidates, best first. A weight that is unknown is 1."""
    return sorted(candidates, key=lambda peer: (-_score(task, peer, weights.get(peer, 1)), peer))


def _score(task: TaskId, peer: PeerId, weight: int) -> float:
    h = (int(hash_of(task.encode(), peer.encode(), digits=13), 16) + 0.5) / 2**52
    return -max(weight, 1) / math.log(h)
