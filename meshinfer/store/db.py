"""One SQLite file, one connection, one lock.

A commit survives the death of the process at any moment (write-ahead log). What other peers will have seen by its
number (a record's seq, an event's cursor) is also synced to the disk before it is used, so that not even a power cut
makes a number mean two things.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from meshinfer.errors import StoreError
from meshinfer.store.schema import APPLICATION_ID, SCHEMA, STEPS, VERSION

BUSY_SECONDS = 5.0
"""How long a statement waits for another process that holds the file."""

CHECKED_AT_OPEN = 32 << 20
"""Bytes of file up to which every page is checked when it is opened; damage in a larger one shows when it is read."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NEARLY_FULL = 1 << 20


class StoreFull(StoreError):
    """The disk is full: nothing was written. Reading still works; free some space and the store goes on."""


class Database:
    """The open file. Made by `Database.open`; safe to use from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection, wall: Callable[[], float]) -> None:
        self.path = path
        self.wall = wall
        self._connection = connection
        self._lock = threading.Lock()
        self.incarnation = 0
        """Milliseconds of wall clock at creation: a lost and newly made store is told from the old one."""

    @classmethod
    def open(cls, path: Path, *, wall: Callable[[], float] = time.time) -> Database:
        """Opens the store at `path`, and makes it (mode 0600) where there is none.

        Raises StoreError for a file that is damaged, another program's, or a newer meshinfer's, and leaves it as it is.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except OSError as e:
            raise StoreError(f"cannot open the store {path}: {e.strerror}; check the path and its permissions") from e
        except sqlite3.Error as e:
            raise _explained(e, path) from e
        db = cls(path, connection, wall)
        try:
            db._prepare()
        except BaseException:
            connection.close()
            raise
        return db

    def _prepare(self) -> None:
        c = self._connection
        with self._mapped():
            made_by = c.execute("PRAGMA application_id").fetchone()[0]
            version = c.execute("PRAGMA user_version").fetchone()[0]
            tables = c.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if made_by != APPLICATION_ID and (made_by or version or tables):
            raise StoreError(f"{self.path} is a database of another program: give meshinfer a home folder of its own")
        if version > VERSION:
            raise StoreError(
                f"{self.path} was written by a newer meshinfer (store version {version}, this one knows {VERSION}): "
                "upgrade, or use another home folder"
            )
        with self._mapped():
            c.execute("PRAGMA journal_mode = WAL")
            c.execute("PRAGMA synchronous = NORMAL")
            c.execute("PRAGMA foreign_keys = ON")
            c.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        with self.transaction(durable=True) as t:
            if not version:
                for statement in SCHEMA:
                    t.execute(statement)
                t.execute("INSERT INTO meta VALUES ('incarnation', ?)", (str(int(self.wall() * 1000)),))
                t.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                t.execute(f"PRAGMA user_version = {VERSION}")
            elif self.path.stat().st_size <= CHECKED_AT_OPEN:
                found = t.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise StoreError(_damaged(self.path, str(found).splitlines()[-1]))
            if version:
                for step in range(version, VERSION):
                    for statement in STEPS[step]:
                        t.execute(statement)
                t.execute(f"PRAGMA user_version = {VERSION}")
        made = self.get_meta("incarnation")
        if made is None or not made.isdecimal():
            raise StoreError(_damaged(self.path, "its incarnation is missing"))
        self.incarnation = int(made)

    def renew_incarnation(self, at_least: int) -> int:
        """Take a newer incarnation, as if the store had just been made: others know of a newer one than this, or of
        more than it holds. On the disk when it returns."""
        with self.transaction(durable=True) as c:
            self.incarnation = max(at_least, self.incarnation + 1)
            c.execute("UPDATE meta SET value = ? WHERE key = 'incarnation'", (str(self.incarnation),))
        return self.incarnation

    def close(self) -> None:
        """Idempotent. A call that is under way in another thread ends first."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing. `durable`: on the disk, not only safe from this process dying, when it returns.

        Raises StoreFull where the disk has no room, StoreError otherwise; then nothing was changed.
        """
        with self._lock, self._mapped():
            c = self._connection
            if durable:
                c.execute("PRAGMA synchronous = FULL")
            try:
                c.execute("BEGIN IMMEDIATE")
                yield c
                c.execute("COMMIT")
            finally:
                if c.in_transaction:
                    c.execute("ROLLBACK")
                if durable:
                    c.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Several reads of one state."""
        with self._lock, self._mapped():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError) as e:
            raise _explained(e, self.path) from e

    def get_meta(self, key: str) -> str | None:
        with self.reading() as c:
            row = c.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        with self.transaction() as c:
            c.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _explained(error: sqlite3.Error | OverflowError, path: Path) -> StoreError:
    # Extended codes carry the primary one in their low byte. Errors of the Python module itself have none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StoreFull(f"no room left to write {path}: free some disk space")
    if code in _DAMAGED:
        return StoreError(_damaged(path, str(error)))
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(f"another process holds {path}: is a second node running on this folder?")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return StoreError(f"cannot write {path} ({error}): check the permissions of the file and its folder")
    return StoreError(f"the store {path} failed: {error}")


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NEARLY_FULL
    except OSError:
        return False


def _damaged(path: Path, what: str) -> str:
    return (
        f"{path} is damaged or no meshinfer store ({what}): move it away and start again; "
        "the peer then begins with an empty store, and analyses again what it had finished"
    )
