"""How it grows with the mesh: figures of equal work among more and more peers, and what they follow.

The model says of each figure by which law it grows, and why; its constants are fitted to the smaller meshes, the
largest confirms them, and then it tells of one ten times as large. How long gossip takes is played on the overlay of
that size, one message at a time, without peers (first-passage percolation). How many have a part in the jobs is drawn
(`sim/crowd.py`), as it grows by no simple law: the larger the mesh, the fewer of its peers.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from meshinfer.sim.chance import Rng
from meshinfer.sim.crowd import Crowd, crowd
from meshinfer.sim.figures import Figures, quantile
from meshinfer.sim.overlay import random_links
from meshinfer.sim.push import EVERY
from meshinfer.sim.scenario import Scenario

MESSAGES = 20
"""Whose way through the overlay is played."""


class Growth(Struct, frozen=True):
    """Many runs with so many peers, or the model's word."""

    peers: int
    runs: int
    """0: the model's."""
    spread_p50: float
    """Seconds until a peer knows of a job."""
    spread_p99: float
    converge_p50: float
    converge_p99: float
    """Seconds after the last fault until all know the same."""
    gossip: float
    """Messages that a peer sends, for each task of the mesh."""
    streams: float
    """Frames that a peer sends, a second."""
    bytes: float
    """That a peer sends in all, a second."""
    records: float
    """That a peer keeps, at the peer that keeps most."""
    wasted: float
    """Share of the work that was done over again."""
    takeover_p50: float
    takeover_p99: float
    told: float = 0.0
    """Of the bytes, those of gossip."""
    lasted: float = 1.0
    """Virtual seconds of a run."""
    seconds: float = 0.0
    """Of real time, a run."""


Law = Literal["flat", "logarithm"]

LAWS: dict[str, Law] = {
    "gossip": "flat",  # each record goes once along each link of a peer, and a task has so many records
    "converge_p50": "logarithm",  # syncs double the number of those that know
    "converge_p99": "logarithm",
    "takeover_p50": "flat",  # a matter among the holders
    "takeover_p99": "flat",
}
"""Of the figures that follow a curve. `wasted` is a matter among holders and not predicted."""

PREDICTED = frozenset({"spread_p50", "spread_p99", "streams", "bytes", "records", *LAWS})

AT_REST = 1.0
"""Frames a second that a peer sends when nothing happens: it asks, and is asked, every five seconds, and a sync is
five frames of the two."""

A_PAIR = 0.1
"""Frames between two that are connected and keep one job (a manifest, some claims and outcomes), of those by which a
peer begins to keep it (ten syncs: it catches up with eight peers, and passes on what is news)."""

EVERYWHERE = 2
"""Records of each peer that all keep: itself, and its source."""


def measured(peers: int, runs: Sequence[Figures], seconds: float) -> Growth:
    """Of runs that took so many seconds of real time."""
    spread = [run.spread for run in runs]
    takeovers = [t for run in runs for t in run.takeovers]
    converged = [run.converged for run in runs]
    peer_seconds = sum(run.peers * run.seconds for run in runs)
    gossiped = sum(run.gossip[1] for run in runs)
    return Growth(
        peers,
        len(runs),
        _mean([p50 for p50, _ in spread]),
        _mean([p99 for _, p99 in spread]),
        quantile(converged, 0.5),
        quantile(converged, 0.99),
        round(sum(run.gossip[0] for run in runs) / sum(run.peers * run.tasks for run in runs), 3),
        round(sum(run.streams[0] for run in runs) / peer_seconds, 3),
        round((gossiped + sum(run.streams[1] for run in runs)) / peer_seconds, 1),
        _mean([float(run.records) for run in runs]),
        round(sum(run.wasted for run in runs) / max(1, sum(run.pieces for run in runs)), 4),
        quantile(takeovers, 0.5),
        quantile(takeovers, 0.99),
        round(gossiped / peer_seconds, 1),
        _mean([run.seconds for run in runs]),
        round(seconds / len(runs), 2),
    )


def predicted(peers: int, fitted: Sequence[Growth], scenario: Scenario, rng: Rng) -> Growth:
    """What the model, fitted to these, says of a mesh of so many peers."""
    values = {name: round(_follow(law, fitted, name, peers), 3) for name, law in LAWS.items()}
    # What comes before the first hop (the disk, the pace of announcements) is the same for all: it is fitted.
    played = [(row, spread(rng, row.peers, scenario)) for row in fitted]
    p50, p99 = spread(rng, peers, scenario)
    p50 += sum(row.spread_p50 - seconds[0] for row, seconds in played) / len(fitted)
    p99 += sum(row.spread_p99 - seconds[1] for row, seconds in played) / len(fitted)
    return Growth(
        peers=peers,
        runs=0,
        spread_p50=round(p50, 3),
        spread_p99=round(p99, 3),
        wasted=fitted[-1].wasted,
        records=max(0.0, round(fitted[-1].records + EVERYWHERE * (peers - fitted[-1].peers))),
        lasted=fitted[-1].lasted,
        **_traffic(crowd(rng, peers, scenario), [(row, crowd(rng, row.peers, scenario)) for row in fitted[-2:]]),
        **values,
    )


