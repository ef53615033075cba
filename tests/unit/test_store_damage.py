"""Damage is found, moved aside and healed; what was sound in it is kept, and the mesh sees a new store."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from meshinfer.errors import StoreDamaged, StoreRefused
from meshinfer.model.ids import TaskId
from meshinfer.store import (
    Database,
    EventLog,
    FileTable,
    PeerTable,
    RecordTable,
    StoreFull,
    TaskTable,
    open_healed,
)
from meshinfer.store import heal as heal_module
from meshinfer.store.db import suspicion
from meshinfer.store.salvage import salvage
from tests.unit.stores import JOB, NOON, OWN, PAGE, TASKS, WHOLE, entry, fill, found, job_record, results


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
