"""Tasks that the schedule starts become work of the engine; what the engine finds goes to the store, then to everyone.

    Start -> store.begin -> engine -> (decode thread) store.attempt
                                   -> (collector thread) store.commit -> (trio thread) events out, progress in

The store counts an attempt before the engine touches the task, and takes results and progress in one transaction:
after a kill the task resumes at the first frame whose result was not stored. One under which the process died, with
others or alone, runs alone the next time, so that no other is blamed; after MAX_ATTEMPTS such deaths without getting
further it is not run again.

Equal jobs have equal tasks: what is done for one is done for all. The schedule runs a task for one job at a time.

Where a roll-out tries a candidate here and it fails, the job's own model goes on at the frame it failed at: a candidate
may cost its own trial, never a job's work. The task's notice says so, here and in the store.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.pool import Lease
from meshinfer.errors import StoreError
from meshinfer.model.catalog import Entry
from meshinfer.model.channel import is_channel
from meshinfer.model.detection import Event
from meshinfer.model.facts import SCORE_BUCKETS, ErrorKind, Fallback, Outcome
from meshinfer.model.ids import ContentId, JobId, ModelDigest, PeerId, TaskId
from meshinfer.model.job import JobInfo
from meshinfer.node.driver import Driver
from meshinfer.node.engine import Batch, Engine, TaskError, WorkItem
from meshinfer.node.speeds import Meter
from meshinfer.schedule.stimuli import Start, Stop, TaskEnded, TaskProgressed, TaskReturned, Yield
from meshinfer.store import MAX_ATTEMPTS, Database, TaskRow, TaskTable

CANDIDATE_ATTEMPTS = 2
"""Processes that may end under a candidate before the job's own model is tried: one less than MAX_ATTEMPTS."""

MEASURED = 100
"""Jobs whose first inference is remembered."""

Find = Callable[[ContentId], tuple[Path, Entry] | None]


@dataclass(slots=True)
class _Running:
    """A task in the engine, as the collector thread keeps it."""

    start: Start
    run: int
    analysed: int
    detections: int
    seconds: float
    tries: bool = False
    """With a candidate: the job's own model is there for it."""
    notice: str = ""
    """Why it is not done with the candidate, where it should have been."""
    scores: list[int] | None = None
    """Of its detections, in buckets, where the job names a channel."""
    failed: TaskError | None = None
    """Of the candidate: the job's own model is about to go on."""