def _traffic(there: Crowd, fitted: Sequence[tuple[Growth, Crowd]]) -> dict[str, float]:
    """What a peer of such a mesh sends. Beyond what it does at rest, and visits, that is its share in the work of all
    jobs, which falls to those that keep them, each with so many syncs and direct copies. A vector tells a number for
    each peer, and for each that speaks in a job that it names.
    """
    lasted = fitted[-1][0].lasted
    a_part = _mean([(row.streams - _anyway(c)) * row.peers * row.lasted / _parts(c) for row, c in fitted])
    a_log = _mean([(row.bytes - row.told) / (row.streams * _logs(c)) for row, c in fitted if row.streams])
    told = fitted[-1][0].told
    streams = _anyway(there) + max(0.0, a_part) * _parts(there) / (there.peers * lasted)
    return {
        "streams": round(streams, 3),
        "told": told,
        "bytes": round(told + a_log * streams * _logs(there), 1),
    }


def _anyway(crowd: Crowd) -> float:
    """Frames a second: at rest, and as many again of who visits others; it does so as often as it syncs."""
    return AT_REST * (1 + crowd.visiting / crowd.peers)


def _parts(crowd: Crowd) -> float:
    """What all peers together do for the jobs, in parts: to begin to keep one is a part."""
    return max(1.0, crowd.keeping + A_PAIR * crowd.pairs)


def _logs(crowd: Crowd) -> float:
    """That a vector names: of each peer, and of the jobs that one keeps who keeps any; of these half, as most vectors
    are told while the jobs come in."""
    named = max(1.0, crowd.keeping / crowd.peers)
    return crowd.peers + named * crowd.speaking / 2


def off(model: Growth, simulated: Growth) -> dict[str, float]:
    """By how much the model is off, as a share of what was simulated."""
    pairs = {name: (getattr(model, name), getattr(simulated, name)) for name in sorted(PREDICTED)}
    return {name: round(said / seen - 1, 3) for name, (said, seen) in pairs.items() if seen}


def exponent(first: Growth, last: Growth, name: str) -> float:
    """e, where the figure has grown as peers to the power of e."""
    a, b = getattr(first, name), getattr(last, name)
    if a <= 0 or b <= 0 or first.peers == last.peers:
        return 0.0
    return round(math.log(b / a) / math.log(last.peers / first.peers), 2)


def spread(rng: Rng, peers: int, scenario: Scenario) -> tuple[float, float]:
    """Seconds until a message is known to half of the peers, and to 99 of 100."""
    neighbours: list[list[int]] = [[] for _ in range(peers)]
    for a, b in random_links(rng, peers, scenario.links or peers):
        neighbours[a].append(b)
        neighbours[b].append(a)
    times: list[float] = []
    for _ in range(MESSAGES):
        times += _first_passage(rng, neighbours, scenario, rng.randint(0, peers - 1))
    return quantile(times, 0.5), quantile(times, 0.99)


def _first_passage(rng: Rng, neighbours: list[list[int]], scenario: Scenario, start: int) -> list[float]:
    """When each peer has the message: by the fastest way, and where all copies are lost, by its next sync."""
    link, known, heap = scenario.link, dict[int, float](), [(0.0, start)]
    while heap:
        at, peer = heapq.heappop(heap)
        if peer in known:
            continue
        known[peer] = at
        for other in neighbours[peer]:
            if other not in known and rng.random() >= link.loss:
                late = rng.uniform(*link.held_up) if rng.random() < link.reorder else 0.0
                heapq.heappush(heap, (at + rng.uniform(*link.delay) + late, other))
    return [*known.values(), *(rng.uniform(0, EVERY) for _ in range(len(neighbours) - len(known)))]


def _follow(law: Law, fitted: Sequence[Growth], name: str, peers: int) -> float:
    """The law's value, its constants from the largest meshes: small ones are full meshes, and follow none.

    A size at which nothing was measured says nothing.
    """
    fitted = [row for row in fitted if getattr(row, name)] or fitted
    fitted = fitted[-1:] if law == "flat" else fitted[-2:]
    xs, ys = [_x(law, g.peers) for g in fitted], [float(getattr(g, name)) for g in fitted]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread_x = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread_x if spread_x else 0.0
    return max(0.0, mean_y + slope * (_x(law, peers) - mean_x))


def _x(law: Law, peers: int) -> float:
    return {"flat": 0.0, "logarithm": math.log(peers)}[law]


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 3)
