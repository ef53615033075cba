"""A store of an older version, as its own code wrote it, becomes one of this version; what it knew stays."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from meshinfer.errors import StoreError
from meshinfer.model.catalog import Entry
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.store import Database, EventLog, FileTable, TaskTable
from meshinfer.store.schema import STEPS, VERSION

OWN = PeerId("12D3KooWGatU9DVpA8qU8qkp8pYzkPqZ8AjbCdHXGKEQPPzvJQ5T")
OLD, NEW = JobId("a" * 16), JobId("b" * 16)
ENTRY = Entry(ContentId("c" * 32), "dock", "a.mp4", "video", {}, 1000, 64, 48, 100, 10.0, 10.0)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as c:
        c.executescript((Path(__file__).parent / "store_v1.sql").read_text())
    c.close()
    return path


def test_what_it_knew_is_history(old: Path) -> None:
    db = Database.open(old)
    tasks, log = TaskTable(db, OWN), EventLog(db, OWN)
    assert (db.incarnation, db.get_meta("a")) == (1_780_000_000_000, "b")
    assert [(r.task, r.state, r.attempts, r.first, r.stop, r.next_frame, r.detections) for r in tasks.of_job(OLD)] == [
        ("1" * 32, "done", 0, 0, None, 100, 2),
        ("2" * 32, "running", 0, 0, None, 4, 1),
    ]
    assert [(e.cursor.n, e.task[0], e.frame) for e in log.of_tasks(OLD, limit=9)] == [
        (1, "1", 0),
        (2, "1", 7),
        (3, "2", 3),
    ]
    assert FileTable(db).load("dock") == {"a.mp4": (1000, 5, ENTRY)}
    row = tasks.begin(TaskId("3" * 32), NEW, ENTRY, 750, 1500)
    assert (row.first, row.stop, row.next_frame) == (750, 1500, 750)
    db.close()
    Database.open(old).close()


def test_it_is_then_like_a_new_one(old: Path, tmp_path: Path) -> None:
    Database.open(old).close()
    Database.open(tmp_path / "new.db").close()
    assert shape(old) == shape(tmp_path / "new.db")


def test_a_step_that_fails_leaves_it_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, 1, ("DROP VIEW task_rows", "no"))
    before = shape(old)
    with pytest.raises(StoreError, match="syntax error"):
        Database.open(old)
    assert shape(old) == before


def shape(path: Path) -> tuple[int, dict[str, object]]:
    """The version, the columns of each table, and what else there is."""
    with sqlite3.connect(path) as c:
        names = c.execute("SELECT name, type, sql FROM sqlite_master ORDER BY name").fetchall()
        made = {
            name: sorted(row[1:] for row in c.execute(f"PRAGMA table_info({name})")) if kind == "table" else sql
            for name, kind, sql in names
        }
        version = c.execute("PRAGMA user_version").fetchone()[0]
    c.close()
    assert version in (1, VERSION)
    return version, made
