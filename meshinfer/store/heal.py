"""A damaged store is moved aside, a new one begun, and what can be read of the old one taken over.

A kill in between costs nothing: the file is renamed first, and taking over begins again at the next start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from meshinfer.errors import StoreDamaged, StoreError, StoreFull
from meshinfer.store.db import Database, suspicion
from meshinfer.store.salvage import Salvaged, incarnation_of, salvage

KEPT: Final = 3
"""Damaged files that are kept, the newest."""


def open_healed(path: Path, *, wall: Callable[[], float] = time.time) -> Database:
    """`Database.open`, after which a store that is damaged has become a new one; `Database.notices` tells of it.

    Raises as `Database.open` does, but for StoreDamaged.
    """
    what = ""
    try:
        db = Database.open(path, wall=wall)
    except StoreDamaged as e:
        what = e.what
        aside = _move_aside(path)
        db = Database.open(path, wall=wall, above=incarnation_of(aside))
    try:
        kept = _aside(path)
        if kept and db.get_meta("salvaged") != kept[-1].name:
            saved = salvage(kept[-1], db)
            db.set_meta("salvaged", kept[-1].name)
            db.notices = (_told(path, kept[-1], what, saved),)
        elif kept:
            names = ", ".join(file.name for file in kept)
            text = f"damaged stores that were moved aside lie in {path.parent}: {names}"
            db.notices += (f"{text}; check this host's disk, then delete them",)
    except StoreFull as e:
        db.notices = (f"{e}; what can be read of the damaged store {kept[-1].name} is taken over at the next start",)
    except BaseException:
        db.close()
        raise
    return db


def _told(path: Path, aside: Path, what: str, saved: Salvaged) -> str:
    return (
        f"the store {path.name} was damaged{what and f' ({what})'}: it was moved aside as {aside.name}, and a new one "
        f"begun, with what could be read of the old: {saved.tasks} finished tasks, {saved.events} events, "
        f"{saved.records} jobs and cancels. Other records come back from the other peers, the footage is looked at "
        f"anew, tasks that are lacking are done again. Check this host's disk, then delete {aside.name}"
    )


def _aside(path: Path) -> list[Path]:
    """Damaged files of the store at `path`, oldest first."""
    prefix = f"{path.name}.damaged-"
    found = (file for file in path.parent.glob(f"{prefix}*") if file.name.removeprefix(prefix).isdecimal())
    return sorted(found, key=lambda file: int(file.name.removeprefix(prefix)))


def _move_aside(path: Path) -> Path:
    """The file's new name. What goes with it moves too; the oldest of those kept go."""
    before = _aside(path)
    number = int(before[-1].name.rpartition("-")[2]) + 1 if before else 1
    aside = path.with_name(f"{path.name}.damaged-{number}")
    try:
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                _beside(path, suffix).rename(_beside(aside, suffix))
        _beside(path, "-shm").unlink(missing_ok=True)  # an index of the log, which SQLite makes anew
        aside.touch(0o600)  # where only the log was left
        suspicion(path).unlink(missing_ok=True)
        for old in before[: max(0, len(before) + 1 - KEPT)]:
            for suffix in ("", "-wal", "-shm"):
                _beside(old, suffix).unlink(missing_ok=True)
    except OSError as e:
        raise StoreError(f"{path} is damaged, and cannot be moved aside: {e.strerror}; move it away by hand") from e
    return aside


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
