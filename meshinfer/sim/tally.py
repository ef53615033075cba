"""What many runs came to, without a list of them: its size does not grow with their number."""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate

from msgspec import Struct, field

from meshinfer.model.ids import hash_of
from meshinfer.sim.figures import Figures, Summary

Times = dict[int, int]
"""How often each number of milliseconds was measured: at most some minutes, so some 100,000 of them."""


class Tally(Struct):
    """Sums over runs, in the order of their seeds. A plain value: it can be put away and taken up again."""

    runs: int = 0
    digest: str = ""
    """Of all that happened in all runs so far, each upon the one before."""
    peers: int = 0
    crashes: int = 0
    messages: int = 0
    bytes: int = 0
    records: int = 0
    tasks: int = 0
    task_runs: int = 0
    pieces: int = 0
    wasted: int = 0
    attacks: int = 0
    rejected: int = 0
    converged: Times = field(default_factory=dict)
    rested: Times = field(default_factory=dict)
    takeovers: Times = field(default_factory=dict)

    def add(self, run: Figures) -> None:
        self.runs += 1
        self.digest = hash_of(self.digest.encode(), run.digest.encode())[:16]
        self.peers += run.peers
        self.crashes += run.crashes
        self.messages += run.gossip[0] + run.streams[0]
        self.bytes += run.gossip[1] + run.streams[1]
        self.records += run.records
        self.tasks += run.tasks
        self.task_runs += run.runs
        self.pieces += run.pieces
        self.wasted += run.wasted
        self.attacks += run.attacks
        self.rejected += run.rejected
        for times, measured in (
            (self.converged, (run.converged,)),
            (self.rested, (run.rested,)),
            (self.takeovers, run.takeovers),
        ):
            for seconds in measured:
                ms = round(1000 * seconds)
                times[ms] = times.get(ms, 0) + 1

    def summary(self, scenario: str) -> Summary:
        runs, peers = max(1, self.runs), max(1, self.peers)
        return Summary(
            scenario,
            self.runs,
            self.digest,
            round(self.peers / runs, 1),
            round(self.crashes / runs, 2),
            quantile_of(self.converged, 0.5),
            quantile_of(self.converged, 0.99),
            quantile_of(self.rested, 0.5),
            quantile_of(self.rested, 0.99),
            round(self.messages / peers, 1),
            round(self.bytes / peers),
            round(self.records / runs, 1),
            self.tasks,
            self.task_runs,
            round(self.wasted / max(1, self.pieces), 4),
            quantile_of(self.takeovers, 0.5),
            quantile_of(self.takeovers, 0.99),
            self.attacks,
            self.rejected,
        )


def quantile_of(times: Times, q: float) -> float:
    """As `figures.quantile`, in seconds: the smallest time that at least the share `q` of them does not exceed."""
    ordered = sorted(Counter(times).items())
    wanted = max(1, math.ceil(q * sum(times.values())))
    upto = accumulate(count for _, count in ordered)
    return next((ms / 1000 for (ms, _), many in zip(ordered, upto, strict=True) if many >= wanted), 0.0)
