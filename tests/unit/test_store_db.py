"""The file itself: kill -9, damage, strangers, a full disk, many threads."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from meshinfer.errors import StoreError
from meshinfer.model.catalog import Entry, Unreadable
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.model.logs import LogId
from meshinfer.store import (
    Database,
    EventLog,
    FileTable,
    KnownPeer,
    PeerTable,
    RecordTable,
    Stored,
    StoreDamaged,
    StoreFull,
    TaskTable,
    faults,
)
from meshinfer.store.peers import MAX_PEERS

OWN = PeerId("12D3KooWGatU9DVpA8qU8qkp8pYzkPqZ8AjbCdHXGKEQPPzvJQ5T")
JOB = JobId("a" * 16)
TASK = TaskId("1" * 32)
ENTRY = Entry(ContentId("c" * 32), "dock", "a.mp4", "video", {}, 1000, 64, 48, 100, 10.0, 10.0)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = Database.open(tmp_path / "store.db")
    yield db
    db.close()


def record(origin: str = "P", seq: int = 1, key: str = "k", data: bytes = b"x") -> Stored:
    return Stored(origin, 7, seq, "job", key, data, 1.5)


COMMITTER = """
import sys
from pathlib import Path
from meshinfer.store import Database, RecordTable, TaskTable
from tests.unit.test_store_db import ENTRY, JOB, OWN, TASK, found

db = Database.open(Path(sys.argv[1]))
tasks, records = TaskTable(db, OWN), RecordTable(db)
row = tasks.begin(TASK, JOB, ENTRY)
tasks.attempt(TASK, run=row.run)
at = row.next_frame
while True:
    seq = records.next_seq()
    batch = [found(f) for f in range(at, at + 8)]
    at += 8
    tasks.commit(TASK, batch, run=row.run, next_frame=at, analysed=at, seconds=float(at))
    print(at, seq, flush=True)
