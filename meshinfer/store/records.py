"""Signed records as they were heard, and how far each log was seen without a gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.logs import LogId
from meshinfer.store.db import Database

Vector = Mapping[LogId, int]
"""Log -> n: all of it up to n has been seen."""


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
        over: Iterable[JobId] = (),
        durable: bool = False,
    ) -> None:
        """In one step: drops `removed` (origin, kind, key), puts `records` in place of older ones, moves `vector`.

        An n of 0 drops the vector's row. Of jobs that are `over` no number is ever given again. `durable`: must be so
        with own records, before others see them: else a power cut would leave a peer that lacks what it said, and whose
        vector moves past it.
        """
        with self._db.transaction(durable=durable) as c:
            c.executemany("DELETE FROM records WHERE origin = ? AND kind = ? AND key = ?", removed)
            c.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
                records,
            )
            moved = [(log.origin, log.incarnation, log.job or "", n) for log, n in (vector or {}).items()]
            c.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", moved)
            if any(row[-1] <= 0 for row in moved):
                c.execute("DELETE FROM vectors WHERE n <= 0")
            c.executemany("DELETE FROM counters WHERE name = ?", [(_counter(job),) for job in over])

    def load(self) -> tuple[list[Stored], dict[LogId, int]]:
        """Everything, in the order (origin, incarnation, seq)."""
        with self._db.reading() as c:
            rows = c.execute("SELECT * FROM records ORDER BY origin, incarnation, seq, kind, key").fetchall()
            vector = {
                LogId(PeerId(origin), incarnation, JobId(job) if job else None): n
                for origin, incarnation, job, n in c.execute("SELECT origin, incarnation, job, n FROM vectors")
            }
        return [Stored(*row) for row in rows], vector

    def given(self) -> dict[JobId | None, int]:
        """The last number that was taken of each log."""
        with self._db.reading() as c:
            rows = c.execute("SELECT name, n FROM counters WHERE name LIKE 'seq%'").fetchall()
        return {JobId(name[4:]) if name != "seq" else None: n for name, n in rows}

    def take_seqs(self, counts: Mapping[JobId | None, int]) -> dict[JobId | None, int]:
        """Takes so many consecutive numbers for own records of each log (None: the one that all keep), and returns the
        first of each.

        A number is never given twice, whether or not its record was saved or sent; after a power cut, none whose record
        was saved. (That is durable, and so is everything before it: one sync serves both.)
        """
        if min(counts.values(), default=1) < 1:
            raise ValueError(f"of {dict(counts)} each must be at least 1")
        first = {}
        with self._db.transaction() as c:
            for job, count in counts.items():
                c.execute("INSERT OR IGNORE INTO counters VALUES (?, 0)", (_counter(job),))
                take = "UPDATE counters SET n = n + ? WHERE name = ? RETURNING n"
                first[job] = int(c.execute(take, (count, _counter(job))).fetchone()[0]) - count + 1
        return first

    def next_seq(self, count: int = 1, job: JobId | None = None) -> int:
        """The first of `count` numbers of one log."""
        return self.take_seqs({job: count})[job]


def _counter(job: JobId | None) -> str:
    return f"seq/{job}" if job else "seq"
