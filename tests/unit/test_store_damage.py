"""Damage is found, moved aside and healed; what was sound in it is kept, and the mesh sees a new store."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from meshinfer.errors import StoreDamaged, StoreError, StoreRefused
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.store import (
    Database,
    EventLog,
    FileTable,
    KnownPeer,
    PeerTable,
    RecordTable,
    Stored,
    StoreFull,
    TaskTable,
    open_healed,
)
from meshinfer.store import heal as heal_module
from meshinfer.store.db import suspicion
from meshinfer.store.salvage import salvage

OWN = PeerId("12D3KooWGatU9DVpA8qU8qkp8pYzkPqZ8AjbCdHXGKEQPPzvJQ5T")
JOB = JobId("a" * 16)
TASKS = [TaskId(f"{n:032x}") for n in range(1, 9)]
PAGE = 4096
NOON = 1_800_000_000.0


def entry(n: int) -> Entry:
    return Entry(ContentId(f"{n:032x}"), "dock", f"{n}.mp4", "video", {}, 1000, 64, 48, 100, 10.0, 10.0)


def found(frame: int, n: int) -> FrameResult:
    boxes = tuple(Detection("person", 0.5, (0.0, float(n), 1.0, float(frame))) for _ in range(8))
    return FrameResult(frame, frame / 10, 64, 48, boxes)


def job_record(n: int, kind: str = "job") -> Stored:
    return Stored(OWN, 7, n, kind, f"{kind}{n}", b"j" * 700, 1.0)


def fill(path: Path, *, wall: float = NOON) -> Database:
    """Seven finished tasks with 15 events each, one that is under way, jobs, cancels and other records."""
    db = Database.open(path, wall=lambda: wall)
    tasks = TaskTable(db, OWN)
    for n, task in enumerate(TASKS, 1):
        row = tasks.begin(task, JOB, entry(n))
        frames = [found(frame, n) for frame in range(15)]
        tasks.commit(task, frames, run=row.run, next_frame=15, analysed=15, seconds=1.0)
        if task != TASKS[-1]:
            tasks.finish(task, run=row.run)
    kinds = ("job", "cancel", "result")
    RecordTable(db).save(job_record(n, kinds[n % 3]) for n in range(1, 31))
    PeerTable(db).save([KnownPeer("p", ("/ip4/10.0.0.1/tcp/1",), 1.0)])
    FileTable(db).put([(1000, 5, entry(1))])
    return db


def results(db: Database) -> dict[TaskId, list[FrameResult]]:
    """What finished tasks found."""
    done = {row.task for row in TaskTable(db, OWN).of_job(JOB) if row.state == "done"}
    events = EventLog(db, OWN).of_tasks(JOB, done, limit=10_000)
    by_task: dict[TaskId, list[FrameResult]] = {task: [] for task in done}
    for e in events:
        by_task[e.task].append(FrameResult(e.frame, e.t, e.width, e.height, e.detections))
    return by_task


WHOLE = {task: [found(frame, n) for frame in range(15)] for n, task in enumerate(TASKS[:-1], 1)}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "s.db"
    fill(path).close()
    return path.read_bytes()


def use(db: Database) -> None:
    """Everything a peer does with its store."""
    tasks, records = TaskTable(db, OWN), RecordTable(db)
    records.load()
    records.save([job_record(records.next_seq() + 100)], durable=True)
    tasks.unfinished()
    EventLog(db, OWN).replay(0, limit=10_000)
    row = tasks.begin(TaskId("f" * 32), JOB, entry(99))
    tasks.commit(row.task, [found(0, 99)], run=row.run, next_frame=1, analysed=1, seconds=1.0)
    tasks.finish(row.task, run=row.run)
    FileTable(db).load("dock")
    PeerTable(db).load()


# ---- found at the opening --------------------------------------------------------------------------------------------


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "zeroed header": lambda good: bytes(100) + good[100:],
    "zeroed first page": lambda good: bytes(PAGE) + good[PAGE:],
    "cut in half": lambda good: good[: len(good) // 2],
    "cut inside a page": lambda good: good[: len(good) // 2 + 1000],
    "cut to the header": lambda good: good[:100],
    "pages of zeroes": lambda good: good[: 5 * PAGE] + bytes(20 * PAGE) + good[25 * PAGE :],
    "pages of noise": lambda good: good[: 9 * PAGE] + random.Random(1).randbytes(9 * PAGE) + good[18 * PAGE :],
    "garbage": lambda good: random.Random(2).randbytes(len(good)),
    "text": lambda good: b"this is a text file, not a database at all\n" * 100,
    "a torn name": lambda good: good[:16],
    "our mark lost": lambda good: good[:68] + bytes(4) + good[72:],
    "no version": lambda good: good[:60] + bytes(4) + good[64:],
    "said to be of another format": lambda good: good[:44] + b"\x00\x00\x00\x09" + good[48:],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_moved_aside_and_a_new_store_begun(tmp_path: Path, good: bytes, name: str) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(DAMAGES[name](good))
    with pytest.raises(StoreDamaged, match="start `meshinfer up` again") as raised:
        Database.open(path)
    assert raised.value.exit_code == 6
    assert path.read_bytes() == DAMAGES[name](good), "who only opens it leaves it as it is"
    db = open_healed(path, wall=lambda: NOON + 60)
    assert (tmp_path / "s.db.damaged-1").read_bytes() == DAMAGES[name](good)
    (notice,) = db.notices
    assert "the store s.db was damaged (" in notice
    assert "moved aside as s.db.damaged-1" in notice
    assert db.incarnation > NOON * 1000
    kept = results(db)
    assert kept.items() <= WHOLE.items()
    assert f"{len(kept)} finished tasks" in notice
    use(db)
    db.close()
    again = open_healed(path)
    assert again.incarnation == db.incarnation
    assert results(again).keys() == {*kept, "f" * 32}
    (reminder,) = again.notices
    assert "s.db.damaged-1; check this host's disk, then delete them" in reminder
    again.close()
    (tmp_path / "s.db.damaged-1").unlink()
    with closing(open_healed(path)) as last:
        assert last.notices == ()


def test_any_flipped_bits(tmp_path: Path, good: bytes) -> None:
    """Whatever they hit: the store works, or is healed, with nothing taken over that is not right. No other error."""
    path = tmp_path / "s.db"
    healed = refused = 0
    for seed in range(60):
        rng = random.Random(seed)
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 50))):
            data[rng.randrange(100 if seed % 4 == 0 else len(data))] ^= 1 << rng.randrange(8)
        for old in tmp_path.iterdir():
            old.unlink()
        path.write_bytes(data)
        try:
            db = open_healed(path)
        except StoreRefused:
            assert data[60:64] != good[60:64], "only a version may be taken for a newer one"
            refused += 1
            continue
        try:
            use(db)
        except StoreDamaged:  # what only shows when it is read
            assert suspicion(path).read_text()
            db.close()
            db = open_healed(path)
            use(db)
        if (tmp_path / "s.db.damaged-1").exists():
            healed += 1
            kept = results(db)
            del kept[TaskId("f" * 32)]
            assert kept.items() <= WHOLE.items()
        db.close()
    assert healed > 10
    assert refused < 5


def test_a_check_that_takes_too_long_is_no_damage(tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is found when it is read."""
    path = tmp_path / "s.db"
    path.write_bytes(good)
    connect = sqlite3.connect
    checks: list[bool] = []

    def out_of_time(*args: Any, **options: Any) -> sqlite3.Connection:
        c = connect(*args, **options)
        c.set_trace_callback(lambda statement: checks.append("quick_check" in statement))
        c.set_progress_handler(lambda: checks[-1:] == [True], 1)
        return c

    monkeypatch.setattr(sqlite3, "connect", out_of_time)
    with closing(Database.open(path)) as db:
        assert True in checks
        assert results(db) == WHOLE


