"""The power fails: whatever had reached the disk by then, the file opens, and what was promised is there."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.model.logs import LogId
from meshinfer.store import Database, EventLog, KnownPeer, PeerTable, RecordTable, Stored, TaskTable

OWN = PeerId("12D3KooWGatU9DVpA8qU8qkp8pYzkPqZ8AjbCdHXGKEQPPzvJQ5T")
JOB = JobId("a" * 16)
ENTRY = Entry(ContentId("c" * 32), "dock", "a.mp4", "video", {}, 1000, 64, 48, 100, 10.0, 10.0)
FRAME = 24 + 4096
"""Bytes of one page in the log."""


class Moment(NamedTuple):
    """After a transaction returned: how long the log was, whether it had been synced, and what a reader saw."""

    log: int
    durable: bool
    state: Any
    seq: int
    """The highest that others may have seen."""


def found(frame: int) -> FrameResult:
    return FrameResult(frame, frame / 10, 64, 48, (Detection("person", 0.5, (0.0, 0.0, 1.0, float(frame))),))


def state_of(db: Database) -> Any:
    tasks = TaskTable(db, OWN)
    return (
        RecordTable(db).load(),
        [event.frame for event in EventLog(db, OWN).replay(0, limit=10_000)],
        [row._replace(updated=0.0) for row in tasks.of_job(JOB)],
        PeerTable(db).load(),
    )


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def work(db: Database) -> Iterator[tuple[bool, int]]:
    """What a peer writes in a while, one transaction at a time: whether it was promised to be on the disk, and the seq
    of the record that goes out with it.
    """
    records, tasks, peers = RecordTable(db), TaskTable(db, OWN), PeerTable(db)
    sent = 0
    for n in range(3):
        task = TaskId(f"{n:032x}")
        row = tasks.begin(task, JOB, ENTRY)
        yield False, sent
        tasks.attempt(task, run=row.run)
        yield True, sent
        for at in range(0, 12, 4):
            batch = [found(f) for f in range(at, at + 4)]
            tasks.commit(task, batch, run=row.run, next_frame=at + 4, analysed=at + 4, seconds=1.0)
            yield True, sent
        tasks.commit(task, [FrameResult(12, 1.2, 64, 48, ())], run=row.run, next_frame=13, analysed=13, seconds=2.0)
        yield False, sent
        tasks.finish(task, run=row.run)
        yield True, sent
        records.save(
            [Stored("other", 7, n + 1, "job", f"o{n}", b"o" * 500, 1.0)], vector={LogId(PeerId("other"), 7): n + 1}
        )
        yield False, sent
        seq = records.next_seq(2) + 1
        yield False, sent
        own = [Stored(OWN, 9, seq, "result", f"k{n}", b"r" * 3000, 1.0)]
        records.save(own, vector={LogId(OWN, 9): seq}, durable=True)
        sent = seq
        yield True, sent
        peers.save([KnownPeer(f"p{n}", ("/ip4/10.0.0.1/tcp/1",), float(n))])
        yield False, sent


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A store with something in it, all in the file itself."""
    path = tmp_path / "before.db"
    db = Database.open(path)
    PeerTable(db).save([KnownPeer("first", (), 0.0)])
    db.close()
    return path


def record(path: Path) -> list[Moment]:
    """Works in the store at `path`, whose log is never copied into the file; and then dies."""
    db = Database.open(path)
    with db.reading() as c:
        c.execute("PRAGMA wal_autocheckpoint = 0")
    moments = [Moment(0, True, state_of(db), 0)]
    for durable, sent in work(db):
        moments.append(Moment(log_of(path).stat().st_size, durable, state_of(db), sent))
    shutil.copy(log_of(path), path.with_name("log"))
    db.close()
    return moments


@contextmanager
def after_the_cut(folder: Path, file: bytes, log: bytes) -> Iterator[Database]:
    path = folder / "after.db"
    for old in folder.glob("after.db*"):
        old.unlink()
    path.write_bytes(file)
    log_of(path).write_bytes(log)
    db = Database.open(path)
    try:
        yield db
    finally:
        db.close()


def test_a_log_that_ends_anywhere(tmp_path: Path, before: Path) -> None:
    """Cut at every page and inside of it; what lies beyond is gone, zeroes, or what happened to be there."""
    file = before.read_bytes()
    moments = record(shutil.copy(before, tmp_path / "s.db"))
    log = (tmp_path / "log").read_bytes()
    assert sum(m.durable for m in moments) > 15
    rng = random.Random(1)
    cuts = [0, 16, *(end + inside for end in range(32, len(log), FRAME) for inside in (0, rng.randrange(1, FRAME)))]
    for cut in cuts:
        tail = rng.choice([b"", bytes(len(log) - cut), rng.randbytes(len(log) - cut)])
        held = [m for m in moments if m.log <= cut]
        with after_the_cut(tmp_path, file, log[:cut] + tail) as db:
            assert state_of(db) == held[-1].state, f"cut at {cut}"
            promised = [m for m in moments if m.durable and m.log <= cut][-1]
            assert RecordTable(db).next_seq() > promised.seq, "no number that others saw is given again"
            head = EventLog(db, OWN).head()
            assert head >= len(promised.state[1])
            assert [e.cursor.n for e in EventLog(db, OWN).replay(0, limit=10_000)] == list(range(1, head + 1))


def test_what_must_be_on_the_disk_is_synced(tmp_path: Path) -> None:
    """SQLite syncs a commit where it is told to; so it must be told for all that others see, and for nothing else."""
    db = Database.open(tmp_path / "s.db")
    levels: list[int] = []

    def note(statement: str) -> None:
        if statement == "COMMIT":
            levels.append(level[-1])
        elif statement.startswith("PRAGMA synchronous = "):
            level.append({"NORMAL": 1, "FULL": 2}[statement.rpartition(" ")[2]])

    level = [1]
    with db.reading() as c:
        assert c.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        c.set_trace_callback(note)
    promised = [durable for durable, _ in work(db)]
    assert levels == [2 if durable else 1 for durable in promised]
    with db.reading() as c:
        assert c.execute("PRAGMA synchronous").fetchone()[0] == 1
    db.close()


def test_a_copy_into_the_file_that_was_torn(tmp_path: Path, before: Path) -> None:
    """The log was synced before: any mixture of old and new pages, torn ones too, is mended from it."""
    old = before.read_bytes()
    moments = record(shutil.copy(before, tmp_path / "s.db"))  # closing copies all of the log
    new, log = (tmp_path / "s.db").read_bytes(), (tmp_path / "log").read_bytes()
    old += bytes(len(new) - len(old))
    for seed in range(40):
        rng = random.Random(seed)
        parts = range(0, len(new), 512)
        mixed = b"".join(rng.choice((old, new))[at : at + 512] for at in parts)
        with after_the_cut(tmp_path, mixed, log) as db:
            assert state_of(db) == moments[-1].state, f"seed {seed}"
