"""The machine room: tasks in, batches of detections out. Plain threads; docs/adr/0004 says why.

    submit -> [items] -> decode thread -> [frames] -> a worker per core -> [outcomes] -> collector thread -> sink

Every arrow is bounded: the decoder waits for the workers, the workers for the collector, the collector for the sink.
Tasks follow each other without a gap: while the last frames of one are computed, the next is being decoded, from where
the last one of the same file ended. Jobs take turns, a task each. What the collector hands over is always a contiguous
prefix of a task's frames, so it can be resumed at `Batch.next_frame`.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import Empty, Queue, SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.pool import Lease
from meshinfer.errors import MediaError, MeshInferError, ModelDamaged, ModelError
from meshinfer.media.frames import Frame, Frames, Videos, open_frames
from meshinfer.media.windows import Window, Windows
from meshinfer.model.detection import FrameResult
from meshinfer.model.ids import TaskId
from meshinfer.node.buffers import AllBuffers
from meshinfer.node.speeds import Meter
from meshinfer.node.work import Batch, End, News, Run, Sign, TaskError, WorkItem

__all__ = ["Batch", "Engine", "TaskError", "WorkItem"]

FLUSH_FRAMES = 64
MAX_ITEMS = 4096
"""Tasks that may wait here. They are small, but a plan that is longer belongs to the schedule."""
_FRAMES_PER_WORKER = 2
"""Decoded frames that wait: enough to never starve a worker; a 4K frame is 25 MB."""
_WINDOW_PER_WORKER = 16
"""Frames between decoder and sink, decoded or computed: what one slow frame may hold up."""
IDLE = 60.0
"""Seconds without work after which the videos that were read last are closed. Work that moves to another peer may come
back, and the way to the middle of a long video is long."""
TURN = 5.0
"""Seconds for which jobs whose models are loaded go before one whose model there is no room for."""
_MAX_MESSAGE = 400
"""Characters of an error: what records carry of it is bounded."""

_log = logging.getLogger(__name__)


class Engine:
    """Runs the tasks of each job in the order of submission. `submit`, `cancel` and `load` never block.

    It must be closed before the process ends: the runtime aborts when threads are still inside of it. `close` blocks,
    within bounds.
    """

    def __init__(
        self,
        detector_for: Callable[[WorkItem], Lease[AnyDetector]],
        sink: Callable[[Batch], None],
        workers: int | None = None,
        *,
        on_begin: Callable[[TaskId], None] = lambda _: None,
        has_room: Callable[[WorkItem], bool] = lambda _: True,
    ) -> None:
        """`detector_for`, in the decode thread, gives what a task runs with; `sink` runs in the collector's. Both may
        block and raise MeshInferError.

        `on_begin` is called in the decode thread before anything of a task is touched; it may cancel it. A sink that
        raises fails the batch's task as a host error, of which it is told once more. `has_room`: whether the models of
        a task throw no others out of the memory.
        """
        count = workers or os.cpu_count() or 1
        self._detector_for, self._sink, self._on_begin = detector_for, sink, on_begin
        self._has_room, self._passed_over = has_room, math.inf
        self._buffers = AllBuffers()
        self._queues: dict[str, deque[Run]] = {}
        """What waits of each job; the job whose turn it is comes first."""
        self._runs: dict[TaskId, Run] = {}
        self._changed = threading.Condition()
        self._closing = False
        self.meter = Meter(count)
        self._frames: Queue[_Work | None] = Queue(_FRAMES_PER_WORKER * count)
        self._window_size = _WINDOW_PER_WORKER * count
        self._window = threading.Semaphore(self._window_size)
        self._outcomes: SimpleQueue[_Outcome | None] = SimpleQueue()  # bounded by the window
        self._threads = [
            threading.Thread(target=self._decode_all, name="engine-decode", daemon=True),
            *(threading.Thread(target=self._compute_all, name=f"engine-{i}", daemon=True) for i in range(count)),
            threading.Thread(target=self._collect_all, name="engine-collect", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def load(self) -> int:
        """Tasks submitted and not finished."""
        return len(self._runs)

    def submit(self, item: WorkItem) -> None:
        """Raises ValueError for a task that is here already, and when MAX_ITEMS are."""
        with self._changed:
            if item.task in self._runs:
                raise ValueError(f"task {item.task} is running already")
            if len(self._runs) >= MAX_ITEMS or self._closing:
                raise ValueError("the engine takes no more tasks now")
            run = self._runs[item.task] = Run(item)
            self._queues.setdefault(item.job, deque()).append(run)
            self._changed.notify()

    def cancel(self, task: TaskId) -> None:
        """Forget a task: no batch of it follows, but for one that is being handed over now."""
        with self._changed:
            if run := self._runs.pop(task, None):
                run.dropped = True

    def close(self, timeout: float = 5.0) -> bool:
        """Drop every task and stop. False if a thread did not end in `timeout` seconds (it dies with the process)."""
        with self._changed:
            self._closing = True
            for run in self._runs.values():
                run.dropped = True
            self._runs.clear()
            self._changed.notify()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    # decode thread

    def _decode_all(self) -> None:
        videos = Videos()
        alone = False
        while (run := self._next_run(videos)) is not None:
            if alone or run.item.alone:
                self._drain()
            alone = run.item.alone
            end = End()
            try:
                for frame in self._frames_of(run, end, videos):
                    self._window.acquire()
                    self._frames.put(_Work(run, end.count, frame))
                    end.count += 1
            except Exception as e:  # noqa: BLE001 - a bug must cost one task, not the peer; _explain logs what is not ours
                end.error = _explain(e)
            self._outcomes.put(_Outcome(run, end.count, end))
            del run  # or an idle thread would keep its model
        videos.close()
        for _ in self._threads[1:-1]:
            self._frames.put(None)

    def _next_run(self, videos: Videos) -> Run | None:
        with self._changed:
            while not self._closing:
                if (run := self._turn()) is not None:
                    return run
                if not self._changed.wait(IDLE if videos else None):
                    videos.close()
            return None

    def _turn(self) -> Run | None:
        """The next task of the job whose turn it is."""
        while self._queues:
            queue = self._queues.pop(job := self._next_job())
            run = queue.popleft()
            while run.dropped and queue:
                run = queue.popleft()
            if queue:
                self._queues[job] = queue  # the last in turn
            if not run.dropped:
                return run
        return None

    def _next_job(self) -> str:
        """Whose turn it is. Where that throws a model out of the memory, those that need not go first for a while: to
        load one takes longer than many a task.
        """
        job = first = next(iter(self._queues))
        if not self._has_room(self._queues[first][0].item):
            now = time.monotonic()
            self._passed_over = min(self._passed_over, now)
            if now < self._passed_over + TURN:
                job = next((job for job, queue in self._queues.items() if self._has_room(queue[0].item)), first)
        if job == first:
            self._passed_over = math.inf
        return job

    def _drain(self) -> None:
        """Wait until no frame is on its way."""
        for _ in range(self._window_size):
            self._window.acquire()
        self._window.release(self._window_size)

    def _frames_of(self, run: Run, end: End, videos: Videos) -> Iterator[Frame | Window | None]:
        """The frames to analyse, or the windows of a series; None for an image: its worker reads it, so that images are
        decoded by all cores.
        """
        item = run.item
        self._on_begin(item.task)
        if run.dropped:
            return
        run.since = time.monotonic()
        run.lease = self._detector_for(item)
        run.buffers = self._buffers.of(run.detector, item.detect, item.limits.detections)
        if wrong := run.detector.unknown_classes(item.detect.classes):
            raise ModelError(wrong)
        left = None if item.limits.frames is None else item.limits.frames - item.analysed
        if left is not None and left <= 0:
            return
        want = run.detector.series
        if (want is not None) != (item.kind == "series"):
            what = "pictures" if want is None else "series"
            kind = f"an {item.kind}" if item.kind == "image" else f"a {item.kind}"
            raise ModelError(f"{run.detector.card.reference} looks at {what}, and {item.path.name} is {kind}")
        if item.kind == "image":
            if item.first == 0:
                yield None
            return
        seconds = item.limits.seconds or math.inf
        began = math.inf  # what lies before the span is no work on it

        def halt() -> bool:
            return run.dropped or time.monotonic() - began > seconds

        where = (item.sample, item.first, item.stop)
        opened: Frames | Windows
        if want is None:
            opened = open_frames(item.path, item.kind, *where, most=left, halt=halt, videos=videos)
        else:
            opened = Windows(item.path, want, *where, rate=item.rate, most=left, halt=halt, videos=videos)
        with opened as frames:
            began = time.monotonic()
            yield from frames
            end.notice = frames.truncated
        if time.monotonic() - began > seconds:
            end.error = TaskError("host", f"took longer than its limit of {seconds:g} seconds")

    # worker threads

    def _compute_all(self) -> None:
        while (work := self._frames.get()) is not None:
            run, number, frame = work
            news: News = Sign.SKIPPED
            if not run.dropped:
                if number == 0 and run.item.kind != "image":
                    self._outcomes.put(_Outcome(run, 0, Sign.STARTED))  # at once: the frame itself may take long
                try:
                    news = _compute(run, frame, self.meter)
                except Exception as e:  # noqa: BLE001 - as in the decode thread
                    news = _explain(e)
            self._outcomes.put(_Outcome(run, number, news))
            del work, frame, run  # or an idle worker would keep its last frame
        self._outcomes.put(None)

    # collector thread

    def _collect_all(self) -> None:
        waiting: dict[TaskId, Run] = {}  # with results that are held back a moment, to go out together
        working = len(self._threads) - 2
        while working:
            now = time.monotonic()
            due = min((run.flush_at for run in waiting.values()), default=now + 60)
            try:
                outcome = self._outcomes.get(timeout=max(0.0, due - now))
            except Empty:
                pass
            else:
                if outcome is None:
                    working -= 1
                    continue
                self._window_release(outcome.run.take(outcome.number, outcome.news))
                if outcome.run.is_through:
                    outcome.run.let_go()
                if not outcome.run.dropped:
                    waiting[outcome.run.item.task] = outcome.run
            now = time.monotonic()
            for task, run in list(waiting.items()):
                if run.dropped or not run.has_news:
                    del waiting[task]
                elif now >= run.flush_at or run.analysed >= FLUSH_FRAMES:
                    del waiting[task]
                    self._hand_over(run, now)

    def _window_release(self, frames: int) -> None:
        if frames:
            self._window.release(frames)

    def _hand_over(self, run: Run, now: float) -> None:
        batch = run.batch(now)
        if batch.finished:
            self._forget(run)
        try:
            self._sink(batch)
        except Exception as e:  # noqa: BLE001 - as in the decode thread
            self._forget(run)
            failure = TaskError("host", _explain(e).message)
            try:
                self._sink(replace(run.batch(now), finished=True, error=failure))
            except Exception as again:  # noqa: BLE001 - told twice is enough: the task stays unfinished in the store
                _log.warning("task %s: its results cannot be stored: %s", run.item.task, _explain(again).message)

    def _forget(self, run: Run) -> None:
        with self._changed:
            run.dropped = True
            if self._runs.get(run.item.task) is run:
                del self._runs[run.item.task]


class _Work(NamedTuple):
    run: Run
    number: int
    """Of the frame among those analysed, from 0."""
    frame: Frame | Window | None


class _Outcome(NamedTuple):
    run: Run
    number: int
    news: News


def _compute(run: Run, frame: Frame | Window | None, meter: Meter) -> FrameResult:
    item = run.item
    if frame is None:
        with open_frames(item.path, item.kind, item.sample) as frames:
            frame = next(iter(frames))
    assert run.buffers is not None  # until its last frame is through
    image: NDArray[Any] = frame.image
    height, width = image.shape[:2]
    with run.buffers.worker() as look:
        began = time.monotonic()
        found = look(image)
        if item.then is None:  # else it took as long as both models
            meter.note(item.model, time.monotonic() - began)
        run.note_left_out(getattr(look, "left_out", 0))  # of other workers: nothing
    return FrameResult(frame.index, frame.t, width, height, found)


def _explain(error: Exception) -> TaskError:
    text = str(error) if len(str(error)) <= _MAX_MESSAGE else f"{str(error)[: _MAX_MESSAGE - 3]}..."
    match error:
        case MediaError():
            return TaskError("input", text)
        case ModelDamaged():
            return TaskError("lost", text)
        case ModelError():
            return TaskError("model", text)
        case MeshInferError():
            return TaskError("host", text)
        case MemoryError():
            return TaskError("host", "not enough memory")
        case OSError():
            return TaskError("host", f"{error.strerror or error}")
    _log.error("a bug in the engine", exc_info=error)
    return TaskError("host", f"internal error: {type(error).__name__}: {text}")
