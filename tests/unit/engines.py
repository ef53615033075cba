"""A sink that collects, a detector that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from meshinfer.detect.detector import Detector, Worker
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect
from meshinfer.node.engine import Batch, WorkItem

A, B, C = (TaskId(c * 32) for c in "abc")
MODEL = ModelDigest("0" * 64)
ALL = Detect(min_score=0.01)
PATIENCE = 20.0
FRAMES = 160

Make = Callable[..., WorkItem]


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
