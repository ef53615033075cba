"""What SQLite complains of, in our errors: a full disk, damage, and everything else."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from meshinfer.errors import StoreDamaged, StoreError, StoreFull

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_UNREADABLE: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_DATA,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)
"""Extended codes of a disk that does not give back what was written."""

_SIGNS: Final = ("no such ", "unsupported file format", "decode to UTF-8")
"""Of damage, in errors that have no code of their own."""

_NEARLY_FULL: Final = 1 << 20


Fault = sqlite3.Error | OverflowError | UnicodeDecodeError
"""What a call of the sqlite3 module raises: text that is no UTF-8 comes as the last, also where SQLite quotes it."""


def explained(error: Fault, path: Path) -> StoreError:
    # Extended codes carry the primary one in their low byte. Errors of the Python module itself have none.
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if _is_damage(error, extended, path):
        return damaged(path, str(error))
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StoreFull(f"no room left to write {path}: free some disk space")
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(f"another process holds {path}: is a second node running on this folder?")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return StoreError(
            f"cannot write {path} ({error}): check the permissions of the file and its folder, and whether the disk "
            "is mounted read-only"
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(f"the disk failed under {path} ({error}): see the system's log, and check the disk")
    return StoreError(f"the store {path} failed: {error}")


def damaged(path: Path, what: str) -> StoreDamaged:
    what = "".join(c if c.isprintable() else " " for c in what[:200])  # SQLite quotes what it found
    return StoreDamaged(
        f"{path} is damaged ({what}): start `meshinfer up` again; it moves the file aside, takes over what can be read "
        "of it, and goes on with a new store",
        what,
    )


def _is_damage(error: Fault, extended: int, path: Path) -> bool:
    if extended & 0xFF in _DAMAGED or extended in _UNREADABLE or isinstance(error, UnicodeDecodeError):
        return True
    if extended == sqlite3.SQLITE_READONLY:  # the header says so, not the file system
        return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    # Our statements are fixed and our values are text: what is lacking, or is none, was right once.
    return isinstance(error, sqlite3.OperationalError) and any(sign in str(error) for sign in _SIGNS)


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NEARLY_FULL
    except OSError:
        return False
