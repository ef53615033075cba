"""A simulated peer's side of anti-entropy: `node/sync.py` without waiting, one call a frame.

a: Have(vector)      b: Page* Complete(vector)      a: Page* Complete(vector)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from meshinfer.errors import ProtocolError
from meshinfer.schedule.log import StoreId
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_VECTOR, PAGE_TARGET, Aged, Complete, Have, Page, Upto, Vector, read_sync

EVERY = 5.0
PUSH_AFTER = 0.25
MAX_PUSHED = 16
MAX_A_PAGE = 1000
"""As in `node/sync.py`, which cannot be imported here: it waits on a clock."""


class Shell(Protocol):
    """What a sync needs of its peer."""

    def vector(self) -> dict[StoreId, int]: ...

    def aged(self, theirs: dict[StoreId, int]) -> list[Aged]: ...

    def hear(self, sealed: bytes, age: float) -> None: ...

    def complete_to(self, vector: Vector) -> None: ...

    def send(self, other: int, stream: int, data: bytes) -> None: ...


class Syncs:
    """All syncs that one peer has under way: at most one of its own with each peer."""

    def __init__(self, shell: Shell, me: int) -> None:
        self._shell, self._me = shell, me
        self._begun: dict[int, int] = {}
        """Peer: number of the stream that we opened."""
        self._again: set[int] = set()
        self._answering: dict[tuple[int, int], bool] = {}
        self._streams = 0

    @property
    def under_way(self) -> set[int]:
        return set(self._begun)

    def start(self, other: int) -> None:
        if other in self._begun:
            self._again.add(other)
            return
        self._streams += 1
        # The two sides of a connection number their streams apart, as multiplexers do.
        self._begun[other] = self._streams * 2 + (self._me > other)
        self._again.discard(other)
        self._shell.send(other, self._begun[other], encode(Have(self._vector())))

    def broken(self, other: int) -> None:
        """The connection is gone, and every stream on it."""
        self._begun.pop(other, None)
        self._again.discard(other)
        for key in [key for key in self._answering if key[0] == other]:
            del self._answering[key]

    def frame(self, other: int, stream: int, data: bytes) -> None:
        """Raises ProtocolError."""
        ours = self._begun.get(other) == stream
        match read_sync(data):
            case Have(vector):
                if stream % 2 == (self._me > other):
                    raise ProtocolError("a vector in the middle of a sync")
                self._answering[other, stream] = True
                self._give(other, stream, vector)
            case Page(records) if ours or (other, stream) in self._answering:
                for aged in records:
                    self._shell.hear(aged.sealed, aged.age)
            case Complete(vector) if ours or (other, stream) in self._answering:
                self._shell.complete_to(vector)
                self._answering.pop((other, stream), None)
                if ours:
                    self._give(other, stream, vector)
                    del self._begun[other]
                    if other in self._again:
                        self.start(other)
            case _:  # of a stream that has broken meanwhile
                pass

    def _vector(self) -> Vector:
        return tuple(Upto(*store, n) for store, n in sorted(self._shell.vector().items())[:MAX_VECTOR])

    def _give(self, other: int, stream: int, theirs: Vector) -> None:
        mine = self._vector()
        for page in _pages(self._shell.aged({StoreId(u.origin, u.incarnation): u.n for u in theirs})):
            self._shell.send(other, stream, encode(Page(page)))
        self._shell.send(other, stream, encode(Complete(mine)))


def _pages(records: list[Aged]) -> Iterator[tuple[Aged, ...]]:
    page: list[Aged] = []
    size = 0
    for record in records:
        page.append(record)
        size += len(record.sealed) + 16
        if size >= PAGE_TARGET or len(page) >= MAX_A_PAGE:
            yield tuple(page)
            page, size = [], 0
    if page:
        yield tuple(page)
