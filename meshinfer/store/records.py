"""Signed records as they were heard, and how far this peer's knowledge of each origin is complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshinfer.store.db import Database

Vector = Mapping[tuple[str, int], int]
"""(origin, incarnation) -> n: every live record of that origin up to n is held."""


class Stored(NamedTuple):
    """One live record."""

    origin: str
    incarnation: int
    seq: int
    kind: str
    key: str
    data: bytes
    """Sealed, as it travels: its signature is checked by whoever reads it."""
    heard: float
    """Unix seconds, by this peer's clock, when it was first heard."""


class RecordTable:
    """The records of the mesh that concern this peer."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def save(
        self,
        records: Iterable[Stored] = (),
        *,
        removed: Iterable[tuple[str, str, str]] = (),
        vector: Vector | None = None,
        durable: bool = False,
    ) -> None:
        """In one step: drops `removed` (origin, kind, key), puts `records` in place of older ones, moves `vector`.

        An n of 0 drops the vector's row. `durable`: must be so with own records, before others see them: else a power
        cut would leave a peer that lacks what it said, and whose vector moves past it.
        """
        with self._db.transaction(durable=durable) as c:
            c.executemany("DELETE FROM records WHERE origin = ? AND kind = ? AND key = ?", removed)
            c.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
                records,
            )
            moved = [(origin, incarnation, n) for (origin, incarnation), n in (vector or {}).items()]
            c.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", moved)
            c.execute("DELETE FROM vectors WHERE n <= 0")

    def load(self) -> tuple[list[Stored], dict[tuple[str, int], int]]:
        """Everything, in the order (origin, incarnation, seq)."""
        with self._db.reading() as c:
            rows = c.execute("SELECT * FROM records ORDER BY origin, incarnation, seq, kind, key").fetchall()
            vector = {(origin, inc): n for origin, inc, n in c.execute("SELECT origin, incarnation, n FROM vectors")}
        return [Stored(*row) for row in rows], vector

    def next_seq(self, count: int = 1) -> int:
        """Takes `count` consecutive numbers for own records and returns the first.

        A number is never given twice, whether or not its record was saved or sent; after a power cut, none whose record
        was saved. (That is durable, and so is everything before it: one sync serves both.)
        """
        if count < 1:
            raise ValueError(f"count is {count}, must be at least 1")
        with self._db.transaction() as c:
            n = c.execute("UPDATE counters SET n = n + ? WHERE name = 'seq' RETURNING n", (count,)).fetchone()[0]
        return int(n) - count + 1
