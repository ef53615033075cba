"""The machine room, with a real model (its score is the frame's brightness) on real files. The promises:

1. Every batch carries the next frames of its task, in order, without a gap.
2. A task resumed at a batch's `next_frame` gives exactly the tail.
3. A task that fails, is cancelled or is refused by the sink costs no other task anything.
4. Between decoder and sink there are never more frames than the window holds.
5. The spans of a file, in any order, give together what the whole file gives.
6. Jobs take turns, and a task that runs alone has the machine to itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshinfer.detect.detector import Detector, Worker, load_detector
from meshinfer.detect.isolated import Isolated
from meshinfer.detect.pool import Lease
from meshinfer.errors import ModelError, StoreError
from meshinfer.media.frames import Videos
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect, Limits, Sample
from meshinfer.node import engine as module
from meshinfer.node.engine import Batch, Engine, TaskError, WorkItem
from tests.unit.footage import grey, write_image, write_video
from tests.vision.tiny_onnx import brightness_model

A, B, C = (TaskId(c * 32) for c in "abc")
MODEL = ModelDigest("0" * 64)
ALL = Detect(min_score=0.01)
PATIENCE = 20.0
FRAMES = 160


class Sink:
    """Collects batches; tests wait for what they need."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._changed = threading.Condition()

    def __call__(self, batch: Batch) -> None:
        with self._changed:
            self.batches.append(batch)
            self._changed.notify_all()

    def of(self, task: TaskId) -> list[Batch]:
        return [b for b in self.batches if b.task == task]

    def until(self, true: Callable[[], Any]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE), self.batches[-3:]

    def finish(self, *tasks: TaskId) -> None:
        self.until(lambda: all(self.of(t) and self.of(t)[-1].finished for t in tasks))

    def results(self, task: TaskId) -> list[FrameResult]:
        return [r for b in self.of(task) for r in b.results]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    (folder / "model.onnx").write_bytes(brightness_model())
    write_video(folder / "v.avi", FRAMES)
    write_image(folder / "i.png", 102)
    (folder / "bad.mp4").write_text("no video\n" * 50)
    return folder


@pytest.fixture(scope="module")
def detector(folder: Path) -> Detector:
    return load_detector(folder / "model.onnx")


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def engine(detector: Detector, sink: Sink) -> Iterator[Engine]:
    with Engine(lambda _: Lease(detector), sink, workers=3) as engine:
        yield engine
    assert not [t for t in threading.enumerate() if t.name.startswith("engine")]


@pytest.fixture
def item(folder: Path) -> Callable[..., WorkItem]:
    def make(task: TaskId, name: str = "v.avi", **more: Any) -> WorkItem:
        kind = "image" if name.endswith(".png") else "video"
        return WorkItem(task, MODEL, folder / name, kind, **{"detect": ALL, **more})  # type: ignore[arg-type]  # a Kind

    return make


Make = Callable[..., WorkItem]


def test_frames_come_in_order_without_a_gap(engine: Engine, sink: Sink, item: Make) -> None:
    engine.submit(item(A))
    sink.finish(A)
    batches = sink.of(A)
    assert [r.frame for r in sink.results(A)] == list(range(FRAMES))
    assert all(abs(r.detections[0].score - grey(r.frame) / 255) < 0.001 for r in sink.results(A))
    done = 0
    for batch in batches:
        done += batch.analysed_frames
        assert batch.next_frame == done
        assert len(batch.results) == batch.analysed_frames == batch.detections
    assert [b.started for b in batches] == [True] + [False] * (len(batches) - 1)
    assert [b.finished for b in batches] == [False] * (len(batches) - 1) + [True]
    assert batches[-1].error is None
    assert engine.load == 0


@pytest.mark.parametrize("sample", [Sample(), Sample(every=4), Sample(fps=3)])
def test_a_resumed_task_gives_the_tail(engine: Engine, sink: Sink, item: Make, sample: Sample) -> None:
    engine.submit(item(A, sample=sample))
    sink.finish(A)
    whole = sink.results(A)
    for start in (1, 41, FRAMES):
        sink.batches.clear()
        engine.submit(item(B, sample=sample, first=start))
        sink.finish(B)
        assert sink.results(B) == [r for r in whole if r.frame >= start]
        assert sink.of(B)[-1].next_frame == max([start, *(r.frame + 1 for r in whole)])


@pytest.mark.parametrize("sample", [Sample(), Sample(every=4), Sample(fps=3)])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_spans_give_what_the_whole_file_gives(
    engine: Engine, sink: Sink, item: Make, sample: Sample, order: tuple[int, ...]
) -> None:
    engine.submit(item(A, sample=sample))
    spans = [(0, 37), (37, 74), (74, FRAMES + 40), (FRAMES + 40, None)]  # the container promised too much
    tasks = [TaskId(f"{n:032x}") for n in range(4)]
    for n in order:
        engine.submit(item(tasks[n], sample=sample, first=spans[n][0], stop=spans[n][1]))
    sink.finish(A, *tasks)
    assert [r for task in tasks for r in sink.results(task)] == sink.results(A)
    assert all(sink.of(task)[-1].error is None for task in tasks)
    assert sum(b.analysed_frames for b in sink.of(tasks[3])) == 0
    sink.batches.clear()
    engine.submit(item(B, sample=sample, first=50, stop=74))  # resumed in the middle
    engine.submit(item(C, sample=sample))
    sink.finish(B, C)
    assert sink.results(B) == [r for r in sink.results(C) if 50 <= r.frame < 74]


