"""Following a job: it ends when nothing more is expected, and a silent peer holds nobody up."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from meshinfer.errors import ConfigError
from meshinfer.mesh.api import Stream
from meshinfer.model.facts import Cancel, PeerFact
from meshinfer.model.job import JobOrder
from meshinfer.node import follow, questions
from meshinfer.node.closing import closing
from meshinfer.node.follow import Follower
from meshinfer.schedule.stimuli import ModelsChanged
from tests.shell.support import MODEL, Peer, World, record, stranger, until

WITHOUT_GOSSIP_TOO = True


class Watched:
    """What somebody who follows a job at `peer` sees, and when."""

    def __init__(self, peer: Peer, job: JobOrder) -> None:
        self.views: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.over = False
        peer.nursery.start_soon(self._run, peer, job)

    async def _run(self, peer: Peer, job: JobOrder) -> None:
        await until(lambda: job.id in peer.jobs)
        follower = Follower(peer.driver, peer.questions, peer.sync)
        async with closing(follower.follow(peer.jobs[job.id])) as views:
            async for view in views:
                self.views.append(view)
                self.times.append(trio.current_time())
        self.over = True

    @property
    def states(self) -> list[str]:
        """Each once."""
        seen = [view["state"] for view in self.views]
        return [state for i, state in enumerate(seen) if i == 0 or seen[i - 1] != state]


async def test_until_it_is_done(world: World) -> None:
    alice, bob, carol = await world.three()
    bob.holds("film", "other")
    carol.holds("third")
    job = alice.publish()
    watched = Watched(alice, job)
    await until(lambda: watched.over, 10)
    assert watched.states[-2:] == ["running", "done"]
    last = watched.views[-1]
    assert last["tasks"] == {
        "total": 3,
        "done": 3,
        "failed": 0,
        "running": 0,
        "pending": 0,
        "cancelled": 0,
        "reused": 0,
    }
    assert last["missing"] == []
    assert {p["name"]: p["verdict"] for p in last["peers"]} == {"alice": "declines", "bob": "runs", "carol": "runs"}


async def test_a_job_that_is_over_already_is_told_at_once(world: World) -> None:
    alice, bob, _ = await world.three()
    bob.holds("film")
    job = alice.publish()
    await until(lambda: alice.jobs and alice.jobs[job.id].outcomes)
    watched = Watched(alice, job)
    assert await until(lambda: watched.over) < 1.0


async def test_until_it_is_cancelled(world: World) -> None:
    alice, bob, _ = await world.three()
    bob.work = 1000.0
    bob.holds("film")
    job = alice.publish()
    watched = Watched(alice, job)
    await trio.sleep(20)
    assert not watched.over
    alice.records.state(Cancel(job.id, "enough"))
    assert await until(lambda: watched.over) < 2.0
    assert watched.states[-1] == "cancelled"
    assert watched.views[-1]["why"] == "enough"


async def test_declined_by_all_with_their_reasons(world: World) -> None:
    alice, bob, carol = await world.three()
    bob.driver.feed(ModelsChanged({MODEL: ("person",)}))
    carol.holds("picture")
    job = alice.publish(detect={"classes": ["zebra"]})
    watched = Watched(alice, job)
    seconds = await until(lambda: watched.over)
    assert follow.NOBODY <= seconds <= follow.NOBODY + follow.ASK_AGAIN + 1.5
    assert watched.states[-1] == "declined"
    reasons = {p["name"]: p["reason"] for p in watched.views[-1]["peers"]}
    assert "holds no footage" in reasons["alice"] or "sources" in reasons["alice"]
    assert "zebra" in reasons["carol"]
    assert len(reasons) == 3


async def test_somebody_who_takes_it_up_late_ends_the_waiting(world: World) -> None:
    alice, bob, _ = await world.three()
    job = alice.publish()
    watched = Watched(alice, job)
    await trio.sleep(follow.NOBODY / 2)
    bob.holds("film")
    await until(lambda: watched.over)
    assert watched.states[-1] == "done"


async def test_a_silent_peer_holds_up_neither_views_nor_the_end(world: World) -> None:
    """It is connected and takes every question without an answer."""
    alice, bob, _ = await world.three()
    bob.work = 8.0
    bob.holds("film")
    async with stranger(world, "alice") as mallory:

        async def frozen(stream: Stream) -> None:
            await trio.sleep_forever()

        mallory.mesh.serve(questions.ASK, frozen)
        await mallory.announce("peers", record(PeerFact("mute", {}, (), "1", 1, 1), 1))
        job = alice.publish()
        watched = Watched(alice, job)
        await until(lambda: any(v["state"] == "running" for v in watched.views), 3)
        await until(lambda: any(v["state"] == "done" for v in watched.views), 10)
        seconds = await until(lambda: watched.over)
        assert seconds <= follow.SILENCE + follow.LAST_WORD + 2 * follow.REFRESH
        last = watched.views[-1]
        assert [m["reason"] for m in last["missing"]] == ["no answer in time"]
        assert {p["name"]: p["verdict"] for p in last["peers"]}["bob"] == "runs"


async def test_a_late_manifest_is_waited_for(world: World) -> None:
    """bob says that he has tasks; his manifest comes two seconds later. carol is done meanwhile."""
    alice, bob, carol = await world.three()
    carol.holds("film")
    state = bob.records.state
    bob.records.state = lambda fact: bob.nursery.start_soon(late, fact)  # type: ignore[method-assign]  # late, not never

    async def late(fact: Any) -> None:
        await trio.sleep(2.0)
        state(fact)

    bob.holds("other")
    job = alice.publish()
    watched = Watched(alice, job)
    await until(lambda: watched.over, 15)
    assert watched.views[-1]["tasks"]["done"] == 2


async def test_whoever_stops_following_leaves_nothing(world: World) -> None:
    alice, _, _ = await world.three()
    job = alice.publish()
    await until(lambda: alice.jobs)
    await trio.sleep(5)
    before = trio.lowlevel.current_statistics().tasks_living
    follower = Follower(alice.driver, alice.questions, alice.sync)
    async with closing(follower.follow(alice.jobs[job.id])) as views:
        async for _ in views:
            break
    await trio.sleep(1)
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_jobs_are_found_by_id_prefix_or_name(world: World) -> None:
    alice = await world.start("alice")
    first = alice.publish("1", name="people")
    await trio.sleep(1)
    second = alice.publish("2", name="people")
    await until(lambda: len(alice.jobs) == 2)
    follower = Follower(alice.driver, alice.questions, alice.sync)
    assert follower.find(first.id).id == first.id
    assert follower.find(first.id[:10]).id == first.id
    assert follower.find("people").id == second.id
    for text in ("", "nothing"):
        with pytest.raises(ConfigError, match="meshinfer jobs"):
            follower.find(text)
