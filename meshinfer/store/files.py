"""What the catalog found out about each file, so that a restart hashes and probes nothing again."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from meshinfer.model.catalog import Entry, Unreadable
from meshinfer.store.db import Database

Known = tuple[int, int, Entry | Unreadable]
"""Bytes, mtime in nanoseconds, and what the file of that size and time turned out to be."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class FileTable:
    """Known files by (source, name)."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def load(self, source: str) -> dict[str, Known]:
        """By name. A row that this version cannot read is left out: the file is looked at again."""
        with self._db.reading() as c:
            rows = c.execute(
                "SELECT name, size, mtime_ns, entry, reason FROM files WHERE source = ? ORDER BY name", (source,)
            ).fetchall()
        known: dict[str, Known] = {}
        for name, size, mtime_ns, entry, reason in rows:
            if entry is None:
                known[name] = (size, mtime_ns, Unreadable(source, name, reason))
                continue
            try:
                known[name] = (size, mtime_ns, _decode(entry))
            except (msgspec.MsgspecError, ValueError, TypeError):
                continue
        return known

    def put(self, rows: Iterable[Known]) -> None:
        with self._db.transaction() as c:
            c.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", (_row(*known) for known in rows))

    def drop(self, source: str, names: Iterable[str]) -> None:
        with self._db.transaction() as c:
            c.executemany("DELETE FROM files WHERE source = ? AND name = ?", ((source, name) for name in names))


def _row(size: int, mtime_ns: int, what: Entry | Unreadable) -> tuple[str, str, int, int, bytes | None, str | None]:
    if isinstance(what, Entry):
        return what.source, what.name, size, mtime_ns, _encode(what), None
    return what.source, what.name, size, mtime_ns, None, what.reason