def test_frames_without_detections_count_and_are_not_sent(engine: Engine, sink: Sink, item: Make) -> None:
    engine.submit(item(A, detect=Detect(min_score=0.5)))
    sink.finish(A)
    assert [r.frame for r in sink.results(A)] == [n for n in range(FRAMES) if grey(n) > 127]
    assert sum(b.analysed_frames for b in sink.of(A)) == FRAMES


def test_images_and_videos_in_a_row(engine: Engine, sink: Sink, item: Make) -> None:
    tasks = [TaskId(f"{n:032x}") for n in range(60)]
    for n, task in enumerate(tasks):
        engine.submit(item(task, "v.avi" if n % 20 == 0 else "i.png", limits=Limits(frames=5)))
    assert engine.load > 0
    sink.finish(*tasks)
    for n, task in enumerate(tasks):
        batches = sink.of(task)
        assert sum(b.started for b in batches) == 1
        assert [b.finished for b in batches].count(True) == 1
        if n % 20:
            (batch,) = batches
            assert batch.results == (FrameResult(0, 0.0, 64, 64, (Detection("grey", 0.4, (24.0, 24.0, 40.0, 40.0)),)),)
            assert batch.next_frame == 1


def test_limits_count_frames_from_before(engine: Engine, sink: Sink, item: Make) -> None:
    engine.submit(item(A, limits=Limits(frames=12)))
    engine.submit(item(B, limits=Limits(frames=12), first=7, analysed=7))
    engine.submit(item(C, limits=Limits(frames=12), first=12, analysed=12))
    sink.finish(A, B, C)
    assert [r.frame for r in sink.results(A)] == list(range(12))
    assert [r.frame for r in sink.results(B)] == list(range(7, 12))
    assert sink.results(C) == []
    assert sink.of(A)[-1].error is None


def test_out_of_time_is_a_host_error(engine: Engine, sink: Sink, item: Make) -> None:
    engine.submit(item(A, limits=Limits(seconds=1e-9)))
    sink.finish(A)
    assert sink.of(A)[-1].error == TaskError("host", "took longer than its limit of 1e-09 seconds")


def test_failures_cost_only_their_task(folder: Path, detector: Detector, sink: Sink, item: Make) -> None:
    other = ModelDigest("1" * 64)

    def detector_for(item: WorkItem) -> Lease[Detector]:
        if item.model == other:
            raise ModelError("no such model")
        return Lease(detector)

    items = {
        "good": item(TaskId("good")),
        "corrupt video": item(TaskId("corrupt video"), "bad.mp4"),
        "corrupt image": WorkItem(TaskId("corrupt image"), MODEL, folder / "bad.mp4", "image"),
        "absent": item(TaskId("absent"), "absent.mp4"),
        "class": item(TaskId("class"), detect=Detect(classes=("gray",))),
        "model": WorkItem(TaskId("model"), other, folder / "v.avi", "video"),
        "good again": item(TaskId("good again")),
    }
    with Engine(detector_for, sink, workers=2) as engine:
        for work in items.values():
            engine.submit(work)
        sink.finish(*(work.task for work in items.values()))
    errors = {name: sink.of(work.task)[-1].error for name, work in items.items()}
    assert errors.pop("good") is None
    assert errors.pop("good again") is None
    assert sink.results(items["good"].task) == sink.results(items["good again"].task)
    assert {name: e and e.kind for name, e in errors.items()} == {
        "corrupt video": "input",
        "corrupt image": "input",
        "absent": "input",
        "class": "model",
        "model": "model",
    }
    class_error = errors["class"]
    assert class_error is not None
    assert "did you mean 'grey'" in class_error.message


def test_a_cut_off_video_succeeds_with_a_notice(engine: Engine, sink: Sink, item: Make, folder: Path) -> None:
    path = write_video(folder / "cut.avi", 60, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    engine.submit(item(A, "cut.avi"))
    sink.finish(A)
    assert sink.of(A)[-1].error is None
    assert "cut off" in sink.of(A)[-1].notice


class Gate(Detector):
    """A detector whose frames wait until the gate is open; counts those that came through."""

    def __init__(self, inner: Detector) -> None:
        self.card, self._inner = inner.card, inner
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.passed = 0
        self.changed = threading.Condition()

    def worker(self, detect: Detect, max_detections: int = 300) -> Worker:
        worker = self._inner.worker(detect, max_detections)

        def run(image: Any) -> tuple[Detection, ...]:
            self.entered.release()
            assert self.open.wait(PATIENCE)
            found = worker(image)
            with self.changed:
                self.passed += 1
                self.changed.notify_all()
            return found

        return run  # type: ignore[return-value]  # called like a Worker, which is all an engine does


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
