"""A job of two models travels: who holds the footage fetches both, and says which one is missing."""

from __future__ import annotations

import trio

from meshinfer.model.job import Then
from meshinfer.schedule import verdict
from meshinfer.schedule.stimuli import Fetch
from tests.shell.fetching import Fetching
from tests.shell.support import World, until


async def test_both_models_come_to_the_footage(world: World) -> None:
    world.kind = type("Trusting", (Fetching,), {"trusts": {"carol": ("alice", "bob")}})
    alice, bob, carol = await world.three()
    assert isinstance(alice, Fetching)
    assert isinstance(bob, Fetching)
    assert isinstance(carol, Fetching)
    first, second = alice.add(1, "m"), bob.add(2, "h")
    carol.finds("film")
    job = alice.publishes(first, then=Then("h", digest=second))
    await until(lambda: carol.started)
    assert {carol.shelf.holds(first), carol.shelf.holds(second)} == {True}
    assert carol.count(Fetch) == 2
    (info,) = [known.info for known in bob.jobs.values()]
    assert (info.id, info.second) == (job.id, second)
    assert info.work == alice.jobs[job.id].info.work
    alice.publishes(first, "again", then=Then("lost", digest=first[::-1]))  # type: ignore[arg-type]  # a digest
    await until(lambda: len(carol.jobs) == 2)
    state = carol.driver.state
    (lost,) = [known for known in carol.jobs.values() if known.id != job.id]
    said = verdict.on_job(state, lost, trio.current_time())
    assert said.reason == f"lost: no peer in reach has the model sha256:{first[::-1][:12]}"
    assert len(carol.started) == 1
