"""Which numbers of a log were seen: all up to n, and runs ahead of it. Exact: nobody's word moves it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from meshinfer.model.logs import Extent

MAX_RUNS = 1024
"""Runs remembered ahead of one log's prefix. What is beyond comes again with the next sync, and is known by then."""


class Seen:
    """Numbers seen so far, as disjoint runs that do not touch."""

    __slots__ = ("_extent", "_firsts", "_lasts", "n")

    def __init__(self) -> None:
        self.n = 0
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._extent: Extent | None = Extent()

    def __contains__(self, seq: int) -> bool:
        if seq <= self.n:
            return True
        at = bisect_right(self._firsts, seq) - 1
        return at >= 0 and seq <= self._lasts[at]

    @property
    def highest(self) -> int:
        return self._lasts[-1] if self._lasts else self.n

    def add(self, seq: int) -> None:
        if seq == self.n + 1:
            self.settle(seq)
        elif seq not in self:
            self._extent = None
            at = bisect_left(self._firsts, seq)
            before = at > 0 and self._lasts[at - 1] == seq - 1
            after = at < len(self._firsts) and self._firsts[at] == seq + 1
            if before and after:
                self._lasts[at - 1] = self._lasts.pop(at)
                del self._firsts[at]
            elif before:
                self._lasts[at - 1] = seq
            elif after:
                self._firsts[at] = seq
            elif len(self._firsts) < MAX_RUNS:
                self._firsts.insert(at, seq)
                self._lasts.insert(at, seq)

    def settle(self, n: int) -> None:
        """All up to n are accounted for."""
        self._extent = None
        self.n = max(self.n, n)
        while self._firsts and self._firsts[0] <= self.n + 1:
            self.n = max(self.n, self._lasts.pop(0))
            del self._firsts[0]

    def extent(self) -> Extent:
        """The same as a value; made anew only when something has changed."""
        if self._extent is None:
            runs = zip(self._firsts, self._lasts, strict=True)
            self._extent = Extent(self.n, tuple(seq for run in runs for seq in run))
        return self._extent
