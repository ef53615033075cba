"""Which chunk of a model is asked of whom: each source takes the next one when it is free, so the fast carry most."""

from __future__ import annotations

from collections import deque

import trio

from meshinfer.model.bundle import Vouched
from meshinfer.model.ids import PeerId
from meshinfer.node.fetch_file import PartFile

OVERDUE = 4.0
"""Seconds after which a chunk that somebody was asked for is asked of another source too, once no other is left."""


class Chunks:
    """The chunks of one model, as they come."""

    def __init__(self, vouched: Vouched, file: PartFile, missing: set[int]) -> None:
        self.vouched, self.file = vouched, file
        self._missing = missing
        self._free = deque(sorted(missing))
        self._asked: dict[int, dict[PeerId, float]] = {}
        """Who was asked for a chunk, and when."""
        self._moved = trio.Event()

    @property
    def complete(self) -> bool:
        return not self._missing

    @property
    def got(self) -> int:
        """Bytes that are there, to a chunk."""
        size, chunks = self.vouched.bundle.size, len(self.vouched.bundle.chunks)
        return size - size * len(self._missing) // chunks

    def take(self, peer: PeerId) -> int | None:
        """The chunk to ask `peer` for; None: there is none for it now."""
        now = trio.current_time()
        index = self._next_free()
        if index is None and (index := self._overdue(peer, now)) is None:
            return None
        self._asked.setdefault(index, {})[peer] = now
        return index

    def _next_free(self) -> int | None:
        while self._free:
            if (index := self._free.popleft()) in self._missing:
                return index
        return None

    def _overdue(self, peer: PeerId, now: float) -> int | None:
        for index, asked in self._asked.items():
            if peer not in asked and max(asked.values()) + OVERDUE <= now:
                return index
        return None

    def came(self, index: int) -> None:
        """It is written, from whomever it came."""
        self._missing.discard(index)
        self._asked.pop(index, None)
        self._stir()

    def give_back(self, peer: PeerId) -> None:
        """It brings no more: what it was asked for is asked of others, first."""
        for index in sorted(self._asked, reverse=True):
            asked = self._asked[index]
            if asked.pop(peer, None) is not None and not asked:
                del self._asked[index]
                self._free.appendleft(index)
        self._stir()

    async def moved(self, seconds: float) -> None:
        """Wait until something came or was given back, so long at most."""
        with trio.move_on_after(seconds):
            await self._moved.wait()

    def _stir(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
