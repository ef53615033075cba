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
from meshinfer.model.job import JobSpec
from meshinfer.schedule import choice, keeping, worklist
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.choice import Choice, View
from meshinfer.schedule.holdings import Holdings
from meshinfer.schedule.job import JobState
from meshinfer.schedule.keeping import Keeping, Refusal, Taken
from meshinfer.schedule.lease import Leases
from meshinfer.schedule.log import RecordLog, Slot
from meshinfer.schedule.seen import Seen
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.visits import Visits
from meshinfer.schedule.worklist import Worklist
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
    chooses = choice.choose

    def choose(job: Any, mine: Any, now: float, view: View) -> Choice:
        return chooses(job, mine, now, view._replace(weights={view.me: 65536}))

    plant.setattr(worklist, "choose", choose)


def join_at_once(plant: Plant) -> None:
    """A late joiner does not wait for the claims of those that are at work."""
    plant.setattr(choice, "CATCH_UP", 0.0)


def past_a_gap(plant: Plant) -> None:
    """The vector takes a record that outran others for all of them."""
    plant.setattr(Seen, "add", lambda self, seq: self.settle(seq))


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
                for ended in job.outcomes.values():
                    ended.pop(stimulus.peer, None)
        return handle(self, stimulus, now)

    plant.setattr(ScheduleState, "handle", forgetful)


def vector_before_records(plant: Plant) -> None:
    """The vector is saved ahead of the records that it claims, not with them."""
    flush = Books._flush

    def hasty(self: Books, at: float) -> None:
        if not self._store.full:
            self._store.vector.update({log: e.n for log, e in self.log.seen_of(self.log.jobs).items()})
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

    plant.setattr(worklist, "choose", choose)
    plant.setattr(choice, "ranked", ranked)


def wall_clock_lease(plant: Plant) -> None:
    """Leases end by the clock of the peer that holds them, and clocks differ by minutes."""
    until = Leases.until

    def skewed(self: Leases, peer: PeerId, *, at_work: bool) -> float:
        return until(self, peer, at_work=at_work) + int(hash_of(peer.encode(), digits=4), 16) % 1200 - 600

    plant.setattr(Leases, "until", skewed)


def no_epoch_check(plant: Plant) -> None:
    """Of several results the one that was heard first counts, whichever epoch it ran under."""

    def canonical(self: JobState, task: Any, among: Any = None) -> Any:
        done = [(p, o) for p, o in self.ended(task).items() if o.done and (among is None or p in among)]
        return done[0] if done else None

    plant.setattr(JobState, "canonical", canonical)


def claims_of_anybody(plant: Plant) -> None:
    """Claims and results count whoever states them: its manifest is not asked."""
    plant.setattr(JobState, "holds", lambda self, peer, task: True)


def given_and_kept(plant: Plant) -> None:
    """What is handed over to an idle peer is started all the same."""
    hand_over = Worklist.hand_over

    def careless(self: Worklist, peer: PeerId, job_id: Any, most: int, now: float) -> Any:
        given = hand_over(self, peer, job_id, most, now)
        for task in given:
            del self._view.given[task]
            self.reconsider(self._jobs[job_id], (task,))
        return given

    plant.setattr(Worklist, "hand_over", careless)


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


def back_again(plant: Plant) -> None:
    """What was let go of is news again: its number is forgotten with it, and nobody asks how old it is."""
    drop, hear = RecordLog.drop, Keeping.hear

    def unsee(self: RecordLog, slot: Slot) -> None:
        drop(self, slot)
        for store, log in self._logs[slot.job].items():
            if store.origin == slot.origin:
                log.seen = Seen()
                for seq in log.slots:
                    log.seen.add(seq)

    def credulous(self: Keeping, record: Any, born: float, now: float, **rest: Any) -> Taken:
        taken = hear(self, record, born, now, **rest)
        return self.offer(record, born, now) if taken.fate is Refusal.EXPIRED else taken

    plant.setattr(RecordLog, "drop", unsee)
    plant.setattr(Keeping, "hear", credulous)


def closed_by_an_older_life(plant: Plant) -> None:
    """A sync closes a log that was let go of, and begun anew, since it began."""
    ends = Keeping.ends

    def trusting(self: Keeping, peer: Any, seen: Any, asked: Any, lives: int) -> None:
        ends(self, peer, seen, asked, self.log.lives)

    plant.setattr(Keeping, "ends", trusting)


def nobody_visits(plant: Plant) -> None:
    """Relays, which reach one hop, are all that brings together those without a link."""
    plant.setattr(Visits, "whom", lambda self, *rest: [])


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
        (wall_clock_lease, "calm", {"I6", "I8"}),
        (no_epoch_check, "mixed", {"I2"}),
        (claims_of_anybody, "hostile", {"I1", "I2", "I6"}),
        (given_and_kept, "calm", {"I8"}),
        (blind_to_deletions, "sparse", {"I4"}),
        (names_told, "mixed", {"I5"}),
        (nothing_replaced, "mixed", {"I7"}),
        (closed_by_an_older_life, "outsiders", {"I6"}),
        (nobody_visits, "afar", {"I6"}),
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


def test_a_job_that_is_over_stays_away_and_a_planted_return_is_found(monkeypatch: Plant) -> None:
    """Jobs end 20 s after they were published, all before the run is over."""
    monkeypatch.setattr(keeping, "KEEP", 20.0 - JobSpec("yolox").expires)
    calm = replace(read_scenario((FOLDER / "calm.toml").read_bytes(), "calm"), storm=120.0)
    world = World(calm, 1, random.Random(1))
    world.run()
    assert world.jobs
    assert all(not peer.state.jobs and not peer.books.keeping.interest.kept for peer in world.peers)
    back_again(monkeypatch)
    found = next((e for seed in range(10) if (e := broken(calm, seed))), None)
    assert found is not None
    assert found.rule == "I7"
    assert "it is back" in str(found)


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