class Runner:
    def __init__(
        self,
        db: Database,
        me: PeerId,
        driver: Driver,
        *,
        find: Find,
        detector_for: Callable[[WorkItem], Lease[AnyDetector]],
        has_room: Callable[[WorkItem], bool] = lambda _: True,
        on_events: Callable[[list[Event]], None],
        on_trouble: Callable[[str], None],
        on_lost: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        workers: int | None,
    ) -> None:
        """`find` and `detector_for` run in worker threads; `on_events` and `on_trouble` in the trio thread. `on_lost`
        tells the schedule that a model is here no more, before its tasks are given back.
        """
        self._me = me
        self._tasks = TaskTable(db, me)
        self._driver, self._find, self._on_events, self._on_trouble = driver, find, on_events, on_trouble
        self._on_lost = on_lost
        self._running: dict[TaskId, _Running] = {}
        self._wishes: deque[Start | Stop | Yield | TaskReturned | _Running] = deque()
        self._wished = trio.Event()
        self._trio = trio.lowlevel.current_trio_token()
        self.first_inference: dict[JobId, float] = {}
        """When each job's first inference began here, in seconds of the system's monotonic clock: for measuring."""
        self._engine = Engine(detector_for, self._sink, workers, on_begin=self._on_begin, has_room=has_room)

    @property
    def meter(self) -> Meter:
        return self._engine.meter

    @property
    def load(self) -> int:
        return self._engine.load

    def perform(self, effect: Start | Stop | Yield) -> None:
        """Bounded by the schedule: at most its window of starts, and a stop for each job."""
        self._wish(effect)

    def _wish(self, wish: Start | Stop | Yield | TaskReturned | _Running) -> None:
        self._wishes.append(wish)
        self._wished.set()

    async def serve(self) -> None:
        while True:
            while not self._wishes:
                self._wished = trio.Event()
                await self._wished.wait()
            match self._wishes.popleft():
                case Start() as start:
                    await self._start(start)
                case _Running() as failed if self._running.get(failed.start.task) is failed:  # else it was let go of
                    await self._start(failed.start, failed)
                case Stop() | Yield() as wish:
                    await self._stop(wish)
                case TaskReturned() as lost:
                    await self._on_lost()
                    self._driver.feed(lost)

    async def _start(self, start: Start, failed: _Running | None = None) -> None:
        job = self._driver.state.jobs.get(start.job)
        if job is None:
            return  # forgotten meanwhile
        info = job.info
        model = info.order.model if failed else self._driver.state.models.runs(info)
        try:
            ended = await trio.to_thread.run_sync(self._begin, start, info, model, failed)
        except StoreError as e:
            self._returned(start.task, str(e))
            return
        if ended is not None:
            self._driver.feed(TaskEnded(start.task, ended))

    async def _stop(self, wish: Stop | Yield) -> None:
        try:
            await trio.to_thread.run_sync(self._let_go, wish)
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

    def _begin(self, start: Start, info: JobInfo, model: ModelDigest, failed: _Running | None) -> Outcome | None:
        """Hand the task to the engine, for this model; its outcome where there is nothing left to do."""
        task, spec = start.task, info.spec
        assert spec is not None
        row = self._tasks.begin(task, start.job, start.entry, start.first, start.stop)
        if row.state == "done":
            return _outcome(row, reused=row.job != start.job)
        notice = ""
        if failed is not None and failed.failed is not None:
            notice = _instead(failed.failed.kind, row.next_frame, failed.failed.message)
        elif info.model_for(self._me) != model:
            notice = _instead("absent", row.next_frame, "it is not here, or knows not every class that is asked for")
        elif model != info.order.model and row.attempts >= CANDIDATE_ATTEMPTS:
            model, notice = info.order.model, _instead("host", row.next_frame, _poisoned(row))
        if row.attempts >= MAX_ATTEMPTS:
            return _outcome(self._tasks.fail(task, "host", _poisoned(row), run=row.run))
        found = self._find(start.entry.content)
        if found is None:
            row = self._tasks.fail(
                task, "input", f"{start.entry.name} is gone: it was moved, changed or removed", run=row.run
            )
            return _outcome(row)
        path, _ = found
        self._running[task] = _Running(
            start,
            row.run,
            row.analysed,
            row.detections,
            row.seconds,
            tries=model != info.order.model,
            notice=notice,
            scores=[0] * SCORE_BUCKETS if is_channel(spec.model) else None,
        )
        self._engine.submit(
            WorkItem(
                task,
                model,
                path,
                start.entry.kind,
                spec.sample,
                spec.detect,
                spec.limits,
                row.next_frame,
                start.stop,
                row.analysed,
                row.run,
                job=start.job,
                rate=start.entry.fps,
                then=spec.then,
                isolate=spec.isolate,
                alone=row.attempts > 0,
            )
        )
        return None

    def _on_begin(self, task: TaskId) -> None:
        """In the decode thread."""
        running = self._running.get(task)
        if running is None:
            return
        try:
            self._tasks.attempt(task, run=running.run)
        except StoreError as e:
            self._give_back(task, e)

    def _let_go(self, wish: Stop | Yield) -> None:
        running = {task: r for task in wish.tasks if (r := self._running.get(task)) is not None}
        for task in running:
            self._drop(task)
        for task, r in running.items():
            self._tasks.release(task, run=r.run)
        if isinstance(wish, Stop):
            self._tasks.cancel(wish.job)

    def _give_back(self, task: TaskId, why: StoreError) -> None:
        self._drop(task)
        self._trio.run_sync_soon(self._returned, task, str(why))

    def _sink(self, batch: Batch) -> None:
        """In the collector thread: store first, tell afterwards."""
        running = self._running.get(batch.task)
        if running is None or running.run != batch.run:
            return
        if batch.started:
            self._note_start(running.start.job)
        running.analysed += batch.analysed_frames
        running.seconds += batch.seconds
        try:
            if batch.error is not None and batch.error.kind == "lost":
                self._drop(batch.task)
                self._tasks.release(batch.task, run=running.run)
                self._trio.run_sync_soon(self._wish, TaskReturned(batch.task))
                return
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
            if running.scores is not None:
                for d in (d for result in batch.results for d in result.detections):
                    running.scores[min(SCORE_BUCKETS - 1, int(d.score * SCORE_BUCKETS))] += 1
            if batch.error is not None and running.tries and batch.error.kind != "input":
                running.failed = batch.error
                self._engine.cancel(batch.task)
                self._trio.run_sync_soon(self._fall_back, running, events)
                return
            outcome = self._finish(batch, running) if batch.finished else None
        except StoreError as e:
            self._give_back(batch.task, e)
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
            notice = "; ".join(filter(None, (running.notice, batch.notice)))
            row = self._tasks.finish(batch.task, run=running.run, notice=notice)
        else:
            row = self._tasks.fail(batch.task, error.kind, error.message, run=running.run)
        return _outcome(row, scores=tuple(running.scores or ()))

    def _drop(self, task: TaskId) -> None:
        self._running.pop(task, None)
        self._engine.cancel(task)

    # ---- the trio thread ---------------------------------------------------------------------------------------------

    def _fall_back(self, running: _Running, events: list[Event]) -> None:
        """In turn with what the schedule wishes: it may have let go of the task meanwhile."""
        self._on_events(events)
        self._wish(running)

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


def _poisoned(row: TaskRow) -> str:
    return (
        f"it ended the process {row.attempts} times at frame {row.next_frame}, and is not run here again: look for a "
        "crash or a lack of memory in the log; a job with `fresh: true` tries anew"
    )


_INSTEAD = re.compile(r"from frame \d+ on without the candidate \((absent|model|host)\): ")


def _instead(kind: str, frame: int, why: str) -> str:
    return f"from frame {frame} on without the candidate ({kind}): {why}"


def _fallback(notice: str) -> Fallback:
    found = _INSTEAD.match(notice)
    kinds: dict[str, Fallback] = {"absent": "absent", "model": "model", "host": "host"}
    return kinds[found[1]] if found else ""


def _outcome(row: TaskRow, *, reused: bool = False, scores: tuple[int, ...] = ()) -> Outcome:
    kinds: dict[str, ErrorKind] = {"model": "model", "input": "input", "host": "host"}
    return Outcome(
        bytes.fromhex(row.task),
        row.state == "done",
        row.analysed,
        row.detections,
        round(row.seconds, 3),
        row.digest,
        row.run,
        kinds.get(row.error_kind, ""),
        row.error,
        row.notice,
        reused=reused,
        scores=scores,
        fallback=_fallback(row.notice),
    )
