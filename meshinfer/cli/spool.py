"""Events of a whole job, sorted without holding them all: runs on disk, merged when read."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from meshinfer.errors import ProtocolError

RUN = 20_000
"""Events sorted in memory at a time: about 20 MB."""


class Found(Struct):
    label: str
    score: float
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the frame."""


class Row(Struct):
    """One event as the node sends it, and as one line of detections.jsonl."""

    peer: str
    peer_name: str
    source: str
    entry: str
    frame: int
    t: float
    wall: float | None
    width: int
    height: int
    detections: list[Found]
    content: str
    task: str
    job: str
    cursor: str


class Key(NamedTuple):
    """The order of the merged file: by capture time where it is known, then by source, entry and frame."""

    unknown: bool
    wall: float
    source: str
    entry: str
    frame: int
    peer: str
    task: str


def key_of(row: Row) -> Key:
    return Key(row.wall is None, row.wall or 0.0, row.source, row.entry, row.frame, row.peer, row.task)


def read_row(event: object) -> Row:
    """Raises ProtocolError for what is no event."""
    try:
        return msgspec.convert(event, Row)
    except msgspec.ValidationError as e:
        raise ProtocolError(f"the node sent an event that is none: {e}") from None


def encode_row(row: Row) -> bytes:
    return msgspec.json.encode(row) + b"\n"


class Spool:
    """Rows in any order in, in the order of `Key` out. Keeps its runs in `folder`."""

    def __init__(self, folder: Path, *, run: int = RUN) -> None:
        self._folder, self._limit = folder, run
        self._rows: list[Row] = []
        self._runs: list[Path] = []

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= self._limit:
            path = self._folder / f"run-{len(self._runs)}"
            with path.open("wb") as file:
                file.writelines(encode_row(row) for row in self._sorted())
            self._runs.append(path)
            self._rows = []

    def _sorted(self) -> list[Row]:
        return sorted(self._rows, key=key_of)

    def __iter__(self) -> Iterator[Row]:
        return heapq.merge(*(read_rows(path) for path in self._runs), self._sorted(), key=key_of)


def read_rows(path: Path) -> Iterator[Row]:
    decode = msgspec.json.Decoder(Row).decode
    with path.open("rb") as file:
        for line in file:
            yield decode(line)


class Owners:
    """Which peer's answer counts for a task that several did: one that finished it, else the first.

    Equal tasks have equal ids on every peer, so a task that was done twice must not be counted twice.
    """

    def __init__(self) -> None:
        self._best: dict[str, tuple[tuple[bool, int], str]] = {}

    def task(self, task: dict[str, Any]) -> None:
        rank = (task.get("state") == "done", int(task.get("frames") or 0))
        name = str(task.get("task"))
        if name not in self._best or rank > self._best[name][0]:
            self._best[name] = (rank, str(task.get("peer")))

    def event(self, row: Row) -> None:
        """A task that nobody has reported on belongs to the first peer whose event of it comes."""
        self._best.setdefault(row.task, ((False, -1), row.peer))

    def unique(self, rows: Iterable[Row]) -> Iterator[Row]:
        """`rows`, sorted, without what is no owner's and without repeated frames."""
        last: tuple[str, int, str] | None = None
        for row in rows:
            this = (row.task, row.frame, row.peer)
            if this != last and self._best[row.task][1] == row.peer:
                last = this
                yield row
