"""Anything that passes the wire may be heard: the schedule neither raises nor breaks its own rules."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshinfer.model.facts import MAX_EPOCH, Cancel, Claim, Holding, Manifest, Outcome, Outcomes, Running
from meshinfer.model.ids import PeerId, TaskId
from meshinfer.model.spans import MAX_SPANS
from meshinfer.schedule import stimuli as heard
from meshinfer.schedule import verdict
from meshinfer.schedule.progress import progress
from meshinfer.schedule.story import explain
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import read_verdict
from tests.property.strategies import facts, of
from tests.unit.scheduling import BOB, CAROL, ME, MODEL, Peer, entry, order, task, unit

JOBS = [order(), order("every", scope="every"), order("newer", packed=b"\xc1"), order("short", expires=1.0)]
NAMES = ["a", "b", "c"]
OWNED = [(job, name, owner) for job in (JOBS[0], JOBS[3]) for name in NAMES for owner in (None, BOB)]
TASKS = [bytes.fromhex(task(*owned, span=span)) for owned in OWNED for span in (0, 1)]
UNITS = [bytes.fromhex(unit(*owned)) for owned in OWNED]
peers = st.sampled_from([ME, BOB, CAROL, PeerId("dave")])
names = st.sampled_from(TASKS) | st.binary(min_size=16, max_size=16)
running = st.lists(st.builds(Running, names, st.integers(0, MAX_EPOCH)), max_size=4).map(tuple)
holdings = st.builds(Holding, st.sampled_from(UNITS) | st.binary(min_size=12, max_size=12), st.integers(1, MAX_SPANS))


def _ids(raw: list[bytes]) -> tuple[TaskId, ...]:
    return tuple(TaskId(name.hex()) for name in raw)


@st.composite
def about_our_jobs(draw: st.DrawFn) -> Any:
    """A fact of the wire, turned onto jobs and tasks that exist here."""
    fact = draw(st.one_of([of(kind) for kind in (Manifest, Claim, Outcomes, Cancel)]))
    changes: dict[str, Any] = {"job": draw(st.sampled_from(JOBS)).id}
    match fact:
        case Manifest():
            changes["units"] = draw(st.lists(holdings, max_size=4).map(tuple))
        case Claim():
            changes["running"] = draw(running)
        case Outcomes():
            named = draw(st.lists(st.tuples(st.sampled_from(TASKS), of(Outcome)), min_size=1, max_size=3))
            changes["outcomes"] = tuple(msgspec.structs.replace(outcome, task=name) for name, outcome in named)
    return msgspec.structs.replace(fact, **changes)


@st.composite
def stimuli(draw: st.DrawFn, under_way: list[Any]) -> heard.Stimulus:
    now = 100.0
    kinds: list[st.SearchStrategy[heard.Stimulus]] = [
        st.builds(heard.Heard, peers, about_our_jobs() | facts() | st.sampled_from(JOBS), st.floats(-1e10, now)),
        st.builds(heard.Connected, peers.filter(lambda p: p != ME)),
        st.builds(heard.Disconnected, peers),
        st.builds(heard.StoreLost, peers, st.frozensets(st.sampled_from([job.id for job in JOBS]))),
        st.builds(heard.CatalogChanged, st.lists(st.sampled_from([entry(n) for n in NAMES]), max_size=3).map(tuple)),
        st.builds(heard.CatalogChanged, st.just(()), st.just((("cam", "a"),)), st.booleans()),
        st.sampled_from([heard.ModelsChanged({}), heard.ModelsChanged({MODEL: ("person",)})]),
        st.builds(heard.RoomChanged, st.booleans()),
        st.builds(heard.WorkAsked, peers, st.sampled_from([job.id for job in JOBS]), st.integers(1, 256), st.just(1)),
        st.builds(
            heard.WorkGranted, peers, st.sampled_from([job.id for job in JOBS]), st.lists(names, max_size=3).map(_ids)
        ),
        st.just(heard.Leaving()),
        st.just(heard.Tick()),
    ]
    if under_way:
        name = st.sampled_from(under_way)
        done = of(Outcome)
        kinds += [
            name.flatmap(
                lambda t: done.map(lambda o: heard.TaskEnded(t, msgspec.structs.replace(o, task=bytes.fromhex(t))))
            ),
            st.builds(heard.TaskReturned, name),
            st.builds(heard.TaskProgressed, name, st.integers(0, 100), st.integers(0, 100)),
        ]
    return draw(st.one_of(kinds))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_nothing_that_can_be_heard_breaks_the_schedule(data: st.DataObject) -> None:
    """After each stimulus: the state is sound, deadlines lie ahead, people's questions have answers that travel."""
    me = Peer(*map(entry, NAMES[:2]), window=16)
    for job in JOBS:
        me.hear(CAROL, job)
    for _ in range(data.draw(st.integers(1, 12))):
        me.now += data.draw(st.sampled_from([0.0, 0.1, 3.0]))
        me.handle(data.draw(stimuli(sorted(me.state.running))))
        me.run_until(me.now)
        for state in me.state.jobs.values():
            found = progress(me.state, state, me.now)
            assert min(found.total, found.done, found.failed, found.running, found.pending) >= 0
            assert found.done + found.failed + found.running + found.pending == found.total or state.cancelled
            told = explain(me.state, state, me.now)
            assert sum(strand.tasks for strand in told) == found.total
            said = verdict.on_job(me.state, state, me.now)
            assert read_verdict(encode(said)) == said