"""


def found(frame: int) -> FrameResult:
    return FrameResult(frame, frame / 10, 64, 48, (Detection("person", 0.5, (0.0, 0.0, 1.0, 1.0)),))


def test_killed_in_the_middle_of_commits(tmp_path: Path) -> None:
    """SIGKILL three times: what was acknowledged is there, nothing is there twice, numbers never come back."""
    path = tmp_path / "store.db"
    root = Path(__file__).resolve().parents[2]
    acknowledged, last_seq = 0, 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", COMMITTER, str(path)], stdout=subprocess.PIPE, text=True, cwd=root
        ) as child:
            assert child.stdout is not None
            for _ in range(5):
                at, seq = map(int, child.stdout.readline().split())
                assert seq > last_seq
                acknowledged, last_seq = at, seq
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:  # what it still said before it died is acknowledged too
                if line.endswith("\n"):
                    acknowledged, last_seq = map(int, line.split())
        db = Database.open(path)
        row = TaskTable(db, OWN).get(TASK)
        events = EventLog(db, OWN).replay(0, limit=1_000_000)
        db.close()
        assert row is not None
        assert row.next_frame >= acknowledged
        assert row.state == "running"
        assert [e.frame for e in events] == list(range(row.next_frame))
        assert [e.cursor.n for e in events] == list(range(1, row.next_frame + 1))
    assert row is not None
    assert (row.run, row.attempts) == (3, 0), "it got further each time"


def test_incarnation_and_meta_survive(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = Database.open(path, wall=lambda: 1234.5678)
    assert first.incarnation == 1_234_567
    first.set_meta("a", "b")
    first.close()
    first.close()
    again = Database.open(path, wall=lambda: 9999.0)
    assert (again.incarnation, again.get_meta("a"), again.get_meta("c")) == (1_234_567, "b", None)
    assert path.stat().st_mode & 0o777 == 0o600
    again.close()


@pytest.mark.parametrize(
    "data", [b"this is a text file, not a database at all" * 100, b"\x00" * 5000, b"SQLite format 3\x00"]
)
def test_foreign_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"store\.db is damaged .*moves the file aside"):
        Database.open(path)
    assert path.read_bytes() == data


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as c:
        c.execute("CREATE TABLE theirs (x)")
    c.close()
    with pytest.raises(StoreError, match="another program"):
        Database.open(path)


def test_a_newer_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Database.open(path).close()
    with sqlite3.connect(path) as c:
        c.execute("PRAGMA user_version = 99")
    c.close()
    with pytest.raises(StoreError, match=r"newer meshinfer \(store version 99, .*upgrade"):
        Database.open(path)


def test_damaged_pages(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    db = Database.open(path)
    RecordTable(db).save(record(key=str(i), data=b"d" * 2000) for i in range(200))
    db.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40_000] = b"\xff" * 40_000
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"store\.db is damaged"):
        Database.open(path)


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot open the store .*nowhere"):
        Database.open(tmp_path / "nowhere" / "store.db")
    with pytest.raises(StoreError, match="cannot open the store"):
        Database.open(tmp_path)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (sqlite3.SQLITE_FULL, StoreFull, "free some disk space"),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreDamaged, "is damaged"),
        (sqlite3.SQLITE_IOERR_SHORT_READ, StoreDamaged, "is damaged"),
        (sqlite3.SQLITE_IOERR_WRITE, StoreError, "the disk failed under .*see the system's log"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StoreError, "check the permissions .*mounted read-only"),
        (sqlite3.SQLITE_CANTOPEN, StoreError, "check the permissions .*mounted read-only"),
        (sqlite3.SQLITE_BUSY, StoreError, "another process holds"),
        (sqlite3.SQLITE_ERROR, StoreError, "failed: details"),
    ],
)
def test_what_sqlite_complains_of_is_said_with_its_cause(
    tmp_path: Path, code: int, kind: type[StoreError], said: str
) -> None:
    error = sqlite3.OperationalError("details")
    error.sqlite_errorcode = code
    path = tmp_path / "store.db"
    path.touch()
    explained = faults.explained(error, path)
    assert type(explained) is kind
    assert re.search(said, str(explained))


def test_a_full_disk_stops_writing_only(db: Database) -> None:
    records = RecordTable(db)
    records.save([record(data=b"kept")])
    with db.reading() as c:
        pages = c.execute("PRAGMA page_count").fetchone()[0]
        c.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreFull, match=r"store\.db.*free some disk space"):
        records.save(record(key=str(i), data=b"d" * 3000) for i in range(50))
    assert [r.data for r in records.load()[0]] == [b"kept"], "all or nothing, and still readable"
    with db.reading() as c:
        c.execute(f"PRAGMA max_page_count = {pages + 1000}")
    records.save(record(key=str(i), data=b"d" * 3000) for i in range(50))
    assert len(records.load()[0]) == 51, "with room again it goes on"


def test_an_error_in_the_middle_changes_nothing(db: Database) -> None:
    with suppress(KeyError), db.transaction() as c:
        c.execute("INSERT INTO meta VALUES ('half', 'done')")
        raise KeyError
    assert db.get_meta("half") is None
    with pytest.raises(StoreError, match="too large"):
        RecordTable(db).save([record(seq=2**64)])
    db.set_meta("a", "b")


def test_records_live_replaced_and_removed(db: Database) -> None:
    records = RecordTable(db)
    p, of_job, q = LogId(PeerId("P"), 7), LogId(PeerId("P"), 7, JOB), LogId(PeerId("Q"), 7)
    records.save([record(seq=1), record(seq=2, key="l"), record("Q", 1)], vector={p: 2, of_job: 4, q: 1})
    records.save([record(seq=3, data=b"new")], removed=[("P", "job", "l")], vector={p: 3, q: 0})
    live, vector = records.load()
    assert [(r.origin, r.seq, r.data) for r in live] == [("P", 3, b"new"), ("Q", 1, b"x")]
    assert vector == {p: 3, of_job: 4}


def test_seq_only_grows(db: Database) -> None:
    records = RecordTable(db)
    assert [records.next_seq(), records.next_seq(5), records.next_seq()] == [1, 2, 7]
    with pytest.raises(ValueError, match="at least 1"):
        records.next_seq(0)


def test_each_log_has_its_own_numbers_until_its_job_is_over(db: Database) -> None:
    records = RecordTable(db)
    assert records.take_seqs({None: 2, JOB: 3}) == {None: 1, JOB: 1}
    assert records.take_seqs({None: 1, JOB: 1}) == {None: 3, JOB: 4}
    records.save(over=[JOB])
    with db.reading() as c:
        assert c.execute("SELECT name FROM counters WHERE name LIKE 'seq%'").fetchall() == [("seq",)]


def test_a_store_of_the_first_version_goes_on(tmp_path: Path) -> None:
    """One log for everything: no number that was given comes again, in any log."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as c:
        c.executescript((Path(__file__).parent / "store_v1.sql").read_text())
        c.executescript(
            f"""DELETE FROM vectors; DELETE FROM records; UPDATE counters SET n = 9 WHERE name = 'seq';
            INSERT INTO vectors VALUES ('P', 7, 9);
            INSERT INTO records VALUES ('P', 7, 9, 'claim', '{JOB}', x'00', 1.0),
              ('P', 7, 5, 'result', '{JOB}/00', x'00', 1.0), ('P', 7, 1, 'peer', '', x'00', 1.0)"""
        )
    db = Database.open(path)
    records = RecordTable(db)
    live, vector = records.load()
    assert len(live) == 3
    assert vector == {LogId(PeerId("P"), 7): 9}
    assert records.take_seqs({None: 1, JOB: 1, JobId("f" * 16): 1}) == {None: 10, JOB: 10, JobId("f" * 16): 1}
    db.close()


