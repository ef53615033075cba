"""A job names a model; who holds the footage fetches it from whoever has it."""

from __future__ import annotations

import os
from contextlib import aclosing

import pytest
import trio

from meshinfer.model.bundle import CHUNK
from meshinfer.model.facts import Cancel, ModelRef
from meshinfer.node.fetch_talk import AHEAD, WAITING
from meshinfer.schedule import verdict
from meshinfer.schedule.progress import progress
from meshinfer.schedule.stimuli import Fetch, Forgo
from meshinfer.schedule.story import explain
from tests.shell.fetching import Fetching, Liar, onnx
from tests.shell.support import World, until

SIZE = len(onnx())
EITHER_WAY = pytest.mark.parametrize("gossip", [True, False], ids=["gossip", "dropped"], indirect=True)


@pytest.fixture
def fetching(world: World) -> World:
    world.kind = Fetching
    return world


async def three(world: World) -> tuple[Fetching, Fetching, Fetching]:
    peers = await world.three()
    assert all(isinstance(peer, Fetching) for peer in peers)
    return peers  # type: ignore[return-value]  # as was just seen


def why(peer: Fetching) -> str:
    state = peer.driver.state
    (job,) = state.jobs.values()
    return verdict.on_job(state, job, trio.current_time()).reason


@EITHER_WAY
async def test_it_comes_from_two_holders_at_once_and_the_tasks_run(fetching: World) -> None:
    alice, bob, carol = await three(fetching)
    model = alice.add()
    bob.copy_from(alice, model)
    await until(lambda: len(carol.driver.state.models.holders.get(model, ())) == 2)
    carol.finds("film")
    alice.publishes(model)
    await until(lambda: carol.started)
    assert carol.shelf.check_bytes(model).size == SIZE
    assert carol.came == SIZE
    sent = alice.fetcher.counters["model_bytes_out"], bob.fetcher.counters["model_bytes_out"]
    assert sum(sent) == SIZE
    assert min(sent) >= SIZE // 4
    assert carol.count(Fetch) == carol.count(Forgo) == 1
    await until(lambda: any(ref.digest == model for ref in alice.driver.state.peers[carol.id].models))


@EITHER_WAY
async def test_a_job_waits_for_who_cannot_fetch_yet_and_copies_are_left_to_who_can_run_them(fetching: World) -> None:
    fetching.kind = type("Full", (Fetching,), {"reserve": {"carol": 2**60}})
    alice, bob, carol = await three(fetching)
    model = alice.add()
    bob.copy_from(alice, model)
    bob.finds("copy")
    carol.finds("copy", "own")
    job = alice.publishes(model)
    await until(lambda: job.id in alice.jobs and alice.jobs[job.id].outcomes)
    await trio.sleep(30)
    state, now = alice.driver.state, trio.current_time()
    assert len(bob.started) == 1
    assert not carol.started
    assert progress(state, state.jobs[job.id], now).stage == "running"
    waiting, done = explain(state, state.jobs[job.id], now)
    assert (waiting.story.condition, waiting.story.peer) == ("waiting", carol.id)
    assert "carol starts nothing: it has yet to fetch the model" in waiting.story.why
    assert "of disk are kept free" in waiting.story.why
    assert (done.story.condition, done.story.peer) == ("done", bob.id)


async def test_who_sends_bad_chunks_is_blamed_and_the_rest_comes_from_the_other(fetching: World) -> None:
    alice, bob, carol = await three(fetching)
    model = alice.add()
    liar = Liar(bob.mesh, alice.shelf.vouched(model)[0])
    bob.neighbours.state_again(models=(ModelRef("m", model),))
    await until(lambda: len(carol.driver.state.models.holders.get(model, ())) == 2)
    carol.finds("film")
    alice.publishes(model)
    await until(lambda: carol.started)
    assert carol.shelf.check_bytes(model).size == SIZE
    assert 0 < liar.asked <= AHEAD + WAITING + 1
    assert carol.mesh.counters["offences"] == 1
    assert carol.fetcher.counters["model_sources_blamed"] == 1
    assert alice.fetcher.counters["model_bytes_out"] == SIZE


