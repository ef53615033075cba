"""One SQLite file, one connection, one lock.

What is promised
 1. The process dies at any moment: every transaction that returned is there (write-ahead log).
 2. The power fails at any moment: the file is whole, as it was at one moment. SQLite checks every frame of its log,
    syncs the log before it copies pages from it, and the file before it writes over the log (synchronous = NORMAL).
 3. That moment is not before the last `durable` transaction: it and all before it are on the disk when it returns
    (synchronous = FULL). So is whatever other peers will have seen by its number, a record's seq or an event's cursor,
    before it is sent, and no number ever means two things.
 4. What cannot be right is found: at the opening, as far as a second's reading goes, else when it is read. Then
    `on_damage` is called once, every call fails with StoreDamaged, and the next start heals (store/heal.py).

Where a disk lies about what it has written, 2 and 3 are its own promise.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from meshinfer.errors import StoreDamaged, StoreError, StoreRefused
from meshinfer.store import incarnation
from meshinfer.store.faults import damaged, explained
from meshinfer.store.schema import APPLICATION_ID, SCHEMA, STEPS, VERSION

BUSY_SECONDS: Final = 5.0
"""How long a statement waits for another process that holds the file."""

CHECK_SECONDS: Final = 1.0
"""How long the pages are checked at the opening: a GB that the system has in memory, 100 MB on a slow disk."""

_NAMES: Final = {m[1] for s in SCHEMA if (m := re.match(r"CREATE (?:TABLE|INDEX|VIEW) (\w+)", s))}


class Database:
    """The open file. Made by `Database.open`; safe to use from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection, wall: Callable[[], float]) -> None:
        self.path = path
        self.wall = wall
        self.incarnation = 0
        """Tells this store from those that the peer had before: see store/incarnation.py."""
        self.notices: tuple[str, ...] = ()
        """What its owner should know about how it was opened."""
        self.damage: StoreDamaged | None = None
        self.on_damage: Callable[[], None] = lambda: None
        """Called in the thread that found the damage, which holds the store: it must not wait."""
        self._connection = connection
        self._lock = threading.Lock()
        self._opened = False

    @classmethod
    def open(cls, path: Path, *, wall: Callable[[], float] = time.time, above: int = 0) -> Database:
        """Opens the store at `path`, and makes it (mode 0600) where there is none.

        A new one's incarnation is higher than the highest that was used here, or than `above` where that is not known.

        Raises StoreRefused for another program's file or a newer meshinfer's, StoreDamaged, StoreFull, StoreError where
        it cannot be opened or written. The file stays as it is then.
        """
        if (found := _suspicion(path)) is not None:
            raise damaged(path, found)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except OSError as e:
            raise StoreError(f"cannot open the store {path}: {e.strerror}; check the path and its permissions") from e
        except sqlite3.Error as e:
            raise explained(e, path) from e
        db = cls(path, connection, wall)
        try:
            db._prepare(above)
        except BaseException:
            connection.close()
            raise
        db._opened = True
        return db

    def _prepare(self, above: int) -> None:
        c = self._connection
        with self._mapped():
            made_by = c.execute("PRAGMA application_id").fetchone()[0]
            version = c.execute("PRAGMA user_version").fetchone()[0]
            names = {name for (name,) in c.execute("SELECT name FROM sqlite_master")}
        if made_by != APPLICATION_ID and (made_by or version or names):
            if names >= _NAMES:
                raise damaged(self.path, f"it has our tables, and {made_by:#x} where our mark should be")
            raise StoreRefused(f"{self.path} is a database of another program: give meshinfer a home folder of its own")
        if version > VERSION:
            raise StoreRefused(
                f"{self.path} was written by a newer meshinfer (store version {version}, this one knows {VERSION}): "
                "upgrade, or use another home folder"
            )
        is_new = not version and not names
        if not is_new and (version < 1 or (version == VERSION and not names >= _NAMES)):
            raise damaged(self.path, "tables are missing")
        with self._mapped():
            c.execute("PRAGMA journal_mode = WAL")
            c.execute("PRAGMA synchronous = NORMAL")
            c.execute("PRAGMA fullfsync = ON")  # macOS: else a sync ends in the disk's own cache
            c.execute("PRAGMA checkpoint_fullfsync = ON")
            c.execute("PRAGMA foreign_keys = ON")
            c.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        if not is_new:
            self._check_pages()
            self._upgrade(version)
            self._check_counters()
        self._take_incarnation(is_new, above)

    def _upgrade(self, version: int) -> None:
        for old in range(version, VERSION):
            with self.transaction(durable=True) as t:
                for statement in STEPS[old]:
                    t.execute(statement)
                t.execute(f"PRAGMA user_version = {old + 1}")

    def _check_pages(self) -> None:
        # Not by SQLite's own progress handler: before version 3.42 it is not asked while pages are checked.
        timer = threading.Timer(CHECK_SECONDS, self._connection.interrupt)
        timer.start()
        try:
            with self._mapped():
                found = str(self._connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        except StoreDamaged:
            raise
        except StoreError as e:
            if getattr(e.__cause__, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
                raise
            return
        finally:
            timer.cancel()
            timer.join()
        if found != "ok":
            raise damaged(self.path, found.splitlines()[-1])

    def _check_counters(self) -> None:
        """Where events lie beyond their counter, numbers would be given again."""
        with self.reading() as c:
            counter = c.execute("SELECT n FROM counters WHERE name = 'event'").fetchone()
            last = c.execute("SELECT coalesce(max(n), 0) FROM events").fetchone()[0]
        if counter is None or counter[0] != last:
            raise damaged(self.path, f"its last event is {last}, its counter says {counter and counter[0]}")

    def _take_incarnation(self, is_new: bool, above: int) -> None:
        used = incarnation.highest_used(self.path.parent)
        if is_new:
            made = incarnation.next_after(used or above, self.wall())
            self._note_incarnation(made)
            with self.transaction(durable=True) as t:
                for statement in SCHEMA:
                    t.execute(statement)
                t.execute("INSERT INTO meta VALUES ('incarnation', ?)", (str(made),))
                t.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                t.execute(f"PRAGMA user_version = {VERSION}")
            self.incarnation = made
            if used:
                text = f"the store {self.path.name} was gone: a new one was begun; records come back from the others"
                self.notices = (f"{text}, and what only lay here is done again",)
            return
        with self.transaction(durable=True) as t:  # a store that cannot be written is of no use: now is the time to say
            row = t.execute("SELECT value FROM meta WHERE key = 'incarnation'").fetchone()
        if row is None or not str(row[0]).isdecimal() or not 0 < int(row[0]) <= incarnation.HIGHEST:
            raise damaged(self.path, "its incarnation is missing")
        self.incarnation = int(row[0])
        if self.incarnation < used:
            self.renew_incarnation()
            text = f"the store {self.path.name} is older than another that this peer had: it goes on as a new one"
            self.notices = (f"{text}; what it finished counts, and what it said is said anew",)
        else:
            with suppress(StoreError):  # known from the store itself: the file is for when that is lost
                self._note_incarnation(self.incarnation)

    def renew_incarnation(self, at_least: int = 0) -> int:
        """Gives the store an incarnation that is higher than any that it or this home had, and not under `at_least`:
        for when the mesh knows a later store of this peer. On the disk when it returns.
        """
        used = max(self.incarnation, incarnation.highest_used(self.path.parent), at_least - 1)
        new = incarnation.next_after(used, self.wall())
        self._note_incarnation(new)
        with self.transaction(durable=True) as t:
            t.execute("INSERT OR REPLACE INTO meta VALUES ('incarnation', ?)", (str(new),))
        self.incarnation = new
        return new

    def _note_incarnation(self, used: int) -> None:
        try:
            incarnation.note_used(self.path.parent, used)
        except OSError as e:
            raise StoreError(f"cannot write {self.path.parent / incarnation.FILE}: {e.strerror}") from e

    def close(self) -> None:
        """Idempotent. A call that is under way in another thread ends first."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """All or nothing. `durable`: on the disk, not only safe from this process dying, when it returns; and so is
        everything before it.

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
        if self.damage is not None:
            raise damaged(self.path, self.damage.what)
        try:
            yield
        except (sqlite3.Error, OverflowError, UnicodeDecodeError) as e:
            error = explained(e, self.path)
            if isinstance(error, StoreDamaged):
                self._note_damage(error)
            raise error from e

    def found_damaged(self, what: str) -> StoreDamaged:
        """For whoever reads what cannot have been written: to be raised."""
        error = damaged(self.path, what)
        self._note_damage(error)
        return error

    def _note_damage(self, error: StoreDamaged) -> None:
        if self._opened and self.damage is None:
            self.damage = error
            with suppress(OSError):  # then the next start finds out for itself, or comes by here again
                suspicion(self.path).write_text(error.what)
            self.on_damage()

    def get_meta(self, key: str) -> str | None:
        with self.reading() as c:
            row = c.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        with self.transaction() as c:
            c.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def suspicion(path: Path) -> Path:
    """The file that says what was found wrong with the store at `path` while it ran: checks at a start may miss it."""
    return path.with_name(path.name + ".suspect")


def _suspicion(path: Path) -> str | None:
    try:
        with suspicion(path).open(errors="replace") as file:
            return file.read(400) or "found while it ran"
    except OSError:
        return None
