"""The disk is full, at every write there is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from meshinfer.errors import StoreError
from meshinfer.model.ids import JobId, TaskId
from meshinfer.model.logs import LogId
from meshinfer.store import (
    Database,
    FileTable,
    KnownPeer,
    PeerTable,
    RecordTable,
    StoreFull,
    TaskTable,
    open_healed,
)
from tests.unit.stores import JOB, OWN, TASKS, WHOLE, entry, fill, found, job_record, results


def test_a_full_disk_at_every_write(tmp_path: Path) -> None:
    """With 0, 1, 2... pages left: each write is done whole or not at all, reading goes on; with room it succeeds."""
    db = fill(tmp_path / "s.db")
    tasks, records = TaskTable(db, OWN), RecordTable(db)
    many = [found(frame, 1) for frame in range(100, 200)]
    row = tasks.begin(TaskId("e" * 32), JOB, entry(50))
    first = tasks.get(TASKS[-1])
    assert first is not None
    said = [job_record(n, "result") for n in range(1000, 1100)]
    writes: list[Callable[[], object]] = [
        lambda: tasks.begin(TaskId("d" * 32), JobId("b" * 16), entry(1000)),
        lambda: tasks.commit(row.task, many, run=row.run, next_frame=200, analysed=100, seconds=1.0),
        lambda: tasks.finish(row.task, run=row.run),
        lambda: tasks.fail(first.task, "input", "x" * 500, run=first.run),
        lambda: tasks.cancel(JOB),
        lambda: records.next_seq(),
        lambda: records.save(said, vector={LogId(OWN, 7): 9}, durable=True),
        lambda: FileTable(db).put([(1000, 5, entry(n)) for n in range(100, 300)]),
        lambda: PeerTable(db).save([KnownPeer(f"q{n}", ("/ip4/10.0.0.1/tcp/1",) * 9, 1.0) for n in range(100)]),
        lambda: db.renew_incarnation(),
    ]
    failures = 0
    for write in writes:
        for spare in range(100):
            before = dump(db)
            with db.reading() as c:
                pages = c.execute("PRAGMA page_count").fetchone()[0]
                c.execute(f"PRAGMA max_page_count = {pages + spare}")
            try:
                write()
                break
            except StoreFull:
                failures += 1
                assert dump(db) == before
        else:
            raise AssertionError("never enough room")
    assert failures > 20
    with db.reading() as c:
        assert c.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.damage is None
    db.close()


def dump(db: Database) -> list[str]:
    with db.reading() as c:
        return list(c.iterdump())


def test_no_room_for_a_new_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number cannot be written down: no store is made under it."""

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    fill(tmp_path / "t.db").close()
    (tmp_path / "incarnation").unlink()
    monkeypatch.setattr("meshinfer.store.incarnation.write_durably", full)
    with pytest.raises(StoreError, match="incarnation: No space left"):
        open_healed(tmp_path / "s.db")
    with closing(open_healed(tmp_path / "t.db")) as db:
        assert results(db) == WHOLE, "one that is there is served without"
