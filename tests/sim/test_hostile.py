"""Peers that break the rules waste their own share and nothing of others, and what they send is refused and counted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshinfer.sim.figures import Figures
from meshinfer.sim.scenario import Attack, Scenario, read_scenario
from meshinfer.sim.world import World

FOLDER = Path(__file__).resolve().parents[2] / "configs/sim"
HOSTILE = read_scenario((FOLDER / "hostile.toml").read_bytes(), "hostile.toml")

REFUSED: tuple[Attack, ...] = ("forged", "strange", "unsigned", "oversized", "garbage", "fork", "flood", "clone")
"""No peer believes these. The others are believed as far as they concern the attacker's own share."""


def only(*attacks: Attack) -> Scenario:
    return replace(HOSTILE, byzantine=replace(HOSTILE.byzantine, attacks=attacks))


def run(scenario: Scenario, seed: int) -> Figures:
    return World(scenario, seed, random.Random(seed)).run()


def test_all_attacks_at_once() -> None:
    runs = [run(HOSTILE, seed) for seed in range(12)]
    assert sum(r.attacks for r in runs) > 120
    assert sum(r.tasks for r in runs) > 100


@pytest.mark.parametrize("attack", HOSTILE.byzantine.attacks)
def test_each_attack(attack: Attack) -> None:
    runs = [run(only(attack), seed) for seed in range(3)]
    if attack != "clone":  # that is one process more, not one message
        assert sum(r.attacks for r in runs) > 0
    if attack in REFUSED:
        assert sum(r.rejected for r in runs) > 0


def test_without_attacks_nothing_is_refused() -> None:
    """So what is counted above is the attacks."""
    peaceful = replace(HOSTILE, byzantine=replace(HOSTILE.byzantine, share=0.0))
    assert [run(peaceful, seed).rejected for seed in range(5)] == [0] * 5


def test_a_copied_identity_is_noticed_by_the_others() -> None:
    noticed = 0
    for seed in range(4):  # it takes two that speak of one thing at the same time
        world = World(only("clone"), seed, random.Random(seed))
        world.run()
        twins = [peer for peer in world.peers if not peer.honest]
        assert len({peer.id for peer in twins}) < len(twins)
        noticed += any("a record under a number that another has" in p.rejected for p in world.peers if p.honest)
    assert noticed
