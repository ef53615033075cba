"""A new store counts for more than those before it, whatever the clock says; an old one that is put back does too."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from meshinfer.store import (
    EventLog,
    open_healed,
)
from meshinfer.store.db import suspicion
from tests.unit.stores import NOON, OWN, WHOLE, fill, results


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


def test_an_incarnation_is_renewed_at_once_and_for_good(tmp_path: Path) -> None:
    """For a peer that hears of a later store of its own."""
    path = tmp_path / "s.db"
    with closing(open_healed(path, wall=lambda: NOON)) as db:
        first = db.incarnation
        assert db.renew_incarnation(first + 500) == first + 500
        assert db.renew_incarnation() == first + 501
        assert db.incarnation == first + 501
    assert incarnation(path, NOON) == first + 501
    lose(path)
    assert incarnation(path, NOON) == first + 502
