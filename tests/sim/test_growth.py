"""The model of growth: laws recover what they describe, and gossip played without peers takes as long as with them."""

from __future__ import annotations

import math
import random

import pytest
from msgspec.structs import replace

from meshinfer.sim.crowd import crowd
from meshinfer.sim.growth import AT_REST, PREDICTED, Growth, _logs, _parts, exponent, measured, off, predicted, spread
from meshinfer.sim.scenario import Faults, Link, Scenario
from meshinfer.sim.world import World

SPARSE = Scenario(links=5, link=Link(loss=0.0, duplicate=0.0, reorder=0.0, delay=(0.01, 0.1)))

NONE = Faults(
    kills=0.0, crash=0.0, pauses=0.0, cuts=0.0, partitions=0.0, full_disks=0.0, jumps=0.0, moves=0.0, models=0.0
)
WORK = Scenario(links=6, contents=100, groups=10, copies=2, fewest=2, jobs=(10, 10), cancels=0.0, work=(0.1, 0.4))


def row(peers: int, **values: float) -> Growth:
    rest = dict.fromkeys((*PREDICTED, "wasted"), 1.0)
    return Growth(peers=peers, runs=1, **(rest | values))


def test_a_law_tells_beyond_what_it_was_fitted_to() -> None:
    rows = [row(n, gossip=7.0, records=500.0 + 2 * n, converge_p50=math.log(n)) for n in (5, 10, 40)]
    far = predicted(400, rows, SPARSE, random.Random(1))
    assert far.gossip == 7.0
    assert far.records == pytest.approx(1300.0)
    assert far.converge_p50 == pytest.approx(math.log(400), abs=0.001)
    assert far.runs == 0


def test_equal_work_is_shared_by_more_peers_down_to_what_each_does_at_rest() -> None:
    """Rows made by the law: a part in a job costs 40 frames, and a frame so many bytes a log."""
    rows = []
    for peers in (40, 80):
        there = crowd(random.Random(2), peers, WORK)
        frames = AT_REST + 40 * _parts(there) / (peers * 30.0)
        rows.append(row(peers, streams=frames, bytes=5.0 * frames * _logs(there) + 700, told=700.0, lasted=30.0))
    near, far = (predicted(peers, rows, WORK, random.Random(1)) for peers in (160, 3000))
    there = crowd(random.Random(3), 160, WORK)
    assert near.streams == pytest.approx(AT_REST + 40 * _parts(there) / (160 * 30.0), rel=0.1)
    assert near.bytes == pytest.approx(5.0 * near.streams * _logs(there) + 700, rel=0.1)
    assert AT_REST < far.streams < 1.4
    assert far.bytes == pytest.approx(5.0 * far.streams * 3000, rel=0.1)


def test_a_job_is_kept_by_a_bounded_number_of_peers() -> None:
    few, many, more = (crowd(random.Random(1), peers, WORK) for peers in (4, 400, 2000))
    assert few.speaking <= few.keeping / 10 <= 4
    assert many.speaking == pytest.approx(more.speaking, rel=0.1)
    assert many.keeping == pytest.approx(more.keeping, rel=0.2)
    # Ten contents with two holders each, the publisher, and two relays of each that is not linked to it.
    assert 40 < more.keeping / 10 <= 20 + 1 + 40
    assert few.visiting == 0, "all are linked"
    assert 100 < more.visiting <= 10 * 21


def test_jobs_of_a_run_are_kept_by_as_many_as_are_drawn() -> None:
    few = replace(WORK, contents=30, groups=3, jobs=(3, 3), peers=(24, 24), late=0.0, link=SPARSE.link, faults=NONE)
    calm = replace(few, storm=8.0, calm=3.0)
    world = World(calm, 1, random.Random(1))
    world.run()
    kept = sum(job in peer.books.keeping.interest.kept for job in world.jobs for peer in world.peers)
    assert kept == pytest.approx(crowd(random.Random(1), 24, calm).keeping, rel=0.25)


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
        faults=NONE,
    )
    run = World(scenario, 1, random.Random(1)).run()
    simulated, played = measured(40, [run], 1.0), spread(random.Random(1), 40, scenario)
    # What a peer does before it tells others (a transaction of up to 30 ms) is not in what is played.
    assert 0.0 < simulated.spread_p50 - played[0] < 0.06
    assert -0.03 < simulated.spread_p99 - played[1] < 0.12