def test_a_newer_or_foreign_database_is_no_damage(tmp_path: Path, good: bytes) -> None:
    newer = good[:60] + b"\x00\x00\x00\x63" + good[64:]
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as c:
        c.execute("CREATE TABLE theirs (x)")
    for data, said in ((newer, "a newer meshinfer"), ((tmp_path / "theirs.db").read_bytes(), "another program")):
        path = tmp_path / "s.db"
        path.write_bytes(data)
        with pytest.raises(StoreRefused, match=said) as raised:
            open_healed(path)
        assert raised.value.exit_code == 2
        assert path.read_bytes() == data
        assert not list(tmp_path.glob("*damaged*"))


def test_three_damaged_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    for n in range(5):
        path.write_bytes(b"junk" * (1000 + n))
        open_healed(path).close()
    kept = sorted(file.name for file in tmp_path.glob("*damaged*"))
    assert kept == [f"s.db.damaged-{n}" for n in (3, 4, 5)]
    assert (tmp_path / "s.db.damaged-5").read_bytes() == b"junk" * 1004


# ---- what is taken over ----------------------------------------------------------------------------------------------


def test_all_of_a_store_that_is_readable_is_taken_over(tmp_path: Path) -> None:
    old = fill(tmp_path / "old.db")
    old.set_meta("only", "in the log")  # which is not in the file yet, like the rest
    with closing(Database.open(tmp_path / "new.db")) as new:
        assert salvage(tmp_path / "old.db", new) == (7, 105, 20)
        assert salvage(tmp_path / "old.db", new) == (0, 0, 0), "what is there stays"
        assert results(new) == WHOLE == results(old)
        kept = EventLog(new, OWN).replay(0, limit=1000)
        assert [e.cursor.n for e in kept] == list(range(1, 106))
        assert {e.cursor.incarnation for e in kept} == {new.incarnation}
        row = TaskTable(new, OWN).begin(TASKS[0], JOB, entry(1))
        assert (row.state, row.digest) == ("done", TaskTable(old, OWN).get(TASKS[0]).digest)  # type: ignore[union-attr]  # it is there
        assert {r.kind for r in RecordTable(new).load()[0]} == {"job", "cancel"}
    old.close()


