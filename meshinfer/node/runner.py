"""Tasks that the schedule starts become work of the engine; what the engine finds goes to the store, then to everyone.

    Start -> store.begin -> engine -> (collector thread) store.commit -> (trio thread) events out, progress in

The store counts an attempt before the engine sees the task, and takes results and progress in one transaction:
after a kill the task resumes at the first frame whose result was not stored.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from meshinfer.detect.detector import Detector
from meshinfer.errors import StoreError
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Event
from meshinfer.model.facts import ErrorKind, Outcome
from meshinfer.model.ids import ContentId, JobId, ModelDigest, PeerId, TaskId
from meshinfer.model.job import JobInfo
from meshinfer.node.driver import Driver
from meshinfer.node.engine import Batch, Engine, TaskError, WorkItem
from meshinfer.schedule.stimuli import Start, Stop, TaskEnded, TaskProgressed, TaskReturned
from meshinfer.store import Database, TaskRow, TaskTable

MEASURED = 100
"""Jobs whose first inference is remembered."""

Find = Callable[[ContentId], tuple[Path, Entry] | None]


@dataclass(slots=True)
class _Running:
    """A task in the engine, as the collector thread keeps it."""

    job: JobId
    run: int
    analysed: int
    detections: int
    seconds: float
    attempts: int


class Runner:
    def __init__(
        self,
        db: Database,
        me: PeerId,
        driver: Driver,
        *,
        find: Find,
        detector_for: Callable[[ModelDigest], Detector],
        on_events: Callable[[list[Event]], None],
        on_trouble: Callable[[str], None],
        workers: int | None,
    ) -> None:
        """`find` and `detector_for` run in worker threads; `on_events` and `on_trouble` in the trio thread."""
        self._tasks = TaskTable(db, me)
        self._driver, self._find, self._on_events, self._on_trouble = driver, find, on_events, on_trouble
        self._running: dict[TaskId, _Running] = {}
        self._wishes: deque[Start | Stop] = deque()
        self._wished = trio.Event()
        self._trio = trio.lowlevel.current_trio_token()
        self.first_inference: dict[JobId, float] = {}
        """When each job's first inference began here, in seconds of the system's monotonic clock: for measuring."""
        self._engine = Engine(detector_for, self._sink, workers)

    @property
    def load(self) -> int:
        return self._engine.load

    def perform(self, effect: Start | Stop) -> None:
        """Bounded by the schedule: at most its window of starts, and a stop for each job."""
        self._wishes.append(effect)
        self._wished.set()

    async def serve(self) -> None:
        while True:
            while not self._wishes:
                self._wished = trio.Event()
                await self._wished.wait()
            match self._wishes.popleft():
                case Start() as start:
                    await self._start(start)
                case Stop() as stop:
                    await self._stop(stop)

    async def _start(self, start: Start) -> None:
        info = self._driver.state.jobs[start.job].info
        try:
            ended = await trio.to_thread.run_sync(self._begin, start, info)
        except StoreError as e:
            self._returned(start.task, str(e))
            return
        if ended is not None:
            self._driver.feed(TaskEnded(start.task, ended))

    async def _stop(self, stop: Stop) -> None:
        for task in stop.tasks:
            self._drop(task)
        try:
            await trio.to_thread.run_sync(self._tasks.cancel, stop.job)
        except StoreError as e:
            self._on_trouble(str(e))  # the tasks stay "running" in the store: nobody begins them again

    async def close(self, timeout: float) -> None:
        """Stop the engine; what is unfinished is pending again in the store."""
        await trio.to_thread.run_sync(self._engine.close, timeout)
        await trio.to_thread.run_sync(self._release, dict(self._running))

    # ---- worker threads ----------------------------------------------------------------------------------------------

    def _release(self, running: dict[TaskId, _Running]) -> None:
        for task, r in running.items():
            with suppress(StoreError):  # a full disk: it stays "running", and its next start resumes it all the same
                self._tasks.release(task, run=r.run)

    def _begin(self, start: Start, info: JobInfo) -> Outcome | None:
        """Hand the task to the engine; its outcome where there is nothing left to do."""
        task, spec = start.task, info.spec
        assert spec is not None
        row = self._tasks.begin(task, start.job, start.entry)
        if row.state == "done":
            return _outcome(row)
        found = self._find(start.entry.content)
        if found is None:
            row = self._tasks.fail(
                task, "input", f"{start.entry.name} is gone: it was moved, changed or removed", run=row.run
            )
            return _outcome(row)
        path, _ = found
        self._running[task] = _Running(start.job, row.run, row.analysed, row.detections, row.seconds, row.attempts)
        self._engine.submit(
            WorkItem(
                task,
                info.order.model,
                path,
                start.entry.kind,
                spec.sample,
                spec.detect,
                spec.limits,
                row.next_frame,
                row.analysed,
            )
        )
        return None

    def _sink(self, batch: Batch) -> None:
        """In the collector thread: store first, tell afterwards."""
        running = self._running.get(batch.task)
        if running is None:
            return
        if batch.started:
            self._note_start(running.job)
        running.analysed += batch.analysed_frames
        running.seconds += batch.seconds
        try:
            events = self._tasks.commit(
                batch.task,
                batch.results,
                run=running.run,
                next_frame=batch.next_frame,
                analysed=running.analysed,
                seconds=running.seconds,
            )
            if events is None:  # cancelled meanwhile
                self._drop(batch.task)
                return
            running.detections += batch.detections
            outcome = self._finish(batch, running) if batch.finished else None
        except StoreError as e:
            self._drop(batch.task)
            self._trio.run_sync_soon(self._returned, batch.task, str(e))
            return
        if outcome is not None:
            self._drop(batch.task)
        self._trio.run_sync_soon(self._tell, batch.task, events, running.analysed, running.detections, outcome)

    def _note_start(self, job: JobId) -> None:
        if len(self.first_inference) >= MEASURED:
            self.first_inference.pop(next(iter(self.first_inference)), None)
        self.first_inference.setdefault(job, time.monotonic())

    def _finish(self, batch: Batch, running: _Running) -> Outcome:
        error: TaskError | None = batch.error
        if error is None:
            row = self._tasks.finish(batch.task, run=running.run)
        else:
            row = self._tasks.fail(batch.task, error.kind, error.message[:500], run=running.run)
        return _outcome(row, notice=batch.notice)

    def _drop(self, task: TaskId) -> None:
        self._running.pop(task, None)
        self._engine.cancel(task)

    # ---- the trio thread ---------------------------------------------------------------------------------------------

    def _tell(self, task: TaskId, events: list[Event], analysed: int, detections: int, outcome: Outcome | None) -> None:
        self._on_events(events)
        if outcome is None:
            self._driver.feed(TaskProgressed(task, analysed, detections))
        else:
            self._driver.feed(TaskEnded(task, outcome))

    def _returned(self, task: TaskId, why: str) -> None:
        """Not now: first the reason, so that the schedule does not start it again at once."""
        self._on_trouble(why)
        self._driver.feed(TaskReturned(task))


def _outcome(row: TaskRow, notice: str = "") -> Outcome:
    kinds: dict[str, ErrorKind] = {"model": "model", "input": "input", "host": "host"}
    return Outcome(
        bytes.fromhex(row.task),
        row.state == "done",
        row.analysed,
        row.detections,
        round(row.seconds, 3),
        row.digest or "",
        row.attempts,
        kinds.get(row.error_kind or "", "") if row.state != "done" else "",
        (row.error or "")[:512] if row.state != "done" else "",
        notice[:512],
    )
