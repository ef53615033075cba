"""The tables, in one place. A change here raises `VERSION` and adds the step that leads to it."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x6D696E66
"""In the file's header, so that a database of another program is told apart ("minf")."""

VERSION: Final = 2

_TASK_ROWS: Final = """CREATE VIEW task_rows AS SELECT
    id, task, job, content, source, entry, kind, state, run, attempts, first, stop, next_frame, analysed, detections,
    seconds, digest, notice, error_kind, error, captured, updated FROM tasks"""

SCHEMA: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # Numbers that only grow: `seq` of own records, `seq/<job>` of those in a job's log, `event` of own events.
    "CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO counters VALUES ('seq', 0), ('event', 0)",
    # Live records only: a newer one with the same key replaces the older.
    """CREATE TABLE records (
        origin TEXT NOT NULL, incarnation INTEGER NOT NULL, seq INTEGER NOT NULL,
        kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL, heard REAL NOT NULL,
        PRIMARY KEY (origin, kind, key))""",
    # How far each log was seen without a gap; `job` is empty for the log that all keep.
    """CREATE TABLE vectors (
        origin TEXT NOT NULL, incarnation INTEGER NOT NULL, job TEXT NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (origin, incarnation, job)) WITHOUT ROWID""",
    """CREATE TABLE tasks (
        id INTEGER PRIMARY KEY, task TEXT NOT NULL UNIQUE, job TEXT NOT NULL, content TEXT NOT NULL,
        source TEXT NOT NULL, entry TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
        run INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, next_frame INTEGER NOT NULL DEFAULT 0,
        analysed INTEGER NOT NULL DEFAULT 0, detections INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0,
        digest TEXT NOT NULL DEFAULT '', error_kind TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
        captured REAL, updated REAL NOT NULL, first INTEGER NOT NULL DEFAULT 0, stop INTEGER,
        notice TEXT NOT NULL DEFAULT '')""",
    "CREATE INDEX tasks_unfinished ON tasks (state) WHERE state IN ('pending', 'running')",
    # Which jobs a task serves: equal work has an equal task id, whichever job asks for it.
    """CREATE TABLE job_tasks (
        job TEXT NOT NULL, task INTEGER NOT NULL REFERENCES tasks (id), cancelled INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (job, task)) WITHOUT ROWID""",
    "CREATE INDEX job_tasks_by_task ON job_tasks (task)",
    # (task, frame) is what an event is; n is only its place in the log.
    """CREATE TABLE events (
        n INTEGER PRIMARY KEY, task INTEGER NOT NULL REFERENCES tasks (id), frame INTEGER NOT NULL,
        job TEXT NOT NULL, t REAL NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
        detections BLOB NOT NULL, recorded REAL NOT NULL, UNIQUE (task, frame))""",
    "CREATE INDEX events_recorded ON events (recorded)",
    # What `TaskRow` and `Event` are made of, behind the ids they are found by.
    _TASK_ROWS,
    """CREATE VIEW event_rows AS SELECT
        t.id, e.n, e.job, t.task, t.source, t.entry, t.content, e.frame, e.t, e.width, e.height,
        e.detections, t.captured FROM events e JOIN tasks t ON t.id = e.task""",
    """CREATE TABLE files (
        source TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        entry BLOB, reason TEXT, PRIMARY KEY (source, name)) WITHOUT ROWID""",
    "CREATE TABLE peers (peer TEXT PRIMARY KEY, addresses TEXT NOT NULL, last_seen REAL NOT NULL) WITHOUT ROWID",
)

STEPS: Final = {
    1: (
        # Tasks were whole files, attempts all starts. What was unfinished stays as it was: its task is no part of any
        # job as jobs are cut now.
        "ALTER TABLE tasks ADD COLUMN first INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE tasks ADD COLUMN stop INTEGER",
        "ALTER TABLE tasks ADD COLUMN notice TEXT NOT NULL DEFAULT ''",
        "UPDATE tasks SET attempts = 0",
        "DROP VIEW task_rows",
        _TASK_ROWS,
        # Each job has a log. Their numbers go on above what the one log had given; what was seen comes with a sync.
        "ALTER TABLE vectors RENAME TO vectors_1",
        next(statement for statement in SCHEMA if "CREATE TABLE vectors" in statement),
        "INSERT INTO vectors SELECT origin, incarnation, '', n FROM vectors_1",
        "DROP TABLE vectors_1",
        """INSERT INTO counters SELECT 'seq/' || substr(key, 1, 16), max(seq) FROM records
            WHERE kind IN ('manifest', 'claim', 'result') GROUP BY substr(key, 1, 16)""",
    ),
}
"""Version -> the statements that lead from it to the next one."""
