"""A node's answers about its models: who else holds them, and that no job loses its model by accident."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from meshinfer.errors import ModelError
from meshinfer.model.facts import ModelRef
from meshinfer.node.model_calls import ModelCalls, in_use
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import ModelsChanged
from tests.unit.scheduling import BOB, MODEL, Peer, entry, order, peer
from tests.unit.shelves import a_shelf, model
from tests.unit.test_schedule_canary import BOB as OTHER
from tests.unit.test_schedule_canary import CAROL, ME, NEW, under


async def answer(call: Any, **args: Any) -> dict[str, Any]:
    (last,) = [message async for message in call(args)]
    end: dict[str, Any] = last["end"]
    return end


class Node:
    """What `ModelCalls` need of one."""

    def __init__(self, folder: Path, state: ScheduleState) -> None:
        self.shelf, self.driver, self.changes = a_shelf(folder), SimpleNamespace(state=state), 0
        self.speeds = SimpleNamespace(classes={})

    async def models_changed(self) -> None:
        self.changes += 1


def test_models_are_in_use_while_their_jobs_have_work_here() -> None:
    me = Peer(entry("a"))
    assert in_use(me.state, me.now) == {}
    me.hear(BOB, order(name="people"))
    assert in_use(me.state, me.now) == {MODEL: ["people"]}
    assert in_use(me.state, me.now + 1e9) == {}, "it has expired"


def test_a_candidate_is_in_use_where_it_is_tried() -> None:
    for canary, used in ((ME, {MODEL, NEW}), (OTHER, {MODEL})):
        me = Peer(entry("a"), me=ME)
        me.handle(ModelsChanged({MODEL: ("person",), NEW: ("person",)}))
        me.hear(CAROL, under(canary))
        assert in_use(me.state, me.now).keys() == used


async def test_a_model_that_a_job_runs_stays(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = Peer(entry("a"))
    node: Any = Node(tmp_path / "models", me.state)
    calls = ModelCalls(node)
    added = (await answer(calls.add, file=str(model(tmp_path / "in", "m"))))["model"]
    monkeypatch.setattr("tests.unit.scheduling.MODEL", added["digest"])
    me.handle(ModelsChanged({added["digest"]: ("grey",)}))
    me.hear(BOB, order(name="people"))
    with pytest.raises(ModelError, match=r"^m is run here by people: .*--force"):
        await answer(calls.remove, model="m")
    assert node.shelf.find("m")
    assert (await answer(calls.remove, model="m", force=True))["bytes"] == added["bytes"]
    assert node.shelf.list() == ()
    assert node.changes == 2, "the schedule hears of what comes and goes"


async def test_who_holds_a_model(tmp_path: Path) -> None:
    me = Peer()
    node: Any = Node(tmp_path / "models", me.state)
    calls = ModelCalls(node)
    card = node.shelf.add(model(tmp_path / "in", "m"))
    me.hear(BOB, peer(models=(ModelRef("theirs", card.digest),)))
    for view in ((await answer(calls.models))["models"][0], (await answer(calls.model, model="m"))["model"]):
        assert view["held_by"] == [{"peer": BOB, "name": "p", "connected": False}]
        assert [s["own"] for s in view["signers"]] == [True]
    assert (await answer(calls.verify, model="m"))["ok"]
    (tmp_path / "models" / f"{card.digest}.onnx").write_bytes(b"x")
    told = await answer(calls.verify, model="m")
    assert not told["ok"]
    assert [f["check"] for f in told["findings"] if not f["ok"]] == ["bytes"]
    assert node.shelf.runnable() == ()


async def test_the_schedule_hears_of_a_model_though_who_added_it_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node: Any = Node(tmp_path / "models", Peer().state)
    add = node.shelf.add

    def gone_meanwhile(*args: Any) -> Any:
        trio.from_thread.run_sync(scope.cancel)
        return add(*args)

    monkeypatch.setattr(node.shelf, "add", gone_meanwhile)
    with trio.CancelScope() as scope:
        await answer(ModelCalls(node).add, file=str(model(tmp_path / "in", "m")))
    assert (len(node.shelf.list()), node.changes) == (1, 1)
