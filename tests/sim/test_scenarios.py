"""The shipped scenarios, some seeds each: what must hold holds, and a seed is a whole run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshinfer.errors import ConfigError
from meshinfer.schedule import stimuli as st
from meshinfer.sim.figures import Figures
from meshinfer.sim.scenario import Faults, Scenario, read_scenario
from meshinfer.sim.shrink import as_toml
from meshinfer.sim.world import World

FOLDER = Path(__file__).resolve().parents[2] / "configs/sim"
SHIPPED = {path.stem: read_scenario(path.read_bytes(), path.name) for path in sorted(FOLDER.glob("*.toml"))}


def run(scenario: Scenario, seed: int) -> Figures:
    return World(scenario, seed, random.Random(seed)).run()


@pytest.mark.parametrize("first", range(0, 60, 12))
def test_mixed(first: int) -> None:
    runs = [run(SHIPPED["mixed"], seed) for seed in range(first, first + 12)]
    assert sum(r.crashes for r in runs) > 20
    assert sum(r.wasted for r in runs) < sum(r.pieces for r in runs) / 4


@pytest.mark.parametrize("first", range(0, 225, 45))
def test_mixed_among_few(first: int) -> None:
    """Four peers tell as much of the schedule as twenty, and cost a tenth."""
    runs = [run(replace(SHIPPED["mixed"], peers=(4, 8)), seed) for seed in range(first, first + 45)]
    assert sum(r.crashes for r in runs) > 30
    assert sum(r.wasted for r in runs) < sum(r.pieces for r in runs) / 4


def test_each_number_of_peers_is_drawn_and_small_ones_more_often() -> None:
    """So each size takes about the same part of the time: the work of a run grows with the square of its peers."""
    few = replace(SHIPPED["mixed"], contents=0, jobs=(1, 1), faults=Faults())
    sizes = Counter(len(World(few, seed, random.Random(seed)).peers) for seed in range(600))
    assert sorted(sizes) == list(range(5, 21))
    assert sizes[5] > 2 * sizes[10] > 2 * sizes[20] > 0


@pytest.mark.parametrize("changed", ["files", "disk"])
def test_the_end_waits_for_a_look_at_what_changed_last(changed: str) -> None:
    world = World(SHIPPED["calm"], 0, random.Random(0))
    world.run()
    assert world.ending.at_rest()
    peer = world.peers[0]
    if changed == "files":
        there = {entry.content for entry in peer.entries}
        new = next(e for other in world.peers for e in other.entries if e.content not in there)
        peer.set_entries((*peer.entries, new))
    else:
        peer.feed(st.RoomChanged(False))
        peer.disk_freed()
    steps = 0
    while not world.ending.at_rest() and steps < 10_000:
        steps += 1
        world.step()
    assert steps > 0
    assert peer.found == peer.entries
    assert not peer.state.no_room
    world.ending.final()


@pytest.mark.parametrize(
    ("name", "seeds"),
    [("calm", 30), ("crashes", 30), ("partitions", 30), ("silent", 20), ("sparse", 3), ("afar", 6), ("outsiders", 20)],
)
def test_each_kind_of_fault(name: str, seeds: int) -> None:
    runs = [run(SHIPPED[name], seed) for seed in range(seeds)]
    assert sum(r.tasks for r in runs) > 30
    assert (sum(r.crashes for r in runs) > 0) == (name not in {"calm", "partitions", "outsiders"})


def test_without_gossip_all_is_learnt_from_syncs() -> None:
    """The switch drops every single message, and nothing but that."""
    world = World(SHIPPED["silent"], 1, random.Random(1))
    heard: list[bytes] = []
    for peer in world.peers:
        peer.gossip = heard.append  # type: ignore[method-assign]  # to listen in
    figures = world.run()
    assert heard == []
    assert figures.gossip[0] > 0
    assert figures.tasks > 0


def test_without_faults_no_work_is_done_twice() -> None:
    calm = replace(SHIPPED["calm"], failing=0.0, cancels=0.0)
    runs = [run(calm, seed) for seed in range(10)]
    assert [r.wasted for r in runs] == [0] * len(runs)
    assert all(r.runs == r.tasks for r in runs)


def test_peers_that_never_come_back() -> None:
    crashes = SHIPPED["crashes"]
    faults = replace(crashes.faults, gone=0.3, lost_store=0.0, full_disks=0.0)
    final = replace(crashes, link=replace(crashes.link, loss=0.5), faults=faults)
    for seed in range(15):
        run(final, seed)


def test_footage_and_models_that_come_and_go() -> None:
    mixed = SHIPPED["mixed"]
    runs = [run(replace(mixed, slow=0.3, faults=replace(mixed.faults, moves=3.0, models=1.0)), s) for s in range(15)]
    assert sum(r.tasks for r in runs) > 100


def test_half_of_the_peers_fetch_the_model() -> None:
    for name in ("calm", "mixed"):
        fetched = tasks = 0
        for seed in range(3):
            world = World(replace(SHIPPED[name], lacking=0.5), seed, random.Random(seed))
            tasks += world.run().tasks
            fetched += sum(peer.fetching.arrived for peer in world.peers)
        assert fetched >= 3
        assert tasks > 20


def test_the_defaults_are_the_mixed_scenario() -> None:
    assert SHIPPED["mixed"] == Scenario()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_scenario_written_down_is_the_same_when_read(name: str) -> None:
    scenario = SHIPPED[name]
    assert read_scenario(as_toml(scenario).encode(), "written") == scenario


@pytest.mark.parametrize("name", ["mixed", "hostile"])
def test_a_seed_is_a_whole_run_whatever_the_hash_seed(name: str) -> None:
    """Set order, identities and clocks of this machine decide nothing."""
    command = [sys.executable, "-m", "meshinfer", "simulate", str(FOLDER / f"{name}.toml")]
    command += ["--seed", "3", "--seeds", "2", "--jobs", "1", "--json", "-v"]
    answers = [
        subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True, timeout=100
        ).stdout
        for hash_seed in ("1", "2")
    ]
    one, two = (json.loads(answer)["runs"] for answer in answers)
    assert one == two
    assert [r["digest"] for r in one] == [run(SHIPPED[name], seed).digest for seed in (3, 4)]
    assert one[0]["digest"] != one[1]["digest"]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("peers = [0, 4]", "$.peers[0]"),
        ("peers = [5, 4]", "the first is larger"),
        ("[link]\nloss = 1.5", "$.link.loss"),
        ("[faults]\nkils = 1", "kils"),
        ("[byzantine]\nattacks = ['poke']", "poke"),
        ("peers = ", "bad.toml"),
        ("window = []", "window is empty"),
        ("fewest = 4", "over copies"),
    ],
)
def test_a_bad_scenario_is_named(toml: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_scenario(toml.encode(), "bad.toml")
    assert said in str(raised.value)
    assert str(raised.value).startswith("bad.toml: ")
