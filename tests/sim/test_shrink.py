"""A failure is made small: fewer peers, jobs and faults, the same rule, and a scenario that replays it."""

from __future__ import annotations

import random

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from meshinfer.cli import app
from meshinfer.schedule.seen import Seen
from meshinfer.sim.chronicle import Violated
from meshinfer.sim.scenario import Scenario, read_scenario
from meshinfer.sim.shrink import Shrunk, as_toml
from meshinfer.sim.world import World


def past_a_gap(self: Seen, seq: int) -> None:
    """A record that outran others is taken for all of them."""
    self.settle(seq)


def play(scenario: Scenario, seed: int, events: int) -> tuple[Violated | None, int, int]:
    world, broken = World(scenario, seed, random.Random(seed)), None
    try:
        world.run_for(events or 10**9)
    except Violated as e:
        broken = e
    return broken, world.agenda.steps, world.storm.planned


def test_it_becomes_smaller_and_fails_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "add", past_a_gap)
    mixed = Scenario(peers=(4, 8))
    found = next(e for seed in range(50) if (e := play(mixed, seed, 0)[0]))
    shrunk = Shrunk(mixed, found, play)
    shrunk.run()
    small = shrunk.scenario
    assert shrunk.broken.rule == found.rule
    assert small.peers[1] < mixed.peers[1]
    assert small.jobs == (1, 1)
    assert small.contents < mixed.contents
    planned = World(small, shrunk.broken.seed, random.Random(shrunk.broken.seed)).storm.planned
    assert set(range(planned)) <= set(small.without), "the bug needs no fault"
    assert len(shrunk.broken.story) <= len(found.story)
    replayed = read_scenario(as_toml(small).encode(), "small")
    again = play(replayed, shrunk.broken.seed, 0)[0]
    assert again is not None
    assert (str(again), again.story) == (str(shrunk.broken), shrunk.broken.story)


def test_it_ends_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "add", past_a_gap)
    mixed = Scenario(peers=(4, 8))
    found = next(e for seed in range(50) if (e := play(mixed, seed, 0)[0]))
    one, two = Shrunk(mixed, found, play), Shrunk(mixed, found, play)
    one.run()
    two.run()
    assert (one.scenario, str(one.broken)) == (two.scenario, str(two.broken))


def test_faults_are_left_out_one_by_one() -> None:
    """By their numbers, without another fault becoming another for it."""
    scenario = Scenario(peers=(4, 4))
    all_of_them, none = World(scenario, 1, random.Random(1)), replace(scenario, without=tuple(range(1000)))
    assert all_of_them.storm.planned > 3
    world = World(none, 1, random.Random(1))
    assert world.storm.planned == all_of_them.storm.planned
    quiet = replace(none, faults=replace(none.faults, crash=0.0))
    world = World(quiet, 1, random.Random(1))
    assert world.run().crashes == 0


def test_the_command_tells_the_small_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "add", past_a_gap)
    result = CliRunner().invoke(app, ["simulate", "--seeds", "50", "--jobs", "1"])
    assert result.exit_code == 1, result.output
    told = result.stdout.splitlines()
    assert told[0].startswith("I6 is broken")
    begins = next(i for i, line in enumerate(told) if line.startswith("Its scenario"))
    seed, toml = int(told[begins].split()[-1].rstrip(":")), "\n".join(told[begins + 1 : -1])
    broken = play(read_scenario(toml.encode(), "told"), seed, 0)[0]
    assert broken is not None
    assert broken.rule == "I6"
    assert told[-1].startswith("replay: meshinfer simulate --seed ")
