"""Events on the wire: what a run of events has in common is said once, and numbers are as short as they are.

An event with two people in it takes some 80 bytes here, 500 written out. Scores travel as ten-thousandths and boxes as
hundredths of a pixel: that is how detectors round them, so nothing is lost (n / 100 is the float nearest to that
decimal, which is what round(x, 2) gives).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from msgspec import Meta, Struct

from meshinfer.errors import DecodeError
from meshinfer.model.catalog import EntryName
from meshinfer.model.detection import MAX_DETECTIONS, Cursor, Detection, Event
from meshinfer.model.ids import Content, Count, Job, Name, PeerId, Real, Seconds, Task, TaskId

MAX_ROWS = 5000
MAX_WORKS = 2000
MAX_LABELS = 2000
SCORE_UNIT, BOX_UNIT = 10_000, 100
MAX_PIXEL = 65536

Index = Annotated[int, Meta(ge=0, le=MAX_ROWS)]
Fixed = Annotated[int, Meta(ge=0, le=MAX_PIXEL * BOX_UNIT)]


class Work(Struct, frozen=True, array_like=True):
    """What the events of one task have in common."""

    job: Job
    task: Task
    source: Name
    entry: EntryName
    content: Content
    width: Annotated[int, Meta(ge=0, le=MAX_PIXEL)]
    height: Annotated[int, Meta(ge=0, le=MAX_PIXEL)]
    captured: Real | None = None
    """Unix seconds of media time 0."""


class Seen(Struct, frozen=True, array_like=True):
    label: Index
    score: Annotated[int, Meta(ge=0, le=SCORE_UNIT)]
    x0: Fixed
    y0: Fixed
    x1: Fixed
    y1: Fixed


class Row(Struct, frozen=True, array_like=True):
    n: Annotated[int, Meta(ge=1, le=2**53)]
    """Its place in the origin's log."""
    work: Index
    frame: Count
    t: Seconds
    seen: Annotated[tuple[Seen, ...], Meta(max_length=MAX_DETECTIONS)]


class EventPack(Struct, frozen=True, array_like=True):
    """Events of one store of one peer, whose id the carrier knows."""

    incarnation: Annotated[int, Meta(ge=1, le=2**62)]
    labels: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=MAX_LABELS)]
    works: Annotated[tuple[Work, ...], Meta(max_length=MAX_WORKS)]
    rows: Annotated[tuple[Row, ...], Meta(max_length=MAX_ROWS)]


def pack(incarnation: int, events: Iterable[Event]) -> EventPack:
    labels: dict[str, int] = {}
    works: dict[Work, int] = {}
    rows = []
    for e in events:
        captured = None if e.wall is None else round(e.wall - e.t, 3)
        work = Work(e.job, e.task, e.source, e.entry, e.content, e.width, e.height, captured)
        seen = tuple(
            Seen(
                labels.setdefault(d.label, len(labels)),
                round(d.score * SCORE_UNIT),
                *(round(min(max(v, 0.0), MAX_PIXEL) * BOX_UNIT) for v in d.box),
            )
            for d in e.detections
        )
        rows.append(Row(e.cursor.n, works.setdefault(work, len(works)), e.frame, e.t, seen))
    return EventPack(incarnation, tuple(labels), tuple(works), tuple(rows))


def unpack(pack: EventPack, origin: PeerId) -> tuple[Event, ...]:
    """The events, as `origin` made them. Raises DecodeError."""
    try:
        return tuple(_event(pack, row, origin) for row in pack.rows)
    except IndexError:
        raise DecodeError("an event that refers to what its pack does not hold") from None


def _event(pack: EventPack, row: Row, origin: PeerId) -> Event:
    work = pack.works[row.work]
    detections = tuple(
        Detection(
            pack.labels[s.label],
            s.score / SCORE_UNIT,
            (s.x0 / BOX_UNIT, s.y0 / BOX_UNIT, s.x1 / BOX_UNIT, s.y1 / BOX_UNIT),
        )
        for s in row.seen
    )
    return Event(
        Cursor(origin, pack.incarnation, row.n),
        work.job,
        work.task,
        work.source,
        work.entry,
        work.content,
        row.frame,
        row.t,
        work.width,
        work.height,
        detections,
        None if work.captured is None else round(work.captured + row.t, 3),
    )


def packs(incarnation: int, events: Iterable[Event], limit: int) -> Iterator[EventPack]:
    """The events in packs that encode to at most `limit` bytes (which must hold the largest single event, 16 KiB)."""
    part: list[Event] = []
    size = 0
    tasks: set[TaskId] = set()
    for event in events:
        cost = 40 + 32 * len(event.detections) + sum(len(d.label.encode()) for d in event.detections)
        if event.task not in tasks:
            cost += 200 + len(event.source.encode()) + len(event.entry.encode())
        if part and (size + cost > limit or len(part) == MAX_WORKS):
            yield pack(incarnation, part)
            part, size, tasks = [], 0, set()
        part.append(event)
        tasks.add(event.task)
        size += cost
    if part:
        yield pack(incarnation, part)
