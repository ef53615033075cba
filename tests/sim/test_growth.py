"""The model of growth: laws recover what they describe, and gossip played without peers takes as long as with them."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from meshinfer.sim.growth import LAWS, Growth, exponent, measured, off, predicted, spread
from meshinfer.sim.scenario import Faults, Link, Scenario
from meshinfer.sim.world import World

SPARSE = Scenario(links=5, link=Link(loss=0.0, duplicate=0.0, reorder=0.0, delay=(0.01, 0.1)))


def row(peers: int, **values: float) -> Growth:
    rest = dict.fromkeys((*LAWS, "spread_p50", "spread_p99", "wasted"), 1.0)
    return Growth(peers=peers, runs=1, **(rest | values))


def test_a_law_tells_beyond_what_it_was_fitted_to() -> None:
    rows = [row(n, gossip=7.0, bytes=100.0 + 3.0 * n) for n in (5, 10, 40)]
    far = predicted(400, rows, SPARSE, random.Random(1))
    assert far.gossip == 7.0
    assert far.bytes == pytest.approx(1300.0)
    assert far.runs == 0


def test_a_size_at_which_nothing_was_measured_says_nothing() -> None:
    rows = [row(10, takeover_p50=0.0), row(20, takeover_p50=8.0)]
    assert predicted(40, rows, SPARSE, random.Random(1)).takeover_p50 == 8.0


def test_how_far_the_model_is_off_and_the_power_of_growth() -> None:
    assert off(row(10, bytes=110.0), row(10, bytes=100.0))["bytes"] == 0.1
    assert exponent(row(10, bytes=5.0), row(1000, bytes=500.0), "bytes") == 1.0
    assert exponent(row(10), row(1000), "gossip") == 0.0


def test_gossip_takes_longer_in_a_larger_mesh_by_the_number_of_hops() -> None:
    small, large = (spread(random.Random(1), n, SPARSE)[1] for n in (50, 2000))
    assert small < large < 4 * small


def test_what_is_lost_on_all_ways_comes_by_a_sync() -> None:
    lossy = replace(SPARSE, link=replace(SPARSE.link, loss=0.8))
    assert spread(random.Random(1), 200, lossy)[1] > 1.0


def test_played_without_peers_it_takes_as_long_as_with_them() -> None:
    scenario = replace(
        SPARSE,
        peers=(40, 40),
        contents=4,
        jobs=(6, 6),
        late=0.0,
        cancels=0.0,
        storm=15.0,
        faults=Faults(
            kills=0.0, crash=0.0, pauses=0.0, cuts=0.0, partitions=0.0, full_disks=0.0, jumps=0.0, moves=0.0, models=0.0
        ),
    )
    run = World(scenario, 1, random.Random(1)).run()
    simulated, played = measured(40, [run], 1.0), spread(random.Random(1), 40, scenario)
    # What a peer does before it tells others (a transaction of up to 30 ms) is not in what is played.
    assert 0.0 < simulated.spread_p50 - played[0] < 0.06
    assert -0.03 < simulated.spread_p99 - played[1] < 0.12
