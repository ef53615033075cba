"""What can be read of a damaged store, taken over into a new one.

That is what nobody else can give back: finished tasks with their events, each checked by its digest, and the records of
jobs and cancels, which carry their authors' signatures. All else comes back by itself: other records from the peers,
the catalog from the footage, unfinished tasks from their first frame.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from meshinfer.errors import StoreError, StoreFull
from meshinfer.model.detection import Detection
from meshinfer.store.db import Database
from meshinfer.store.incarnation import HIGHEST
from meshinfer.store.tasks import TaskRow, _digest, _get

SECONDS: Final = 30.0
"""It ends then, after a million events or so: doing the rest again is better than a peer that does not come up."""

_BATCH: Final = 256
_BLIND: Final = 1 << 20
"""Rows that are tried where the table does not tell how many it has."""

_UNREADABLE: Final = (sqlite3.Error, ValueError)
"""Among the second is text that is no UTF-8."""

_decode = msgspec.msgpack.Decoder(tuple[Detection, ...]).decode


class Salvaged(NamedTuple):
    tasks: int = 0
    events: int = 0
    records: int = 0


def _reading(file: Path) -> sqlite3.Connection:
    c = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    c.execute("PRAGMA cell_size_check = ON")
    c.execute("PRAGMA trusted_schema = OFF")
    return c


def incarnation_of(source: Path) -> int:
    """0 where it cannot be read."""
    with suppress(sqlite3.Error, ValueError, TypeError), closing(_reading(source)) as c:
        found = int(c.execute("SELECT value FROM meta WHERE key = 'incarnation'").fetchone()[0])
        return found if 0 < found < HIGHEST else 0
    return 0


def salvage(source: Path, db: Database, seconds: float = SECONDS) -> Salvaged:
    """Takes over from the damaged store `source` into `db`; what is there already stays. Raises StoreError, of `db`."""
    until = time.monotonic() + seconds
    tasks = events = records = 0
    with db.reading() as t:
        columns = {table: _columns(t, table) for table in ("tasks", "events", "records")}
    try:
        with closing(_reading(source)) as old:
            old.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            kinds = "kind IN ('job', 'cancel')"
            for batch in _rows(old, "records", "rowid", columns["records"], kinds, until):
                records += _take_records(db, columns["records"], batch)
            for batch in _rows(old, "tasks", "id", columns["tasks"], "state = 'done'", until):
                for id_, *task in batch:
                    if time.monotonic() > until:
                        break
                    found = _take_task(db, old, columns, id_, task)
                    tasks, events = tasks + (found is not None), events + (found or 0)
    except _UNREADABLE:
        pass  # not even its schema can be read, or the time is over
    with suppress(OSError):
        source.with_name(source.name + "-shm").unlink(missing_ok=True)
    return Salvaged(tasks, events, records)


def _columns(c: sqlite3.Connection, table: str) -> list[str]:
    """Without the numbers by which a store finds its own rows."""
    return [row[1] for row in c.execute(f"PRAGMA table_info({table})") if row[1] not in ("id", "n")]


def _rows(
    c: sqlite3.Connection, table: str, key: str, columns: list[str], where: str, until: float
) -> Iterator[list[Any]]:
    """The rows that can be read, in batches, each led by its `key`.

    What can be read before a bad page is found by halving, and it is left behind by steps that double: it costs a few
    hundred attempts, and about as many rows behind it as it had itself.
    """
    try:
        highest = int(c.execute(f"SELECT coalesce(max({key}), 0) FROM {table}").fetchone()[0])  # noqa: S608  our own names
    except (*_UNREADABLE, TypeError):
        highest = _BLIND
    query = (
        f"SELECT {key}, {', '.join(columns)} FROM {table} "  # noqa: S608  our own names
        f"WHERE {key} BETWEEN ? AND ? AND {where} ORDER BY {key} LIMIT {_BATCH}"
    )
    low, width, step = 0, highest, 1
    while low <= highest and time.monotonic() < until:
        high = min(low + width, highest)
        try:
            batch = c.execute(query, (low, high)).fetchall()
        except _UNREADABLE:
            if width:
                width //= 2
            else:
                low, width, step = low + step, highest, 2 * step
            continue
        low = batch[-1][0] + 1 if len(batch) == _BATCH else high + 1
        width, step = highest, 1
        yield batch


def _take_records(db: Database, columns: list[str], rows: list[Any]) -> int:
    """Their signatures are checked when they are loaded."""
    taken = 0
    for _, *row in rows:
        with suppress(_Unsound), _sound(db) as t:
            taken += t.execute(_insert("records", columns, "OR IGNORE"), row).rowcount
    return taken


def _take_task(
    db: Database, old: sqlite3.Connection, columns: dict[str, list[str]], id_: int, task: list[Any]
) -> int | None:
    """How many events came with it; None where it is there already, or cannot be trusted."""
    names = [name for name in columns["events"] if name != "task"]
    fields = dict(zip(columns["tasks"], task, strict=True))
    try:
        events = old.execute(f"SELECT {', '.join(names)} FROM events WHERE task = ? ORDER BY frame", (id_,)).fetchall()  # noqa: S608  our own names
        for event in events:
            _decode(event[names.index("detections")])
    except (*_UNREADABLE, msgspec.MsgspecError, TypeError):
        return None
    jobs = {fields["job"]}
    with suppress(*_UNREADABLE):
        jobs |= {job for (job,) in old.execute("SELECT job FROM job_tasks WHERE task = ?", (id_,))}
    with suppress(_Unsound), _sound(db) as t:
        if not t.execute(_insert("tasks", columns["tasks"], "OR IGNORE"), task).rowcount:
            return None
        new = t.execute("SELECT id FROM tasks WHERE task = ?", (fields["task"],)).fetchone()[0]
        head = t.execute("SELECT n FROM counters WHERE name = 'event'").fetchone()[0]
        numbered = ((n, new, *event) for n, event in enumerate(events, head + 1))
        t.executemany(_insert("events", ["n", "task", *names]), numbered)
        t.execute("UPDATE counters SET n = ? WHERE name = 'event'", (head + len(events),))
        t.executemany("INSERT INTO job_tasks (job, task) VALUES (?, ?)", [(job, new) for job in jobs])
        row = _get(t, fields["task"])
        if msgspec.convert(tuple(row), TaskRow).digest != _digest(t, row.task):
            raise _Unsound
        return len(events)
    return None


class _Unsound(Exception):
    """What was read makes no sense: it is left out, and nothing of it stays."""


@contextmanager
def _sound(db: Database) -> Iterator[sqlite3.Connection]:
    """A transaction that values of the wrong type, or that break a rule of the tables, end as _Unsound."""
    try:
        with db.transaction() as t:
            yield t
    except StoreFull:
        raise
    except StoreError as e:
        if isinstance(e.__cause__, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise _Unsound from e
        raise
    except (msgspec.MsgspecError, TypeError, ValueError) as e:
        raise _Unsound from e


def _insert(table: str, columns: list[str], conflict: str = "") -> str:
    return f"INSERT {conflict} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608  our own names
