"""Vectors on the wire: split into frames, read back with their limits. Both sides of a sync are made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, TypeVar

from meshinfer.errors import ProtocolError
from meshinfer.model.ids import JobId
from meshinfer.model.logs import Extent, LogId
from meshinfer.wire.messages import MAX_JOBS, MAX_RUNS, PAGE_TARGET, Complete, Have, OfJob, Upto

MAX_PARTS = 24
"""Frames of one vector: 60,000 logs."""

FEW = PAGE_TARGET // 100
"""Logs, none of them with runs, that fit one frame whatever they are."""

T = TypeVar("T", Have, Complete)


class View(NamedTuple):
    """What one side of a sync has seen."""

    logs: Mapping[LogId, Extent]
    jobs: Collection[JobId]
    """Jobs whose logs it keeps, as far as it named them."""
    relay: Collection[JobId] = ()
    """Of them, those which the other side is asked to keep too."""
    lives: int = 0
    """Of our own view, `RecordLog.lives` when it was taken; it does not travel."""


def upto(log: LogId, extent: Extent) -> Upto:
    return Upto(log.origin, log.incarnation, extent.n, extent.runs[:MAX_RUNS])


def parts(kind: type[T], view: View) -> Iterator[T]:
    """The view as messages, none of which is larger than a frame may be."""
    mesh: list[tuple[LogId, Extent]] = []
    of_jobs: dict[JobId, list[tuple[LogId, Extent]]] = {job: [] for job in view.jobs}
    for item in view.logs.items():
        job = item[0].job
        if job is None:
            mesh.append(item)
        elif job in of_jobs:
            of_jobs[job].append(item)
    if len(view.logs) + len(of_jobs) <= FEW and len(of_jobs) < MAX_JOBS and not any(e.runs for e in view.logs.values()):
        entries = {job: [upto(*item) for item in sorted(items)] for job, items in of_jobs.items()}
        yield kind(tuple([upto(*item) for item in sorted(mesh)]), _of_jobs(entries, view.relay))
        return
    pieces: list[tuple[JobId | None, Upto | None]] = [(None, upto(*item)) for item in sorted(mesh)]
    for job, items in of_jobs.items():
        pieces += [(job, upto(*item)) for item in sorted(items)] or [(job, None)]
    yield from _packed(kind, pieces, view.relay)


def _packed(kind: type[T], pieces: list[tuple[JobId | None, Upto | None]], relay: Collection[JobId]) -> Iterator[T]:
    vector: list[Upto] = []
    jobs: dict[JobId, list[Upto]] = {}
    size = 0
    for at, (job, entry) in enumerate(pieces):
        where = vector if job is None else jobs.setdefault(job, [])
        size += 24
        if entry is not None:
            where.append(entry)
            size += 64 + 9 * len(entry.runs)
        if (size >= PAGE_TARGET or len(jobs) >= MAX_JOBS) and at + 1 < len(pieces):
            yield kind(tuple(vector), _of_jobs(jobs, relay), True)
            vector, jobs, size = [], {}, 0
    yield kind(tuple(vector), _of_jobs(jobs, relay))


def _of_jobs(jobs: Mapping[JobId, list[Upto]], relay: Collection[JobId]) -> tuple[OfJob, ...]:
    return tuple(OfJob(job, tuple(entries), job in relay) for job, entries in jobs.items())


class Reader:
    """Puts the parts of a vector together."""

    def __init__(self) -> None:
        self._logs: dict[LogId, Extent] = {}
        self._jobs: dict[JobId, None] = {}
        self._relay: dict[JobId, None] = {}
        self._parts = 0

    @property
    def begun(self) -> bool:
        return self._parts > 0

    def take(self, part: Have | Complete) -> View | None:
        """The whole, with its last part. Raises ProtocolError."""
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ProtocolError("a vector without end")
        self._logs.update(read_vector(part.vector))
        for of_job in part.jobs:
            self._jobs[of_job.job] = None
            self._logs.update(read_vector(of_job.vector, of_job.job))
            if of_job.relay:
                self._relay[of_job.job] = None
        return None if part.more else View(self._logs, self._jobs, self._relay)


def read_vector(vector: Iterable[Upto], job: JobId | None = None) -> dict[LogId, Extent]:
    """Raises ProtocolError for runs that are none."""
    out = {}
    for entry in vector:
        n, runs = entry.n, entry.runs
        if runs and (len(runs) % 2 or any(b < a + (i % 2) * 2 for i, (a, b) in enumerate(pairwise((n, *runs)), -1))):
            raise ProtocolError("a vector with runs that are none")
        out[_log_id(entry.origin, entry.incarnation, job)] = Extent(n, runs)
    return out


_log_id = lru_cache(maxsize=16_384)(LogId)
"""The same logs are named in every vector: one value each, which is found by its identity."""
