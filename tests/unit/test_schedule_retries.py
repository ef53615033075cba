"""Failed attempts: another holder tries, but not for ever, and not what is known to be poisoned."""

from __future__ import annotations

from typing import Any

import pytest

from meshinfer.model.ids import PeerId
from meshinfer.schedule import stimuli as st
from tests.unit.scheduling import (
    BOB,
    CAROL,
    JOB,
    ME,
    Peer,
    entry,
    manifest,
    named,
    outcome,
    outcomes,
    started,
    task,
)

DAVE, EVE, FAY = PeerId("dave"), PeerId("eve"), PeerId("fay")
OTHERS = (BOB, DAVE, EVE, FAY)
NAME = named(JOB, BOB, ME, BOB)


def beside(*others: PeerId, name: str = NAME) -> Peer:
    me = Peer(entry(name))
    for other in others:
        me.meet(other, name)
    me.hear(CAROL, JOB)
    for other in others:
        me.hear(other, manifest(JOB, name))
    return me


def fails(me: Peer, peer: PeerId, kind: Any) -> list[str]:
    return started(me.hear(peer, outcomes(JOB, outcome(JOB, NAME, done=False, error_kind=kind))))


def fate(me: Peer) -> str | None:
    return me.state.jobs[JOB.id].fate(task(JOB, NAME))


@pytest.mark.parametrize("kind", ["host", "input", "model"])
def test_what_one_holder_fails_the_next_tries(kind: str) -> None:
    me = beside(BOB)
    assert fails(me, BOB, kind) == [NAME]
    assert fate(me) is None
    me.handle(st.TaskEnded(task(JOB, NAME), outcome(JOB, NAME)))
    me.run_until(me.now + 1)
    assert fate(me) == "done"


@pytest.mark.parametrize(("kind", "poisoned"), [("input", True), ("model", True), ("host", False)])
def test_the_same_lasting_fault_at_two_holders_is_believed(kind: str, poisoned: bool) -> None:
    """A file or a model that two peers find broken is broken; two full disks say nothing of it."""
    me = beside(BOB, DAVE)
    fails(me, BOB, kind)
    fails(me, DAVE, kind)
    assert (fate(me) == "failed") == poisoned
    assert (task(JOB, NAME) in me.state.running) != poisoned


def test_different_faults_are_no_poison() -> None:
    me = beside(BOB, DAVE)
    fails(me, BOB, "input")
    fails(me, DAVE, "model")
    assert fate(me) is None
    assert task(JOB, NAME) in me.state.running


def test_three_holders_try_and_no_more() -> None:
    me = beside(BOB, DAVE, EVE)
    for peer in (BOB, DAVE, EVE):
        assert fate(me) is None
        fails(me, peer, "host")
    assert fate(me) == "failed"
    assert me.state.running == {}


def test_the_only_holders_failure_is_final_until_another_holder_comes() -> None:
    me = Peer(entry(NAME))
    me.hear(CAROL, JOB)
    me.handle(st.TaskEnded(task(JOB, NAME), outcome(JOB, NAME, done=False, error_kind="host")))
    me.run_until(me.now + 1)
    assert fate(me) == "failed"
    me.hear(BOB, manifest(JOB, NAME))
    assert fate(me) is None
    me.hear(BOB, outcomes(JOB, outcome(JOB, NAME)))
    assert fate(me) == "done"


def test_done_is_more_than_any_number_of_failures() -> None:
    me = beside(*OTHERS)
    for peer in OTHERS[:3]:
        fails(me, peer, "input")
    me.hear(FAY, outcomes(JOB, outcome(JOB, NAME)))
    assert fate(me) == "done"
    assert me.state.jobs[JOB.id].canonical(task(JOB, NAME))[0] == FAY  # type: ignore[index]  # it is done