def test_the_log_goes_with_its_file(tmp_path: Path) -> None:
    """Killed, with all that it had finished still in the log; then found to be damaged."""
    killed = fill(tmp_path / "killed.db")
    for suffix in ("", "-wal"):
        (tmp_path / f"s.db{suffix}").write_bytes((tmp_path / f"killed.db{suffix}").read_bytes())
    killed.close()
    suspicion(tmp_path / "s.db").write_text("found while it ran")
    with closing(open_healed(tmp_path / "s.db")) as new:
        assert results(new) == WHOLE
    assert {file.name for file in tmp_path.glob("s.db*")} == {"s.db", "s.db.damaged-1", "s.db.damaged-1-wal"}


def test_what_does_not_add_up_is_left(tmp_path: Path) -> None:
    """A task whose events are not what its digest says is done again, alone."""
    old = fill(tmp_path / "old.db")
    with old.transaction() as c:
        c.execute("DELETE FROM events WHERE task = 2 AND frame = 3")
        c.execute("UPDATE events SET detections = x'93' WHERE task = 3 AND frame = 3")
        c.execute("UPDATE events SET width = 'wide' WHERE task = 4 AND frame = 3")
        c.execute("UPDATE tasks SET attempts = 'many' WHERE id = 5")
    with closing(Database.open(tmp_path / "new.db")) as new:
        assert salvage(tmp_path / "old.db", new).tasks == 3
        assert results(new) == {task: WHOLE[task] for task in (TASKS[0], TASKS[5], TASKS[6])}
    old.close()


