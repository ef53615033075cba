"""What peers say of each other's logs: which log, and which of its numbers were seen."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from meshinfer.model.ids import JobId, PeerId


class LogId(NamedTuple):
    """One sequence of numbers."""

    origin: PeerId
    incarnation: int
    job: JobId | None = None
    """None: the log of what all peers keep."""


class Extent(NamedTuple):
    """What a peer has seen of a log: all up to n, and some beyond."""

    n: int = 0
    runs: tuple[int, ...] = ()
    """Numbers above n, ascending: first and last of each run."""

    def __contains__(self, seq: object) -> bool:
        if not isinstance(seq, int) or seq <= self.n:
            return isinstance(seq, int)
        at = bisect_right(self.runs, seq)
        return at % 2 == 1 or (at > 0 and self.runs[at - 1] == seq)
