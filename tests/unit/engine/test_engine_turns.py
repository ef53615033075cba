"""Whose turn it is, and what ends a task before its time: cancels, slow sinks, bugs, models of their own process."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshinfer.detect.detector import Detector, Worker
from meshinfer.detect.isolated import Isolated
from meshinfer.detect.pool import Lease
from meshinfer.errors import StoreError
from meshinfer.media.frames import Videos
from meshinfer.model.detection import Detection
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect
from meshinfer.node import engine as module
from meshinfer.node.engine import Batch, Engine, TaskError, WorkItem
from tests.unit.engines import FRAMES, MODEL, PATIENCE, A, B, C, Gate, Make, Sink


def test_a_cancelled_task_is_heard_of_no_more(detector: Detector, sink: Sink, item: Make) -> None:
    gate = Gate(detector)
    with Engine(lambda _: Lease(gate), sink, workers=2) as engine:
        engine.submit(item(A))
        engine.submit(item(B))
        assert gate.entered.acquire(timeout=PATIENCE)
        sink.until(lambda: sink.of(A))  # that it has started
        engine.cancel(A)
        engine.cancel(TaskId("unknown"))
        assert engine.load == 1
        engine.submit(item(A, first=80, run=2))  # the same task again, while the old frames are still inside
        gate.open.set()
        sink.finish(A, B)
    assert [r.frame for r in sink.results(B)] == list(range(FRAMES))
    assert [r.frame for r in sink.results(A)] == list(range(80, FRAMES))
    assert {b.run for b in sink.of(A) if b.analysed_frames} == {2}


def test_jobs_take_turns(detector: Detector, sink: Sink, item: Make) -> None:
    """However many spans of one job wait: the next task of the engine is another job's."""
    gate, began = Gate(detector), []
    tasks = [TaskId(f"{n:032x}") for n in range(6)]
    with Engine(lambda _: Lease(gate), sink, workers=1, on_begin=began.append) as engine:
        engine.submit(item(A, job="one"))  # the decoder waits in it for the worker
        assert gate.entered.acquire(timeout=PATIENCE)
        for n, task in enumerate(tasks[:4]):
            engine.submit(item(task, job="one", first=10 * n, stop=10 * n + 10))
        for n, task in enumerate(tasks[4:]):
            engine.submit(item(task, job="two", first=10 * n, stop=10 * n + 10))
        engine.cancel(tasks[1])
        gate.open.set()
        sink.finish(A, tasks[0], *tasks[2:])
    assert began == [A, tasks[0], tasks[4], tasks[2], tasks[5], tasks[3]]


