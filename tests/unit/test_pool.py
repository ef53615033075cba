"""The pool of loaded models. The laws:

1. What is leased is never thrown out, and whoever leases it twice has the same object.
2. Where room can be made, there is never more than the budget; what goes is what was not used for the longest time.
3. Where it cannot, whoever wants a model gets it all the same, after a bounded wait: nothing deadlocks.
4. What is thrown out is freed, and its memory is the system's again.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as Model

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.detect.memory import floor, give_back, measured, resident
from meshinfer.detect.pool import Lease, Pool
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect
from meshinfer.node.engine import Engine, WorkItem
from tests.unit.engines import Sink
from tests.unit.footage import write_video
from tests.unit.shelves import a_shelf, model
from tests.vision.tiny_onnx import heavy_model

BUDGET = 10
SIZES = {"a": 3, "b": 4, "c": 5, "d": 12}
PATIENCE = 20.0


class Books:
    """Loads models of known sizes, and remembers what was loaded and said."""

    def __init__(self, budget: int = BUDGET, patience: float = 0.0, load: Callable[[str], None] = lambda key: None):
        self.loaded: list[str] = []
        self.said: list[str] = []
        self._before_load = load
        self.pool: Pool[str, Model] = Pool(
            self._load, SIZES.__getitem__, budget, say=self.said.append, patience=patience
        )

    def _load(self, key: str) -> tuple[Model, int]:
        self._before_load(key)
        self.loaded.append(key)
        return Model(key=key), SIZES[key]

    def here(self) -> list[str]:
        return [loaded.key for loaded in self.pool.loaded()]

    def use(self, *keys: str) -> None:
        with self.pool.lease(*keys):
            pass


steps = st.lists(st.tuples(st.sampled_from(["lease", "end", "drop"]), st.sampled_from("abcd")), max_size=40)


@given(steps)
def test_the_laws_hold_whatever_happens(steps: list[tuple[str, str]]) -> None:
    books, held, order = Books(), dict[str, list[Lease[tuple[Model, ...]]]](), list[str]()
    ended = ""
    for step, key in steps:
        before, leased = books.here(), {k for k, leases in held.items() if leases}
        if step == "lease":
            lease = books.pool.lease(key)
            assert all(other.value[0] is lease.value[0] for other in held.get(key, []))
            held.setdefault(key, []).append(lease)
            gone = set(before) - set(books.here())
            assert not gone & leased
            stayed = [k for k in order if k in books.here() and k not in leased and k != key]
            assert all(order.index(out) < order.index(k) for out in gone for k in stayed)
            order = [*(k for k in order if k != key), key]
        elif step == "end" and held.get(key):
            held[key].pop().end()
            ended = key
        elif step == "drop":
            books.pool.drop(key)
            held.pop(key, None)  # its leases end when their values go, in whatever order
            assert key not in books.here()
        if books.pool.total > BUDGET:  # all that is idle has gone, but for what was used a moment ago
            assert set(books.here()) <= {key, ended, *(k for k, leases in held.items() if leases)}


def test_two_that_fit_are_loaded_once_each() -> None:
    books = Books()
    for _ in range(3):
        books.use("a")
        books.use("b")
    assert books.loaded == ["a", "b"]
    assert not books.said


def test_the_least_recently_used_goes_first() -> None:
    books = Books()
    books.use("a")
    books.use("b")
    books.use("a")
    books.use("c")
    assert books.here() == ["c", "a"]


def test_a_model_that_no_budget_has_room_for_runs_alone_and_that_is_said_once() -> None:
    books = Books()
    books.use("a")
    with books.pool.lease("d") as (large,):
        assert large.key == "d"
        assert books.here() == ["d"]
    books.use("a")
    assert books.here() == ["a"]
    books.use("d")
    assert len(books.said) == 1
    assert books.said[0].startswith("d runs with no other loaded, over the memory for models: ")


def test_what_is_in_use_is_waited_for() -> None:
    books, came = Books(patience=PATIENCE), threading.Event()
    lease = books.pool.lease("a", "c")

    def want() -> None:
        books.use("b")
        came.set()

    thread = threading.Thread(target=want, daemon=True)
    thread.start()
    books.use("a")  # what is loaded is had at once, whoever waits
    assert not came.is_set()
    assert books.here() == ["a", "c"]
    lease.end()
    assert came.wait(PATIENCE)
    assert books.here() == ["b", "a"] or books.here() == ["b", "c"]
    assert not books.said
    thread.join(PATIENCE)


def test_a_wait_in_vain_ends_with_both_loaded() -> None:
    books = Books()
    with books.pool.lease("a", "c"), books.pool.lease("b"):
        assert set(books.here()) == {"a", "b", "c"}
    over = "over the memory for models: 1 of 1 MB ([limits] model_memory_mb)"
    assert books.said == [f"b runs beside others that are in use, {over}"]
    books.use("b")
    books.use("d")
    assert books.here() == ["d"]


def test_two_that_want_each_others_models_wait_for_nobody_but_those_who_work() -> None:
    """Both models of a job are taken at once: one that holds its first and waits for its second would wait for ever."""
    books = Books(budget=SIZES["a"] + SIZES["b"], patience=PATIENCE)
    over = threading.Barrier(3)

    def work(*keys: str) -> None:
        for _ in range(20):
            books.use(*keys)
        over.wait(PATIENCE)

    for keys in (("a", "b"), ("b", "c")):
        threading.Thread(target=work, args=keys, daemon=True).start()
    over.wait(PATIENCE)
    assert books.pool.total <= SIZES["b"] + SIZES["c"]


def test_a_model_that_does_not_load_takes_nothing() -> None:
    def broken(key: str) -> None:
        if key == "b":
            raise ModelError("no good")

    books = Books(load=broken)
    with pytest.raises(ModelError, match="no good"):
        books.pool.lease("a", "b")
    books.use("c")
    assert books.here() == ["c", "a"]
    assert books.pool.total == SIZES["a"] + SIZES["c"]


def test_what_is_removed_while_it_is_used_counts_until_that_ends() -> None:
    books = Books()
    lease = books.pool.lease("c")
    books.pool.drop("c")
    assert books.here() == []
    assert books.pool.total == SIZES["c"]
    books.use("c")
    assert books.loaded == ["c", "c"]
    lease.end()
    assert books.pool.total == SIZES["c"]


def test_what_was_tried_elsewhere_is_kept_where_there_is_room() -> None:
    books = Books()
    books.use("a")
    books.pool.offer("b", Model(key="b"), SIZES["b"])
    books.pool.offer("d", Model(key="d"), SIZES["d"])
    assert books.here() == ["b", "a"]
    books.use("b")
    assert books.loaded == ["a"]


def test_what_is_offered_in_the_moment_it_is_wanted_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books()
    taken, looks = books.pool._taken, iter(range(9))

    def then_offered(keys: tuple[str, ...]) -> Lease[tuple[Model, ...]] | None:
        lease = taken(keys)
        if next(looks) == 1:  # the second look, with the turn: what is missing is about to be loaded
            books.pool.offer("a", Model(key="a"), SIZES["a"])
        return lease

    monkeypatch.setattr(books.pool, "_taken", then_offered)
    books.use("a")
    assert (books.here(), books.loaded) == (["a"], [])


def test_what_is_thrown_out_is_freed_though_the_engine_has_run_it(tmp_path: Path) -> None:
    """Two models of one shelf under a budget for one, in the engine: its threads, idle, keep neither."""
    shelf = a_shelf(tmp_path / "models", memory=1)
    small, other = (shelf.add(model(tmp_path, name, *box)).digest for name, box in (("a", ()), ("b", (8, 8, 4, 4))))
    shelf.remove(small)
    small = shelf.add(tmp_path / "a.onnx").digest
    write_video(tmp_path / "v.avi", 4)
    seen: list[weakref.ref[object]] = []

    def lease(item: WorkItem) -> Lease[object]:
        held = shelf.lease(item.model)
        seen.append(weakref.ref(held.value[0]))
        return Lease(held.value[0], held.end)

    sink = Sink()
    shelf._pool.budget = floor(1)  # nothing fits beside another
    gc.disable()  # nothing may wait for it
    try:
        with Engine(lease, sink, workers=2) as engine:  # type: ignore[arg-type]  # a Detector
            for number, digest in enumerate((small, other, small)):
                task = TaskId(str(number) * 32)
                engine.submit(WorkItem(task, digest, tmp_path / "v.avi", "video", detect=Detect(min_score=0.01)))
                sink.finish(task)
            assert [loaded.key for loaded in shelf.loaded()] == [(small, False)]
            assert [reference() is None for reference in seen] == [True, True, False]
            shelf.remove(small)
            assert seen[-1]() is None
    finally:
        gc.enable()


def test_memory_goes_back_to_the_system(tmp_path: Path) -> None:
    file = tmp_path / "heavy.onnx"
    file.write_bytes(heavy_model(16))
    shelf = a_shelf(tmp_path / "models", memory=500)
    digest: ModelDigest = shelf.add(file).digest
    shelf.remove(digest)
    give_back()
    before = resident()
    shelf.add(file)
    taken = resident() - before
    (loaded,) = shelf.loaded()
    assert loaded.bytes >= floor(file.stat().st_size) > 30 * 2**20
    assert shelf.memory == (loaded.bytes, 500 * 2**20)
    assert taken > 20 * 2**20
    shelf.remove(digest)
    give_back()
    assert resident() - before < taken / 2


def test_a_model_counts_for_what_it_takes_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads allocate and free meanwhile: the figure is an estimate, and never absurd."""
    for grown, counts in ((5000, 5000), (10, 2000), (-(10**9), 2000), (10**12, 512 * 2**20 + 6000)):
        sizes = iter((10**9, 10**9 + grown))
        monkeypatch.setattr("meshinfer.detect.memory.resident", lambda sizes=sizes: next(sizes))
        loaded = Model(card=Model(bytes=1000))
        assert measured(lambda loaded=loaded: loaded) == (loaded, counts)  # type: ignore[misc]  # stands in for a detector
