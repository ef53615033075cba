"""The models of tasks: leased as long as a frame is on its way, however the task ends, and changed seldom."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from meshinfer.detect.detector import Detector
from meshinfer.detect.pool import Lease, Pool
from meshinfer.errors import StoreError
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect
from meshinfer.node import engine as module
from meshinfer.node.engine import Batch, Engine, WorkItem
from tests.unit.engines import PATIENCE, Gate, Sink
from tests.unit.footage import write_image, write_video
from tests.vision.tiny_onnx import brightness_model

ONE, TWO = ModelDigest("1" * 64), ModelDigest("2" * 64)
TASKS = [TaskId(f"{n:032x}") for n in range(24)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    (folder / "model.onnx").write_bytes(brightness_model())
    write_video(folder / "v.avi", 40)
    write_image(folder / "i.png", 102)
    return folder


class Books:
    """Who has a lease."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self._lock = detector, threading.Lock()
        self.out: Counter[TaskId] = Counter()

    def lease(self, item: WorkItem) -> Lease[Detector]:
        with self._lock:
            self.out[item.task] += 1
        return Lease(self._detector, lambda: self._back(item.task))

    def _back(self, task: TaskId) -> None:
        with self._lock:
            self.out[task] -= 1


def video(folder: Path, task: TaskId, **more: Any) -> WorkItem:
    return WorkItem(task, ONE, folder / "v.avi", "video", **{"detect": Detect(min_score=0.01), **more})


def test_every_lease_ends_and_none_before_its_last_frame(folder: Path, detector: Detector) -> None:
    gate = Gate(detector)
    books, sink = Books(gate), Sink()

    def fails(batch: Batch) -> None:
        sink(batch)
        if batch.task == TASKS[3] and batch.analysed_frames:
            raise StoreError("the disk is full")

    with Engine(books.lease, fails, workers=2) as engine:  # type: ignore[arg-type]  # a gate is a Detector
        engine.submit(video(folder, TASKS[0]))
        assert gate.entered.acquire(timeout=PATIENCE)
        engine.cancel(TASKS[0])  # its frames are inside all the same
        engine.submit(video(folder, TASKS[1], detect=Detect(classes=("gray",))))
        engine.submit(video(folder, TASKS[2]))
        engine.submit(video(folder, TASKS[3]))
        assert books.out[TASKS[0]] == 1
        gate.open.set()
        sink.finish(*TASKS[1:4])
        engine.submit(video(folder, TASKS[4]))  # is closed over
        sink.until(lambda: sink.of(TASKS[4]))
    assert set(books.out) == set(TASKS[:5])
    assert not +books.out


@pytest.mark.parametrize(("turn", "loads"), [(3600.0, [ONE, TWO]), (0.0, [ONE, TWO] * 6)])
def test_models_that_have_no_room_together_are_changed_seldom(
    folder: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch, turn: float, loads: list[ModelDigest]
) -> None:
    """Two jobs take turns, a task each, while there is room for both models. Where there is not, each change would load
    one anew: a job keeps its turn for a while.
    """
    monkeypatch.setattr(module, "TURN", turn)
    loaded: list[ModelDigest] = []
    gate, sink = Gate(detector), Sink()

    def load(model: ModelDigest) -> tuple[Detector, int]:
        loaded.append(model)
        return gate, 2

    pool: Pool[ModelDigest, Detector] = Pool(load, lambda _: 2, 3, patience=PATIENCE)

    def lease(item: WorkItem) -> Lease[Detector]:
        held = pool.lease(item.model)
        return Lease(held.value[0], held.end)

    with Engine(lease, sink, workers=1, has_room=lambda item: pool.has_room(*item.models)) as engine:  # type: ignore[arg-type]  # as above
        engine.submit(WorkItem(TASKS[0], ONE, folder / "v.avi", "video", job="one", detect=Detect(min_score=0.01)))
        assert gate.entered.acquire(timeout=PATIENCE)  # the decoder waits in it until all are there
        for n, task in enumerate(TASKS[1:12], 1):
            model, job = ((ONE, "one"), (TWO, "two"))[n % 2]
            engine.submit(WorkItem(task, model, folder / "i.png", "image", job=job))
        gate.open.set()
        sink.finish(*TASKS[:12])
    assert loaded == loads
