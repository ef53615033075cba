"""The four shipped scenarios, some seeds each: what must hold holds, and a seed is a whole run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from meshinfer.errors import ConfigError
from meshinfer.sim.figures import Figures
from meshinfer.sim.scenario import Scenario, read_scenario
from meshinfer.sim.world import World

FOLDER = Path(__file__).resolve().parents[2] / "configs/sim"
SHIPPED = {path.stem: read_scenario(path.read_bytes(), path.name) for path in sorted(FOLDER.glob("*.toml"))}


def run(name: str, seed: int) -> Figures:
    return World(SHIPPED[name], seed, random.Random(seed)).run()


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_mixed(first: int) -> None:
    runs = [run("mixed", seed) for seed in range(first, first + 10)]
    assert sum(r.crashes for r in runs) > 5
    assert sum(r.wasted for r in runs) < sum(r.pieces for r in runs) / 4


@pytest.mark.parametrize("first", range(0, 30, 10))
@pytest.mark.parametrize("name", ["calm", "crashes", "partitions"])
def test_each_kind_of_fault(name: str, first: int) -> None:
    runs = [run(name, seed) for seed in range(first, first + 10)]
    assert sum(r.tasks for r in runs) > 100
    assert (sum(r.crashes for r in runs) > 0) == (name == "crashes")


def test_without_faults_no_work_is_done_twice() -> None:
    calm = msgspec.structs.replace(SHIPPED["calm"], failing=0.0, cancels=0.0)
    runs = [World(calm, seed, random.Random(seed)).run() for seed in range(10)]
    assert [r.wasted for r in runs] == [0] * len(runs)
    assert all(r.runs == r.tasks for r in runs)


def test_peers_that_never_come_back() -> None:
    crashes, replace = SHIPPED["crashes"], msgspec.structs.replace
    faults = replace(crashes.faults, gone=0.3, lost_store=0.0, full_disks=0.0)
    final = replace(crashes, link=replace(crashes.link, loss=0.5), faults=faults)
    for seed in range(60):
        World(final, seed, random.Random(seed)).run()


def test_the_defaults_are_the_mixed_scenario() -> None:
    assert SHIPPED["mixed"] == Scenario()


def test_a_seed_is_a_whole_run_whatever_the_hash_seed() -> None:
    """Set order, identities and clocks of this machine decide nothing."""
    command = [sys.executable, "-m", "meshinfer", "simulate", "--seed", "3", "--seeds", "3", "--json", "-v"]
    answers = [
        subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True, timeout=60
        ).stdout
        for hash_seed in ("1", "2")
    ]
    one, two = (json.loads(answer)["runs"] for answer in answers)
    assert one == two
    assert [r["digest"] for r in one] == [run("mixed", seed).digest for seed in (3, 4, 5)]
    assert len({r["digest"] for r in one}) == 3


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("peers = [0, 4]", "$.peers[0]"),
        ("peers = [5, 4]", "the first is larger"),
        ("[link]\nloss = 1.5", "$.link.loss"),
        ("[faults]\nkils = 1", "kils"),
        ("peers = ", "bad.toml"),
        ("window = []", "window is empty"),
    ],
)
def test_a_bad_scenario_is_named(toml: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_scenario(toml.encode(), "bad.toml")
    assert said in str(raised.value)
    assert str(raised.value).startswith("bad.toml: ")
