"""How many peers have to do with the jobs of a mesh: drawn as the simulator draws them, without playing any of it.

A job's log is kept by who holds matching footage, by its publisher, and for each of them that is not connected to the
publisher by two neighbours (docs/PROTOCOL.md). However large the mesh, it comes to be kept by a bounded number.
"""

from __future__ import annotations

from typing import NamedTuple

from meshinfer.model.ids import ContentId
from meshinfer.schedule.interest import RELAYS
from meshinfer.sim.chance import Rng
from meshinfer.sim.overlay import random_links, sharing
from meshinfer.sim.scenario import Scenario

DRAWS = 3


class Crowd(NamedTuple):
    peers: int
    keeping: float
    """Peers that keep a job's log, summed over all jobs."""
    speaking: float
    """Peers that state something in a job, on average."""
    pairs: float
    """Connections from each of those to each that keeps the job, summed over all jobs."""
    visiting: float
    """Peers that state something in any job and lack a link to another that does."""


def crowd(rng: Rng, peers: int, scenario: Scenario) -> Crowd:
    """The mean of some draws."""
    jobs = sum(scenario.jobs) / 2
    drawn = [_draw(rng, peers, scenario) for _ in range(DRAWS)]
    keeping, speaking, pairs, visiting = (sum(values) / DRAWS for values in zip(*drawn, strict=True))
    return Crowd(peers, keeping * jobs, speaking, pairs * jobs, visiting)


def _draw(rng: Rng, peers: int, scenario: Scenario) -> tuple[float, float, float, float]:
    """As in a `Crowd`, on average over the jobs' groups."""
    most = min(peers, scenario.copies)
    held: list[set[ContentId]] = [set() for _ in range(peers)]
    holders: list[set[int]] = [set() for _ in range(scenario.groups)]
    for i in range(scenario.contents):
        for index in rng.sample(range(peers), rng.randint(min(most, scenario.fewest), most)):
            held[index].add(ContentId(str(i)))
            holders[i % scenario.groups].add(index)
    neighbours: list[set[int]] = [set() for _ in range(peers)]
    for a, b in {*random_links(rng, peers, scenario.links or peers), *sharing(held)}:
        neighbours[a].add(b)
        neighbours[b].add(a)
    keeping = speaking = pairs = 0
    visiting: set[int] = set()
    for of_job in holders:
        publisher, rank = rng.randint(0, peers - 1), rng.sample(range(peers), peers)
        away = [peer for peer in of_job if peer != publisher and publisher not in neighbours[peer]]
        relays = {relay for peer in away for relay in sorted(neighbours[peer], key=rank.__getitem__)[:RELAYS]}
        keepers = {publisher, *of_job, *relays}
        keeping += len(keepers)
        speakers = {publisher, *of_job}
        speaking += len(speakers)
        pairs += sum(len(neighbours[peer] & keepers) for peer in speakers)
        visiting.update(peer for peer in speakers if not speakers <= neighbours[peer] | {peer})
    groups = scenario.groups
    return keeping / groups, speaking / groups, pairs / groups, len(visiting)
