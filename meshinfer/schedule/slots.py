"""What a record log is made of: stores that records come from, slots that they fill, and what becomes of them."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from meshinfer.model.facts import BOUND_TO_JOB
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.logs import LogId
from meshinfer.model.record import Record
from meshinfer.schedule.seen import Seen


class StoreId(NamedTuple):
    """One store of one peer: a peer that loses its store comes back with a higher incarnation."""

    origin: PeerId
    incarnation: int


class Slot(NamedTuple):
    origin: PeerId
    kind: str
    key: str

    @property
    def job(self) -> JobId | None:
        return job_of(self.kind, self.key)


class Held(NamedTuple):
    record: Record
    born: float
    """When it was first heard of anywhere, on the local clock: `now` less the age it came with."""


class Log:
    """What is held and was seen of one sequence of numbers."""

    __slots__ = ("id", "last", "seen", "slots")

    def __init__(self, log_id: LogId) -> None:
        self.id = log_id
        self.seen = Seen()
        self.slots: dict[int, Slot] = {}
        self.last = 0
        """No number in `slots` is above it."""


class Fate(Enum):
    """What became of a record that was offered."""

    NEW = "new"
    KNOWN = "known"
    SUPERSEDED = "superseded"
    """Or seen before, and since let go."""
    LOST_STORE = "lost store"
    """From a store that its peer has since lost: what it said of work done is no longer true."""
    FORKED = "a record under a number that another has"
    """Two peers share one identity and one copied store."""
    FORGOTTEN = "a record of a peer that was forgotten"


@lru_cache(maxsize=4096)
def job_of(kind: str, key: str) -> JobId | None:
    """The job whose log a record is in."""
    return JobId(key.partition("/")[0]) if kind in BOUND_TO_JOB else None