def test_a_renewed_store_is_newer_than_asked_for_and_stays_so(tmp_path: Path) -> None:
    db = Database.open(tmp_path / "a.db", wall=lambda: 5.0)
    assert db.incarnation == 5000
    assert db.renew_incarnation(9000) == db.incarnation == 9000
    assert db.renew_incarnation(1) == 9001
    db.close()
    again = Database.open(tmp_path / "a.db")
    assert again.incarnation == 9001
    again.close()


def test_threads_share_one_store(db: Database) -> None:
    records = RecordTable(db)
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.extend(records.next_seq() for _ in range(25))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == list(range(1, 101))


def test_known_files(db: Database) -> None:
    files = FileTable(db)
    broken = Unreadable("dock", "b.mp4", "no video in it")
    files.put([(1000, 5, ENTRY), (3, 6, broken)])
    assert files.load("dock") == {"a.mp4": (1000, 5, ENTRY), "b.mp4": (3, 6, broken)}
    assert files.load("gate") == {}
    with db.transaction() as c:
        c.execute("UPDATE files SET entry = x'00' WHERE name = 'a.mp4'")
    assert list(files.load("dock")) == ["b.mp4"], "a row that is not understood is a file not known"
    files.drop("dock", ["a.mp4", "b.mp4"])
    assert files.load("dock") == {}


def test_known_peers_are_bounded(db: Database) -> None:
    peers = PeerTable(db)
    peers.save(KnownPeer(f"p{i}", (f"/ip4/10.0.0.1/tcp/{i}",), float(i)) for i in range(MAX_PEERS + 10))
    known = peers.load()
    assert len(known) == MAX_PEERS
    assert known[0] == KnownPeer("p521", ("/ip4/10.0.0.1/tcp/521",), 521.0)
    assert known[-1].peer == "p10"
    peers.forget("p521")
    assert peers.load()[0].peer == "p520"
