"""Tasks of this peer: how far each is, how often it was begun in vain, and what it came to.

Rules
 1. A beginning is on the disk before the work begins, and is taken back once the process has outlived it: a task that
    kills its process is counted, one that merely waits, is stopped or finds the disk full is not.
 2. Progress and the events it stands for are one transaction: whatever is interrupted resumes at a frame whose
    predecessors are all stored, and (task, frame) is unique, so a frame that is analysed again adds nothing.
 3. Each start has a number, its `run`. What comes from a run that is no longer the current one changes nothing.
 4. `done` is never undone.
 5. A task may serve several jobs: what is asked by job goes through `job_tasks`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from meshinfer.errors import StoreError
from meshinfer.model.catalog import Entry, Kind
from meshinfer.model.detection import Cursor, Event, FrameResult
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.store.db import Database

TaskState = Literal["pending", "running", "done", "failed", "cancelled"]

MAX_ERROR: Final = 512

MAX_ATTEMPTS: Final = 3
"""Processes that may end under a task before it gets any further: the first may have been another task's doing or a
kill from outside; in the others it ran alone."""

_encode = msgspec.msgpack.encode


class TaskRow(NamedTuple):
    """One task as it stands."""

    task: TaskId
    job: JobId
    """The job it was last started for; the asked one in `of_job`."""
    content: ContentId
    source: str
    entry: str
    """The file's name when its first frame was analysed."""
    kind: Kind
    state: TaskState
    run: int
    """Number of its last start: `attempt`, `commit`, `finish`, `fail` and `release` must name it."""
    attempts: int
    """Beginnings since it last got further whose process has ended, or that are under way."""
    first: int
    """The first frame of its span."""
    stop: int | None
    """The first frame after it; None: it goes to the end of the file."""
    next_frame: int
    """Where to resume: every frame before it is done with."""
    analysed: int
    detections: int
    seconds: float
    digest: str
    """Of its outputs, once done."""
    notice: str
    """What the user should know of it though it is done, such as that its file was cut off."""
    error_kind: str
    error: str
    captured: float | None
    updated: float