def test_videos_are_closed_when_there_is_nothing_to_do(
    engine: Engine, sink: Sink, item: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE", 0.01)
    closed = threading.Event()
    close = Videos.close

    def noted(videos: Videos) -> None:
        assert len(videos) == 1
        close(videos)
        closed.set()

    monkeypatch.setattr(Videos, "close", noted)
    engine.submit(item(A, stop=10))
    sink.finish(A)
    assert closed.wait(PATIENCE)
    monkeypatch.undo()


def test_alone_means_alone(detector: Detector, sink: Sink, item: Make) -> None:
    """Nothing of another task is decoded or computed from the beginning of such a task to its last frame."""
    on_the_way: list[tuple[TaskId, int]] = []
    passed = 0

    class Counting(Gate):
        def worker(self, detect: Detect, max_detections: int = 300) -> Worker:
            worker = super().worker(detect, max_detections)

            def run(image: Any) -> tuple[Detection, ...]:
                nonlocal passed
                found = worker(image)
                passed += 1
                return found

            return run  # type: ignore[return-value]  # as in Gate

    gate = Counting(detector)
    gate.open.set()
    with Engine(
        lambda _: Lease(gate), sink, workers=1, on_begin=lambda task: on_the_way.append((task, passed))
    ) as engine:
        engine.submit(item(A, stop=20))
        engine.submit(item(B, first=20, stop=40, alone=True))
        engine.submit(item(C, first=40, stop=60))
        sink.finish(A, B, C)
    assert on_the_way[1:] == [(B, 20), (C, 40)]


def test_a_task_cancelled_as_it_begins_is_not_touched(detector: Detector, sink: Sink, item: Make) -> None:
    asked: list[ModelDigest] = []

    def detector_for(item: WorkItem) -> Lease[Detector]:
        asked.append(item.model)
        return Lease(detector)

    with Engine(
        detector_for, sink, workers=1, on_begin=lambda task: engine.cancel(task) if task == A else None
    ) as engine:
        engine.submit(item(A))
        engine.submit(item(B))
        sink.finish(B)
    assert len(asked) == 1
    assert sink.of(A) == []


def test_a_task_is_submitted_once(detector: Detector, sink: Sink, item: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(detector)
    monkeypatch.setattr(module, "MAX_ITEMS", 2)
    with Engine(lambda _: Lease(gate), sink, workers=1) as engine:
        engine.submit(item(A))
        with pytest.raises(ValueError, match="is running already"):
            engine.submit(item(A))
        engine.submit(item(B))
        with pytest.raises(ValueError, match="no more tasks"):
            engine.submit(item(C))
        gate.open.set()


def test_a_slow_sink_holds_everything_up(detector: Detector, item: Make) -> None:
    gate, go_on, stuck = Gate(detector), threading.Event(), threading.Event()
    gate.open.set()
    batches: list[Batch] = []

    def sink(batch: Batch) -> None:
        batches.append(batch)
        if batch.analysed_frames:
            stuck.set()
            assert go_on.wait(PATIENCE)

    with Engine(lambda _: Lease(gate), sink, workers=2) as engine:
        engine.submit(item(A))
        assert stuck.wait(PATIENCE)
        # Frames of the batch that is stuck have left the window; after them come as many as it holds, and no more.
        most = batches[-1].analysed_frames + 2 * module._WINDOW_PER_WORKER
        assert most < FRAMES
        with gate.changed:
            assert gate.changed.wait_for(lambda: gate.passed == most, PATIENCE)
            assert not gate.changed.wait_for(lambda: gate.passed > most, 0.05)
        go_on.set()
        with gate.changed:
            assert gate.changed.wait_for(lambda: gate.passed == FRAMES, PATIENCE)


def test_a_sink_that_fails_is_told_once_more(detector: Detector, item: Make) -> None:
    told = Sink()

    def sink(batch: Batch) -> None:
        told(batch)
        if batch.task == A and batch.analysed_frames:
            raise StoreError("the disk is full")

    with Engine(lambda _: Lease(detector), sink, workers=2) as engine:
        engine.submit(item(A))
        engine.submit(item(B))
        told.finish(A, B)
        assert engine.load == 0
    assert told.of(A)[-1].error == TaskError("host", "the disk is full")
    assert [r.frame for r in told.results(B)] == list(range(FRAMES))


def test_a_bug_costs_one_task_and_is_logged(
    detector: Detector, sink: Sink, item: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Gate):
        def worker(self, detect: Detect, max_detections: int = 300) -> Worker:
            raise ZeroDivisionError("a bug")

    broken = Broken(detector)
    detectors: dict[ModelDigest, Detector] = {MODEL: detector, ModelDigest("1" * 64): broken}
    with Engine(lambda item: Lease(detectors[item.model]), sink, workers=2) as engine:
        engine.submit(WorkItem(A, ModelDigest("1" * 64), item(A).path, "video"))
        engine.submit(item(B))
        sink.finish(A, B)
    assert sink.of(A)[-1].error == TaskError("host", "internal error: ZeroDivisionError: a bug")
    assert sink.of(B)[-1].error is None
    assert "ZeroDivisionError" in caplog.text


def test_close_is_bounded_and_drops_what_runs(detector: Detector, sink: Sink, item: Make) -> None:
    gate = Gate(detector)
    engine = Engine(lambda _: Lease(gate), sink, workers=2)
    engine.submit(item(A))
    engine.submit(item(B))
    assert gate.entered.acquire(timeout=PATIENCE)
    assert engine.close(timeout=0.01) is False  # a frame is inside of the model: that cannot be hurried
    gate.open.set()
    assert engine.close(timeout=PATIENCE) is True
    assert not any(b.finished for b in sink.batches)
    with pytest.raises(ValueError, match="no more tasks"):
        engine.submit(item(C))


def test_an_isolated_model_sees_the_same_and_only_its_task_ends_with_it(
    folder: Path, detector: Detector, sink: Sink, item: Make
) -> None:
    isolated = Isolated(folder / "model.onnx")
    with Engine(lambda item: Lease(isolated if item.isolate else detector), sink, workers=2) as engine:
        engine.submit(item(A))
        engine.submit(replace(item(B), isolate=True))
        sink.finish(A, B)
        assert sink.of(B)[-1].error is None
        assert sink.results(B) == sink.results(A)
        # Its file is gone, and then its process: the next task cannot have a new one.
        broken = Isolated(shutil.copy(folder / "model.onnx", folder / "gone.onnx"))
        (folder / "gone.onnx").unlink()
        os.kill(broken._process._process.pid, signal.SIGKILL)
        broken._process._process.wait(60)
        isolated.close()
        isolated = broken
        engine.submit(replace(item(C), isolate=True))
        sink.finish(C)
        engine.submit(replace(item(TaskId("d" * 32))))
        sink.finish(TaskId("d" * 32))
    isolated.close()
    error = sink.of(C)[-1].error
    assert error is not None
    assert error.kind == "model"
    assert error.message.startswith("gone.onnx: ")
    assert sink.of(TaskId("d" * 32))[-1].error is None
