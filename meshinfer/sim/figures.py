"""What a run came to, and what many runs came to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from meshinfer.model.ids import digest_of


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
    messages: int
    bytes: int
    records: int
    """Held by each peer at the end."""
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


def summary(scenario: str, runs: Sequence[Figures]) -> Summary:
    peers = sum(run.peers for run in runs)
    pieces = sum(run.pieces for run in runs)
    converged, rested = [run.converged for run in runs], [run.rested for run in runs]
    return Summary(
        scenario,
        len(runs),
        digest_of(run.digest for run in runs)[:16],
        round(peers / len(runs), 1),
        round(sum(run.crashes for run in runs) / len(runs), 2),
        quantile(converged, 0.5),
        quantile(converged, 0.99),
        quantile(rested, 0.5),
        quantile(rested, 0.99),
        round(sum(run.messages for run in runs) / peers, 1),
        round(sum(run.bytes for run in runs) / peers),
        round(sum(run.records for run in runs) / len(runs), 1),
        sum(run.tasks for run in runs),
        sum(run.runs for run in runs),
        round(sum(run.wasted for run in runs) / max(1, pieces), 4),
    )


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least the share `q` of them does not exceed."""
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(q * len(ordered)) - 1)], 3)