class TaskTable:
    """The tasks of the peer `own`."""

    def __init__(self, db: Database, own: PeerId) -> None:
        self._db = db
        self._own = own
        self._attempted: set[TaskId] = set()
        """Tasks whose last beginning counts, and was in this process: as this runs, it has not ended it."""

    def begin(self, task: TaskId, job: JobId, entry: Entry, first: int = 0, stop: int | None = None) -> TaskRow:
        """Starts the task of frames [first, stop) (again) for `job`, and returns it with the frame to resume from.

        One that is done is returned as it is, now a task of `job` too: there is nothing to run. Events carry the job
        that it was started for last.
        """
        now = self._db.wall()
        with self._db.transaction() as c:
            c.execute(
                "INSERT OR IGNORE INTO tasks "
                "(task, job, content, source, entry, kind, state, captured, first, stop, next_frame, updated) "
                "VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?)",
                (
                    task,
                    job,
                    entry.content,
                    entry.source,
                    entry.name,
                    entry.kind,
                    entry.captured,
                    first,
                    stop,
                    first,
                    now,
                ),
            )
            c.execute(
                "INSERT INTO job_tasks (job, task) SELECT ?, id FROM tasks WHERE task = ? "
                "ON CONFLICT DO UPDATE SET cancelled = 0",
                (job, task),
            )
            # Events take their place from the task, so it is fixed with the first frame.
            c.execute(
                "UPDATE tasks SET source = ?, entry = ?, captured = ? "
                "WHERE task = ? AND next_frame = first AND detections = 0 AND state != 'done'",
                (entry.source, entry.name, entry.captured, task),
            )
            self._take_back(c, task)
            c.execute(
                "UPDATE tasks SET state = 'running', job = ?, run = run + 1, error_kind = '', error = '', updated = ? "
                "WHERE task = ? AND state != 'done'",
                (job, now, task),
            )
            row = _get(c, task)
        self._attempted.discard(task)
        return row

    def attempt(self, task: TaskId, *, run: int) -> None:
        """The work begins now: should the process not outlive it, the next one knows."""
        with self._db.transaction(durable=True) as c:
            counted = c.execute(
                "UPDATE tasks SET attempts = attempts + 1 WHERE task = ? AND run = ? AND state = 'running'", (task, run)
            ).rowcount
        if counted:
            self._attempted.add(task)

    def _take_back(self, c: sqlite3.Connection, task: TaskId) -> None:
        """What this process has begun has not ended it. Once it is committed, `_attempted` forgets the task."""
        if task in self._attempted:
            c.execute("UPDATE tasks SET attempts = max(0, attempts - 1) WHERE task = ?", (task,))

    def commit(
        self, task: TaskId, results: Sequence[FrameResult], *, run: int, next_frame: int, analysed: int, seconds: float
    ) -> list[Event] | None:
        """Stores an event for each frame that has detections and is not stored yet, and returns those events.

        `next_frame`, `analysed` and `seconds` are totals of the task, not of this call; they never move back.
        None where `run` no longer counts: nothing was stored, the run should stop.
        """
        now = self._db.wall()
        with self._db.transaction(durable=any(r.detections for r in results)) as c:
            row = c.execute(
                "SELECT id, job, content, source, entry, captured FROM tasks "
                "WHERE task = ? AND run = ? AND state = 'running'",
                (task, run),
            ).fetchone()
            if row is None:
                return None
            id_, job, content, source, entry, captured = row
            head = c.execute("SELECT n FROM counters WHERE name = 'event'").fetchone()[0]
            events: list[Event] = []
            for r in results:
                if not r.detections:
                    continue
                n = head + len(events) + 1
                added = c.execute(
                    "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (n, id_, r.frame, job, r.t, r.width, r.height, _encode(r.detections), now),
                ).rowcount
                if added:
                    wall = None if captured is None else captured + r.t
                    cursor = Cursor(self._own, self._db.incarnation, n)
                    events.append(
                        Event(
                            cursor,
                            job,
                            task,
                            source,
                            entry,
                            content,
                            r.frame,
                            r.t,
                            r.width,
                            r.height,
                            r.detections,
                            wall,
                        )
                    )
            if events:
                c.execute("UPDATE counters SET n = ? WHERE name = 'event'", (head + len(events),))
            c.execute(
                "UPDATE tasks SET attempts = CASE WHEN ?1 > next_frame THEN 0 ELSE attempts END, "
                "next_frame = max(next_frame, ?1), analysed = max(analysed, ?2), seconds = max(seconds, ?3), "
                "detections = detections + ?4, updated = ?5 WHERE id = ?6",
                (next_frame, analysed, seconds, sum(len(e.detections) for e in events), now, id_),
            )
        return events

    def finish(self, task: TaskId, *, run: int, notice: str = "") -> TaskRow:
        """Done, with the digest of its outputs: equal on every peer that found the same."""
        with self._db.transaction(durable=True) as c:
            c.execute(
                "UPDATE tasks SET state = 'done', digest = ?, notice = ?, updated = ? "
                "WHERE task = ? AND run = ? AND state = 'running'",
                (_digest(c, task), notice[:MAX_ERROR], self._db.wall(), task, run),
            )
            row = _get(c, task)
        self._attempted.discard(task)
        return row

    def fail(self, task: TaskId, kind: str, message: str, *, run: int) -> TaskRow:
        return self._stop(task, run, "failed", kind, message[:MAX_ERROR])

    def release(self, task: TaskId, *, run: int) -> TaskRow:
        """Stopped on purpose, to go on later: pending again."""
        return self._stop(task, run, "pending", "", "")

    def _stop(self, task: TaskId, run: int, state: TaskState, kind: str, message: str) -> TaskRow:
        with self._db.transaction() as c:
            stopped = c.execute(
                "UPDATE tasks SET state = ?, error_kind = ?, error = ?, updated = ? "
                "WHERE task = ? AND run = ? AND state = 'running'",
                (state, kind, message, self._db.wall(), task, run),
            ).rowcount
            if stopped:
                self._take_back(c, task)
            row = _get(c, task)
        if stopped:
            self._attempted.discard(task)
        return row

    def cancel(self, job: JobId) -> list[TaskId]:
        """Cancels what is unfinished and serves no other job; returns those tasks."""
        with self._db.transaction() as c:
            c.execute("UPDATE job_tasks SET cancelled = 1 WHERE job = ?", (job,))
            rows = c.execute(
                "UPDATE tasks SET state = 'cancelled', updated = ? WHERE state IN ('pending', 'running') "
                "AND id IN (SELECT task FROM job_tasks WHERE job = ?) "
                "AND NOT EXISTS (SELECT 1 FROM job_tasks l WHERE l.task = tasks.id AND l.cancelled = 0) RETURNING task",
                (self._db.wall(), job),
            ).fetchall()
            cancelled = sorted(TaskId(task) for (task,) in rows)
            for task in cancelled:
                self._take_back(c, task)
        self._attempted.difference_update(cancelled)
        return cancelled

    def get(self, task: TaskId) -> TaskRow | None:
        with self._db.reading() as c:
            row = c.execute("SELECT * FROM task_rows WHERE task = ?", (task,)).fetchone()
        return None if row is None else _row(row)

    def of_job(self, job: JobId) -> list[TaskRow]:
        """By source, entry, task."""
        with self._db.reading() as c:
            rows = c.execute(
                "SELECT r.* FROM job_tasks l JOIN task_rows r ON r.id = l.task WHERE l.job = ? "
                "ORDER BY r.source, r.entry, r.task",
                (job,),
            ).fetchall()
        return [_row(row)._replace(job=job) for row in rows]

    def unfinished(self) -> list[TaskRow]:
        """Pending, and running: at a start, those that the last process left behind. First started first."""
        with self._db.reading() as c:
            rows = c.execute("SELECT * FROM task_rows WHERE state IN ('pending', 'running') ORDER BY id").fetchall()
        return [_row(row) for row in rows]


def _row(columns: tuple[Any, ...]) -> TaskRow:
    return TaskRow(*columns[1:])


def _get(c: sqlite3.Connection, task: TaskId) -> TaskRow:
    row = c.execute("SELECT * FROM task_rows WHERE task = ?", (task,)).fetchone()
    if row is None:
        raise StoreError(f"task {task} was never begun on this peer")
    return _row(row)


def _digest(c: sqlite3.Connection, task: TaskId) -> str:
    """32 hex digits over frame, size and detections of each event, in the order of frames: not over who found them."""
    h = hashlib.sha256()
    for frame, width, height, detections in c.execute(
        "SELECT frame, width, height, detections FROM event_rows WHERE task = ? ORDER BY frame",
        (task,),
    ):
        h.update(b"%d %d %d %d:" % (frame, width, height, len(detections)))
        h.update(detections)
    return h.hexdigest()[:32]
