"""Does the simulator find what is broken? Bugs that schedulers and logs are known to have, planted one by one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from meshinfer.cli import app
from meshinfer.model.facts import Cancel, Claim
from meshinfer.model.ids import PeerId, hash_of
from meshinfer.schedule import choice, state
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.choice import Choice, View
from meshinfer.schedule.holdings import Holdings
from meshinfer.schedule.log import RecordLog
from meshinfer.schedule.state import ScheduleState
from meshinfer.sim.books import Books
from meshinfer.sim.chronicle import Violated
from meshinfer.sim.scenario import Scenario, read_scenario
from meshinfer.sim.world import World
from meshinfer.wire import records

FOLDER = Path(__file__).resolve().parents[2] / "configs/sim"
SEEDS = 200

Plant = pytest.MonkeyPatch


def rank_by_own_view(plant: Plant) -> None:
    """Each peer takes itself for the strongest."""
    view = ScheduleState._view
    plant.setattr(ScheduleState, "_view", lambda self: view(self)._replace(weights={self.me: 65536}))


def join_at_once(plant: Plant) -> None:
    """A late joiner does not wait for the claims of those that are at work."""
    plant.setattr(choice, "CATCH_UP", 0.0)


def past_a_gap(plant: Plant) -> None:
    """The vector takes a record that outran others for all of them."""
    plant.setattr(RecordLog, "_advance", lambda self, store, seq: self._settle(store, seq))


def lost_tombstone(plant: Plant) -> None:
    """A cancel that comes before its job is forgotten."""
    heard = ScheduleState._heard

    def deaf(self: ScheduleState, origin: Any, fact: Any, *rest: Any) -> None:
        if not isinstance(fact, Cancel) or fact.job in self.jobs:
            heard(self, origin, fact, *rest)

    plant.setattr(ScheduleState, "_heard", deaf)


def done_undone(plant: Plant) -> None:
    """What a peer has done counts no more when it leaves."""
    handle = ScheduleState.handle

    def forgetful(self: ScheduleState, stimulus: Any, now: float) -> Any:
        if isinstance(stimulus, st.Disconnected):
            for job in self.jobs.values():
                job.forget(stimulus.peer)
        return handle(self, stimulus, now)

    plant.setattr(ScheduleState, "handle", forgetful)


def vector_before_records(plant: Plant) -> None:
    """The vector is saved ahead of the records that it claims, not with them."""
    flush = Books._flush

    def hasty(self: Books, at: float) -> None:
        if not self._store.full:
            self._store.vector.update(self.log.vector())
        flush(self, at)

    plant.setattr(Books, "_flush", hasty)


def set_order_rank(plant: Plant) -> None:
    """Who comes first is left to the order of a set, which each process has its own of."""
    chooses, me = choice.choose, [""]

    def choose(job: Any, mine: Any, now: float, view: View) -> Choice:
        me[0] = view.me
        return chooses(job, mine, now, view)

    def ranked(task: str, candidates: Iterable[PeerId], weights: Any) -> list[PeerId]:
        return sorted(candidates, key=lambda peer: hash_of(me[0].encode(), peer.encode()))

    plant.setattr(state, "choose", choose)
    plant.setattr(choice, "ranked", ranked)


def blind_to_deletions(plant: Plant) -> None:
    """Files that are gone stay in the catalog."""
    apply = Holdings.apply
    plant.setattr(Holdings, "apply", lambda self, change: apply(self, replace(change, removed=())))


def names_told(plant: Plant) -> None:
    """What went wrong with a file is told to everybody, with its name."""
    handle = ScheduleState.handle

    def talkative(self: ScheduleState, stimulus: Any, now: float) -> Any:
        if isinstance(stimulus, st.TaskEnded) and not stimulus.outcome.done:
            name = next(job.mine[stimulus.task].entry.name for job in self.jobs.values() if stimulus.task in job.mine)
            stimulus = replace(stimulus, outcome=replace(stimulus.outcome, error=f"{name}: out of memory"))
        return handle(self, stimulus, now)

    plant.setattr(ScheduleState, "handle", talkative)


def nothing_replaced(plant: Plant) -> None:
    """Each claim is kept beside the earlier ones."""
    key_of = records.key_of
    count = iter(range(10**9))
    known: dict[int, str] = {}

    def unique(fact: Any) -> str:
        if not isinstance(fact, Claim):
            return key_of(fact)
        return known.setdefault(hash(fact), f"{fact.job}/{next(count)}")

    plant.setattr(records, "key_of", unique)


def broken(shipped: Scenario, seed: int) -> Violated | None:
    try:
        World(shipped, seed, random.Random(seed)).run()
    except Violated as e:
        return e
    return None


@pytest.mark.parametrize(
    ("bug", "scenario", "rules"),
    [
        (rank_by_own_view, "calm", {"I8"}),
        (join_at_once, "calm", {"I8"}),
        (past_a_gap, "mixed", {"I6"}),
        (lost_tombstone, "mixed", {"cancel"}),
        (done_undone, "mixed", {"I2", "I3"}),
        (vector_before_records, "crashes", {"I6"}),
        (set_order_rank, "calm", {"I1", "I8"}),
        (blind_to_deletions, "sparse", {"I4"}),
        (names_told, "mixed", {"I5"}),
        (nothing_replaced, "mixed", {"I7"}),
    ],
)
def test_a_planted_bug_is_found(
    bug: Callable[[Plant], None], scenario: str, rules: set[str], monkeypatch: Plant
) -> None:
    shipped = read_scenario((FOLDER / f"{scenario}.toml").read_bytes(), scenario)
    bug(monkeypatch)
    found = next((e for seed in range(SEEDS) if (e := broken(shipped, seed))), None)
    assert found is not None, f"not found in {SEEDS} seeds"
    assert found.rule in rules
    again = broken(shipped, found.seed)
    assert again is not None
    assert (str(again), again.story) == (str(found), found.story)


def test_the_story_is_told_and_can_be_replayed(monkeypatch: Plant) -> None:
    rank_by_own_view(monkeypatch)
    result = CliRunner().invoke(
        app, ["simulate", str(FOLDER / "calm.toml"), "--seeds", "50", "--jobs", "1", "--no-shrink"]
    )
    assert result.exit_code == 1, result.output
    assert "I8 is broken" in result.stdout
    assert "begins" in result.stdout
    replay = result.stdout.splitlines()[-1].removeprefix("replay: meshinfer ").split()
    again = CliRunner().invoke(app, [*replay, "--no-shrink"])
    assert again.exit_code == 1
    assert again.stdout == result.stdout
