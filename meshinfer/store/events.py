"""The log of what this peer detected: by cursor for subscribers, by place for results."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from meshinfer.model.detection import Cursor, Detection, Event
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.store.db import Database

_decode = msgspec.msgpack.Decoder(tuple[Detection, ...]).decode


class ResultKey(NamedTuple):
    """A place in a job's results, which are ordered by it."""

    source: str
    entry: str
    task: str
    """Tells two files apart that had one name, one after the other."""
    frame: int


def result_key(event: Event) -> ResultKey:
    return ResultKey(event.source, event.entry, event.task, event.frame)


class EventLog:
    """The events of the peer `own`. They are numbered from 1 without gaps, and never change."""

    def __init__(self, db: Database, own: PeerId) -> None:
        self._db = db
        self._own = own

    def head(self) -> int:
        """n of the last event; 0 where there is none."""
        with self._db.reading() as c:
            return _head(c)

    def replay(self, after: int, *, limit: int, job: JobId | None = None, until: int | None = None) -> list[Event]:
        """Up to `limit` events with after < n <= until, in the order of n; of one job, or of all."""
        last = 2**63 - 1 if until is None else until
        with self._db.reading() as c:
            if job is None:
                rows = c.execute(
                    "SELECT * FROM event_rows WHERE n > ? AND n <= ? ORDER BY n LIMIT ?", (after, last, limit)
                ).fetchall()
            else:
                # The plus keeps SQLite on the walk along n, which ends with the page; by task it would sort the job.
                rows = c.execute(
                    "SELECT * FROM event_rows WHERE n > ? AND n <= ? "
                    "AND +id IN (SELECT task FROM job_tasks WHERE job = ?) ORDER BY n LIMIT ?",
                    (after, last, job, limit),
                ).fetchall()
        return self._events(rows, job)

    def first_since(self, wall: float) -> int:
        """n before the first event recorded at or after `wall` (Unix seconds): replay after it to get those.

        Where the clock was set back in between, this includes too much rather than too little.
        """
        with self._db.reading() as c:
            first = c.execute("SELECT min(n) FROM events WHERE recorded >= ?", (wall,)).fetchone()[0]
            return _head(c) if first is None else int(first) - 1

    def of_tasks(
        self, job: JobId, tasks: Collection[TaskId] | None = None, *, after: ResultKey | None = None, limit: int
    ) -> list[Event]:
        """Up to `limit` events of a job (all its tasks, or `tasks`), ordered by `ResultKey`, after the given one."""
        wanted = None if tasks is None else frozenset(tasks)
        place = ("", "", "") if after is None else (after.source, after.entry, after.task)
        found: list[tuple[Any, ...]] = []
        with self._db.reading() as c:
            of_job = c.execute(
                "SELECT t.id, t.source, t.entry, t.task FROM job_tasks l JOIN tasks t ON t.id = l.task "
                "WHERE l.job = ? AND (t.source, t.entry, t.task) >= (?, ?, ?) ORDER BY t.source, t.entry, t.task",
                (job, *place),
            ).fetchall()
            for id_, source, entry, task in of_job:
                if wanted is not None and task not in wanted:
                    continue
                resumed = after is not None and (source, entry, task) == place
                found += c.execute(
                    "SELECT * FROM event_rows WHERE id = ? AND frame > ? ORDER BY frame LIMIT ?",
                    (id_, after.frame if after is not None and resumed else -1, limit - len(found)),
                ).fetchall()
                if len(found) >= limit:
                    break
        return self._events(found, job)

    def count(self, job: JobId) -> int:
        """Events of a job."""
        with self._db.reading() as c:
            row = c.execute(
                "SELECT count(*) FROM job_tasks l JOIN events e ON e.task = l.task WHERE l.job = ?", (job,)
            ).fetchone()
        return int(row[0])

    def _events(self, rows: list[tuple[Any, ...]], job: JobId | None) -> list[Event]:
        return [self._event(job, *row[1:]) for row in rows]

    def _event(
        self,
        asked: JobId | None,
        n: int,
        job: JobId,
        task: TaskId,
        source: str,
        entry: str,
        content: ContentId,
        frame: int,
        t: float,
        width: int,
        height: int,
        detections: bytes,
        captured: float | None,
    ) -> Event:
        cursor = Cursor(self._own, self._db.incarnation, n)
        try:
            wall = None if captured is None else captured + t
            found = _decode(detections)
        except (msgspec.MsgspecError, ValueError, TypeError) as e:
            raise self._db.found_damaged(f"event {n}: {e}") from e
        return Event(cursor, asked or job, task, source, entry, content, frame, t, width, height, found, wall)


def _head(c: sqlite3.Connection) -> int:
    return int(c.execute("SELECT n FROM counters WHERE name = 'event'").fetchone()[0])