async def test_a_cut_link_costs_only_what_was_under_way(fetching: World) -> None:
    fetching.network.latency = 0.1
    alice, _bob, carol = await three(fetching)
    model = alice.add()
    carol.finds("film")
    alice.publishes(model)
    await until(lambda: carol.came > SIZE // 3)
    fetching.cut("alice", "carol")
    await trio.sleep(20)
    assert not carol.started
    assert "it has yet to fetch the model from alice" in why(carol)
    fetching.heal("alice", "carol")
    await until(lambda: carol.started, within=90)
    assert carol.came <= SIZE + AHEAD * CHUNK


async def test_a_killed_peer_goes_on_where_it_was(fetching: World) -> None:
    fetching.network.latency = 0.1
    alice, _, carol = await three(fetching)
    model = alice.add()
    carol.finds("film")
    alice.publishes(model)
    await until(lambda: carol.came > SIZE // 2)
    came = carol.came
    await carol.stop(kill=True)
    fetching.network.latency = 0.001
    again = await fetching.start("carol")
    assert isinstance(again, Fetching)
    again.finds("film")
    await until(lambda: again.started)
    assert again.came <= SIZE - came + AHEAD * CHUNK
    assert not list((fetching.folder / "carol" / "fetching").iterdir())


async def test_a_torn_beginning_is_noticed(fetching: World) -> None:
    fetching.network.latency = 0.1
    alice, _, carol = await three(fetching)
    model = alice.add()
    carol.finds("film")
    alice.publishes(model)
    await until(lambda: carol.came > SIZE // 2)
    await carol.stop(kill=True)
    part = fetching.folder / "carol" / "fetching" / f"{model}.part"
    with part.open("r+b") as file:
        file.write(b"rotten")
    again = await fetching.start("carol")
    assert isinstance(again, Fetching)
    again.finds("film")
    await until(lambda: again.started)
    assert again.shelf.check_bytes(model).size == SIZE


async def test_a_stranger_s_model_is_refused_and_the_job_says_so(fetching: World) -> None:
    fetching.kind = type("Wary", (Fetching,), {"trusts": {"carol": ()}})
    alice, _, carol = await three(fetching)
    model = alice.add()
    carol.finds("film")
    job = alice.publishes(model)
    await until(lambda: job.id in carol.jobs and "refused" in why(carol))
    assert f"signed by alice ({alice.id}), who is not among this peer's signers" in why(carol)
    assert carol.came == 0
    assert not carol.shelf.holds(model)
    await trio.sleep(30)
    assert not alice.jobs[job.id].held.get(carol.id)
    assert not carol.started


async def test_a_seal_that_is_trusted_lifts_a_refusal(fetching: World) -> None:
    fetching.kind = type("Wary", (Fetching,), {"trusts": {"carol": ("bob",)}})
    alice, bob, carol = await three(fetching)
    model = alice.add()
    carol.finds("film")
    job = alice.publishes(model)
    await until(lambda: job.id in carol.jobs and "refused" in why(carol))
    bob.add()
    await until(lambda: carol.started)
    assert {v.signer for v in carol.shelf.vouched(model)} == {alice.id, bob.id}


async def test_the_oldest_goes_for_the_newest_and_an_open_job_s_stays(fetching: World) -> None:
    alice, _, carol = await three(fetching)
    first, second, third = (alice.add(seed, f"m{seed}") for seed in (1, 2, 3))
    carol.finds("film")
    carol.work = 10_000.0
    alice.publishes(first, "1", expires=30.0)
    await until(lambda: carol.shelf.holds(first))
    await trio.sleep(40)
    alice.publishes(second, "2")
    await until(lambda: carol.shelf.holds(second))
    alice.publishes(third, "3")
    await until(lambda: carol.shelf.holds(third))
    assert not carol.shelf.holds(first)
    assert first not in carol.driver.state.models.here


async def test_two_jobs_bring_one_model_once_and_both_run(fetching: World) -> None:
    fetching.network.latency = 0.05
    alice, _, carol = await three(fetching)
    model = alice.add()
    carol.finds("film")
    alice.publishes(model, "1")
    alice.publishes(model, "2", detect={"min_score": 0.5})
    await until(lambda: len(carol.started) == 2)
    assert carol.count(Fetch) == 1
    assert carol.came == SIZE


async def test_a_cancelled_job_stops_the_fetch_and_a_new_one_goes_on_with_it(fetching: World) -> None:
    fetching.network.latency = 0.3
    alice, _, carol = await three(fetching)
    model = alice.add()
    carol.finds("film")
    job = alice.publishes(model)
    await until(lambda: carol.came > SIZE // 2)
    alice.records.state(Cancel(job.id, "enough"))
    await until(lambda: carol.count(Forgo) == 1)
    await trio.sleep(5)
    came = carol.came
    await trio.sleep(20)
    assert carol.came == came
    assert not carol.shelf.holds(model)
    alice.publishes(model, "again")
    await until(lambda: carol.started)
    assert carol.came <= SIZE + AHEAD * CHUNK


async def test_it_comes_by_hand_too_and_only_while_somebody_waits(fetching: World) -> None:
    fetching.network.latency = 0.1
    alice, _, carol = await three(fetching)
    model = alice.add()
    await until(lambda: model in carol.driver.state.models.holders)
    async with aclosing(carol.fetcher.bring(model)) as moves:
        async for news in moves:
            if news.got > SIZE // 3:
                break
    await trio.sleep(5)
    came = carol.came
    assert not carol.fetcher.status()
    async with aclosing(carol.fetcher.bring(model)) as moves:
        async for news in moves:
            assert not news.trouble
    assert carol.shelf.holds(model)
    assert came < SIZE
    assert carol.came <= SIZE + (AHEAD + WAITING + 1) * CHUNK


async def test_nobody_has_it_until_somebody_comes(fetching: World) -> None:
    alice, bob, carol = await three(fetching)
    model = alice.add()
    await until(lambda: model in carol.driver.state.models.holders)
    alice.shelf.remove(model)
    await alice.models_changed()
    await until(lambda: model not in carol.driver.state.models.holders)
    carol.finds("film")
    job = alice.publishes(model)
    await until(lambda: job.id in carol.jobs)
    assert why(carol) == f"no peer in reach has the model sha256:{model[:12]}"
    assert alice.jobs[job.id].is_open(trio.current_time())
    bob.add()
    await trio.sleep(5)
    assert "signed by bob" in why(carol)


async def test_what_cannot_be_tidied_away_lies_on(fetching: World) -> None:
    odd = fetching.folder / "carol" / "fetching" / "old.part"
    odd.mkdir(parents=True)
    os.utime(odd, (0, 0))
    alice, _, carol = await three(fetching)
    model = alice.add()
    carol.finds("film")
    alice.publishes(model)
    await until(lambda: carol.started)
    assert odd.is_dir()