def test_around_pages_that_cannot_be_read(tmp_path: Path, good: bytes) -> None:
    """Every page by itself is lost once: never more than a few tasks with it."""
    kept = []
    for page in range(1, len(good) // PAGE):
        at = page * PAGE
        (tmp_path / "old.db").write_bytes(good[:at] + b"\xa5" * PAGE + good[at + PAGE :])
        (tmp_path / "new.db").unlink(missing_ok=True)
        with closing(Database.open(tmp_path / "new.db")) as new:
            salvage(tmp_path / "old.db", new)
            assert results(new).items() <= WHOLE.items()
            kept.append(len(results(new)))
    assert len(kept) > 20
    assert sum(n >= 5 for n in kept) > 0.7 * len(kept)


def test_taking_over_that_was_interrupted_goes_on_at_the_next_start(
    tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(good[: 9 * PAGE] + bytes(100) + good[9 * PAGE + 100 :])
    suspicion(path).write_text("found while it ran")

    def full(source: Path, db: Database) -> None:
        raise StoreFull("no room left to write s.db")

    with monkeypatch.context() as patch:
        patch.setattr(heal_module, "salvage", full)
        first = open_healed(path)
        assert "is taken over at the next start" in first.notices[0]
        first.close()
    with closing(open_healed(path)) as second:
        assert second.incarnation == first.incarnation
        assert len(results(second)) >= 5
        assert "was moved aside as s.db.damaged-1" in second.notices[0]
    with closing(open_healed(path)) as third:
        assert "damaged stores that were moved aside lie in" in third.notices[0]


# ---- found while it runs ---------------------------------------------------------------------------------------------


def test_damage_found_while_running(tmp_path: Path) -> None:
    """The owner is called once, everything fails from then on, and the next start heals, whatever its checks find."""
    path = tmp_path / "s.db"
    db = fill(path)
    RecordTable(db).save(job_record(n, "result") for n in range(100, 6000))  # more than SQLite keeps in memory
    whole = results(db)
    db.close()
    db = Database.open(path)
    called: list[None] = []
    db.on_damage = lambda: called.append(None)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * (size // 4))
    with pytest.raises(StoreDamaged, match="malformed"):
        RecordTable(db).load()
    for use_it in (RecordTable(db).load, RecordTable(db).next_seq, lambda: db.get_meta("incarnation")):
        with pytest.raises(StoreDamaged, match="malformed"):
            use_it()
    assert (len(called), suspicion(path).exists()) == (1, True)
    db.close()
    with closing(open_healed(path)) as new:
        assert results(new) == whole
        assert not suspicion(path).exists()


def test_values_that_nobody_wrote(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    db = fill(path)
    with db.transaction() as c:
        c.execute("UPDATE peers SET addresses = '[3'")
        c.execute("UPDATE events SET detections = x'93' WHERE n = 20")
    assert PeerTable(db).load() == []
    log = EventLog(db, OWN)
    assert len(log.replay(0, limit=19)) == 19
    assert db.damage is None
    with pytest.raises(StoreDamaged, match="event 20"):
        log.replay(0, limit=20)
    assert db.damage is not None
    db.close()
    with closing(open_healed(path)) as new:
        assert len(results(new)) == 6, "the task it belongs to is done again"


# ---- incarnations ----------------------------------------------------------------------------------------------------


def incarnation(path: Path, wall: float) -> int:
    with closing(open_healed(path, wall=lambda: wall)) as db:
        return db.incarnation


def lose(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def test_a_clock_that_goes_back_makes_no_old_store(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    first = incarnation(path, NOON)
    assert first == NOON * 1000
    assert incarnation(path, NOON - 86400) == first, "the same store at every start"
    lose(path)
    assert incarnation(path, NOON - 86400) == first + 1
    path.write_bytes(b"junk" * 1000)
    assert incarnation(path, 0.0) == first + 2
    lose(path)
    assert incarnation(path, NOON + 1) == (NOON + 1) * 1000
    lose(path)
    assert incarnation(path, -5.0) == (NOON + 1) * 1000 + 1
    assert (tmp_path / "incarnation").stat().st_mode & 0o777 == 0o600


def test_a_lost_store_is_said(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(open_healed(path)) as db:
        assert db.notices == ()
    lose(path)
    with closing(open_healed(path)) as db:
        assert "the store s.db was gone: a new one was begun" in db.notices[0]
    path.write_bytes(b"")  # what some file systems make of a file in a power cut
    with closing(open_healed(path)) as db:
        assert "was gone" in db.notices[0]


@pytest.mark.parametrize("text", [b"", b"junk\n", b"-5\n", b"9" * 100, b"\xff\xfe"])
def test_without_a_sensible_file_the_clock_decides(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "s.db"
    incarnation(path, NOON)
    lose(path)
    (tmp_path / "incarnation").write_bytes(text)
    assert incarnation(path, NOON + 60) == (NOON + 60) * 1000


def test_a_damaged_store_tells_its_incarnation_where_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    first = incarnation(path, NOON)
    (tmp_path / "incarnation").unlink()
    suspicion(path).touch()
    assert incarnation(path, NOON - 86400) == first + 1


def test_an_older_store_put_back_goes_on_as_a_new_one(tmp_path: Path) -> None:
    """A backup of the database alone: the mesh knows a later store, and would not hear the old one any more."""
    path = tmp_path / "s.db"
    fill(path).close()
    backup = path.read_bytes()
    lose(path)
    later = incarnation(path, NOON + 60)
    lose(path)
    path.write_bytes(backup)
    with closing(open_healed(path, wall=lambda: NOON)) as db:
        assert db.incarnation == later + 1
        assert "is older than another that this peer had" in db.notices[0]
        assert results(db) == WHOLE
        assert {e.cursor.incarnation for e in EventLog(db, OWN).replay(0, limit=9)} == {later + 1}
    with closing(open_healed(path)) as db:
        assert (db.incarnation, db.notices) == (later + 1, ())


def test_an_incarnation_is_renewed_from_the_next_start_on(tmp_path: Path) -> None:
    """For a peer that hears of a later store of its own."""
    path = tmp_path / "s.db"
    with closing(open_healed(path, wall=lambda: NOON)) as db:
        first = db.incarnation
        assert db.renew_incarnation(first + 500) == first + 500
        assert db.renew_incarnation() == first + 501
        assert db.incarnation == first, "what runs goes on under the old one"
    assert incarnation(path, NOON) == first + 501
    lose(path)
    assert incarnation(path, NOON) == first + 502


# ---- a full disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_at_every_write(tmp_path: Path) -> None:
    """With 0, 1, 2... pages left: each write is done whole or not at all, reading goes on; with room it succeeds."""
    db = fill(tmp_path / "s.db")
    tasks, records = TaskTable(db, OWN), RecordTable(db)
    many = [found(frame, 1) for frame in range(100, 200)]
    row = tasks.begin(TaskId("e" * 32), JOB, entry(50))
    first = tasks.get(TASKS[-1])
    assert first is not None
    writes: list[Callable[[], object]] = [
        lambda: tasks.begin(TaskId("d" * 32), JobId("b" * 16), entry(1000)),
        lambda: tasks.commit(row.task, many, run=row.run, next_frame=200, analysed=100, seconds=1.0),
        lambda: tasks.finish(row.task, run=row.run),
        lambda: tasks.fail(first.task, "input", "x" * 500, run=first.run),
        lambda: tasks.cancel(JOB),
        lambda: records.next_seq(),
        lambda: records.save([job_record(n, "result") for n in range(1000, 1100)], vector={(OWN, 7): 9}, durable=True),
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


def test_no_room_for_a_new_store(tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number cannot be written down: no store is made under it."""

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("meshinfer.store.incarnation.write_durably", full)
    with pytest.raises(StoreError, match="incarnation: No space left"):
        open_healed(tmp_path / "s.db")
    (tmp_path / "t.db").write_bytes(good)
    with closing(open_healed(tmp_path / "t.db")) as db:
        assert results(db) == WHOLE, "one that is there is served without"
