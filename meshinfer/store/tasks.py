"""Tasks of this peer: how far each is, how often it was started, and what it came to.

Rules
 1. A start is on the disk before the work begins: a task that kills its process is counted.
 2. Progress and the events it stands for are one transaction: whatever is interrupted resumes at a frame whose
    predecessors are all stored, and (task, frame) is unique, so a frame that is analysed again adds nothing.
 3. Each start has a number, its `run`. What comes from a run that is no longer the current one changes nothing.
 4. `done` is never undone.
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
    """Number of its last start: `commit`, `finish`, `fail` and `release` must name it."""
    attempts: int
    """Starts that were not released: counts crashes of the process too."""
    next_frame: int
    """Where to resume: every frame before it is done with."""
    analysed: int
    detections: int
    seconds: float
    digest: str
    """Of its outputs, once done."""
    error_kind: str
    error: str
    captured: float | None
    updated: float


class TaskTable:
    """The tasks of the peer `own`."""

    def __init__(self, db: Database, own: PeerId) -> None:
        self._db = db
        self._own = own

    def begin(self, task: TaskId, job: JobId, entry: Entry) -> TaskRow:
        """Starts `task` (again) for `job`, and returns it with the frame to resume from.

        One that is done is returned as it is, now a task of `job` too: there is nothing to run.
        """
        now = self._db.wall()
        with self._db.transaction(durable=True) as c:
            c.execute(
                "INSERT OR IGNORE INTO tasks (task, job, content, source, entry, kind, state, captured, updated) "
                "VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?)",
                (task, job, entry.content, entry.source, entry.name, entry.kind, entry.captured, now),
            )
            c.execute(
                "INSERT INTO job_tasks (job, task) SELECT ?, id FROM tasks WHERE task = ? "
                "ON CONFLICT DO UPDATE SET cancelled = 0",
                (job, task),
            )
            # Events take their place from the task, so it is fixed with the first frame.
            c.execute(
                "UPDATE tasks SET source = ?, entry = ?, captured = ? "
                "WHERE task = ? AND next_frame = 0 AND detections = 0 AND state != 'done'",
                (entry.source, entry.name, entry.captured, task),
            )
            c.execute(
                "UPDATE tasks SET state = 'running', job = ?, run = run + 1, attempts = attempts + 1, error_kind = '', "
                "error = '', updated = ? WHERE task = ? AND state != 'done'",
                (job, now, task),
            )
            return _get(c, task)

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
                "UPDATE tasks SET next_frame = max(next_frame, ?), analysed = max(analysed, ?), "
                "seconds = max(seconds, ?), detections = detections + ?, updated = ? WHERE id = ?",
                (next_frame, analysed, seconds, sum(len(e.detections) for e in events), now, id_),
            )
            return events

    def finish(self, task: TaskId, *, run: int) -> TaskRow:
        """Done, with the digest of its outputs: equal on every peer that found the same."""
        with self._db.transaction(durable=True) as c:
            c.execute(
                "UPDATE tasks SET state = 'done', digest = ?, updated = ? "
                "WHERE task = ? AND run = ? AND state = 'running'",
                (_digest(c, task), self._db.wall(), task, run),
            )
            return _get(c, task)

    def fail(self, task: TaskId, kind: str, message: str, *, run: int) -> TaskRow:
        with self._db.transaction() as c:
            c.execute(
                "UPDATE tasks SET state = 'failed', error_kind = ?, error = ?, updated = ? "
                "WHERE task = ? AND run = ? AND state = 'running'",
                (kind, message[:MAX_ERROR], self._db.wall(), task, run),
            )
            return _get(c, task)

    def release(self, task: TaskId, *, run: int) -> TaskRow:
        """Stopped on purpose, to go on later: pending again, and the start is not held against it."""
        with self._db.transaction() as c:
            c.execute(
                "UPDATE tasks SET state = 'pending', attempts = attempts - 1, updated = ? "
                "WHERE task = ? AND run = ? AND state = 'running'",
                (self._db.wall(), task, run),
            )
            return _get(c, task)

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
        return sorted(TaskId(task) for (task,) in rows)

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
