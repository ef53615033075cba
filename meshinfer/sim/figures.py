"""What a run came to, and what many runs came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from meshinfer.sim.runner import PIECES

if TYPE_CHECKING:
    from meshinfer.sim.world import World


class Figures(Struct, frozen=True):
    """One run."""

    seed: int
    peers: int
    jobs: int
    tasks: int
    """Distinct ones that were begun."""
    runs: int
    crashes: int
    pieces: int
    """Of work, done over again where a task was run twice."""
    wasted: int
    """Pieces beyond one result a task."""
    converged: float
    """Seconds after the storm until all peers knew what any had known at its end."""
    rested: float
    """Seconds after the storm until nobody had anything to do."""
    seconds: float
    """Of virtual time, since the first job could be published. So are the next figures."""
    spread: tuple[float, float]
    """Seconds until a job was known to half of the peers that were up, and to 99 of 100."""
    takeovers: tuple[float, ...]
    """Seconds from the death of a peer to the next run of each task that it was at."""
    gossip: tuple[int, int]
    """Messages and bytes that were sent, each hop counted."""
    streams: tuple[int, int]
    records: int
    """Held by the peer that holds most, at the end."""
    attacks: int
    rejected: int
    """What honest peers refused to believe, and messages of floods."""
    steps: int
    digest: str
    """Of everything that happened: equal for equal seeds, whatever the machine."""


class Summary(Struct, frozen=True):
    scenario: str
    runs: int
    digest: str
    """Of all runs."""
    peers: float
    crashes: float
    converge_p50: float
    converge_p99: float
    rest_p50: float
    rest_p99: float
    messages_per_peer: float
    bytes_per_peer: float
    records_per_peer: float
    tasks: int
    task_runs: int
    wasted: float
    """Share of the work that was done over again."""
    takeover_p50: float
    takeover_p99: float
    attacks: int
    rejected: int


def figures_of(world: World, converged: float, rested: float) -> Figures:
    """Of a run that has come to rest so many seconds after its storm."""
    monitor, peers = world.monitor, world.peers
    analysed = [peer.analysed for peer in peers]
    pieces = sum(sum(by.values()) for by in analysed)
    needed = sum(min(PIECES, max(by[task] for by in analysed)) for task in {task for by in analysed for task in by})
    honest = monitor.alive()
    gossiped, streamed = world.sent_before
    return Figures(
        world.seed,
        len(peers),
        len(world.jobs),
        len(monitor.runs),
        sum(monitor.runs.values()),
        world.storm.crashes,
        pieces,
        pieces - needed,
        round(converged, 3),
        round(rested, 3),
        round(world.agenda.now - world.scenario.calm, 3),
        (quantile(monitor.spread, 0.5), quantile(monitor.spread, 0.99)),
        tuple(round(seconds, 3) for seconds in monitor.takeovers),
        _less(world.gossip.traffic.total, gossiped),
        _less(world.network.streams.total, streamed),
        max(len(peer.books.log) for peer in honest),
        sum(len(attacker.done) for attacker in world.attackers),
        sum(sum(peer.rejected.values()) for peer in peers if peer.honest) + sum(world.gossip.refused.values()),
        world.agenda.steps,
        world.agenda.digest(),
    )


def _less(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] - b[0], a[1] - b[1]


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least the share `q` of them does not exceed; 0 of none."""
    ordered = sorted(values) or [0.0]
    return round(ordered[max(0, math.ceil(q * len(ordered)) - 1)], 3)
