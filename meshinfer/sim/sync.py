"""A simulated peer's side of anti-entropy: `node/sync.py` without waiting, one call a frame.

a: Have+      b: Page* Complete+      a: Page* Complete+
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from meshinfer.errors import ProtocolError
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.record import Record
from meshinfer.schedule.log import job_of
from meshinfer.sim.books import Books
from meshinfer.sim.chance import Rng
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import PAGE_TARGET, Aged, Complete, Have, Page, SyncMessage, read_sync
from meshinfer.wire.vectors import Reader, T, View, parts

MAX_PASSED = 4
MAX_PASSED_OF_JOBS = 2
MAX_ASKED = 8
MAX_A_PAGE = 1000
"""As in `node/sync.py`, which cannot be imported here: it waits on a clock."""


class Shell(Protocol):
    """What a sync needs of its peer."""

    @property
    def neighbours(self) -> set[int]: ...

    def id_of(self, other: int) -> PeerId: ...

    def send(self, other: int, stream: int, data: bytes) -> None: ...

    def news(self) -> None:
        """Something came that others may lack."""


@dataclass(slots=True)
class _Talk:
    """One stream: what was said on it so far."""

    reader: Reader = field(default_factory=Reader)
    mine: View | None = None
    """What we said that we have seen."""


class Syncs:
    """All syncs that one peer has under way: at most one of its own with each peer."""

    def __init__(self, shell: Shell, books: Books, me: int, rng: Rng) -> None:
        self._shell, self._books, self._me, self._rng = shell, books, me, rng
        self._begun: dict[int, int] = {}
        """Peer: number of the stream that we opened."""
        self._again: set[int] = set()
        self._talks: dict[tuple[int, int], _Talk] = {}
        self._streams = 0
        self._keepers: dict[int, frozenset[JobId]] = {}
        self._told: dict[type, tuple[View, list[bytes]]] = {}
        self._news_by: set[int] = set()
        self._news_of: dict[JobId, set[int]] = {}

    @property
    def under_way(self) -> set[int]:
        return set(self._begun)

    @property
    def has_news(self) -> bool:
        return bool(self._news_by or self._news_of)

    def start(self, other: int) -> None:
        if other in self._begun:
            self._again.add(other)
            return
        self._again.discard(other)
        stream = self._begun[other] = self._open(other)
        talk = self._talks[other, stream] = _Talk()
        talk.mine = self._books.view(self._books.named(), self._shell.id_of(other))
        for data in self._vector(Have, talk.mine):
            self._shell.send(other, stream, data)

    def push(self, other: int, records: list[Aged]) -> None:
        """Records, and no answer."""
        stream = self._open(other)
        for page in _pages(records):
            self._shell.send(other, stream, encode(Page(page)))

    def _open(self, other: int) -> int:
        self._streams += 1
        # The two sides of a connection number their streams apart, as multiplexers do.
        return self._streams * 2 + (self._me > other)

    def broken(self, other: int) -> None:
        """The connection is gone, and every stream on it."""
        self._begun.pop(other, None)
        self._again.discard(other)
        self._keepers.pop(other, None)
        for key in [key for key in self._talks if key[0] == other]:
            del self._talks[key]

    def frame(self, other: int, stream: int, data: bytes) -> None:
        """Raises ProtocolError."""
        ours = stream % 2 == (self._me > other)
        talk = self._talks.get((other, stream))
        said, whole = _read(data)
        match said:
            case Have() as part:
                if ours:
                    raise ProtocolError("a vector in the middle of a sync")
                talk = self._talks.setdefault((other, stream), _Talk())
                if (theirs := self._whole(other, talk, part, whole)) is not None:
                    talk.reader = Reader()
                    talk.mine = self._give(other, stream, theirs, self._books.named())
            case Page(records) if talk is not None or not ours:  # else of a stream that has broken meanwhile
                for aged in records:
                    if (news := self._books.hear(aged.sealed, aged.age, self._shell.id_of(other))) is not None:
                        self._note(other, news)
            case Complete() as part if talk is not None:
                if talk.mine is None:
                    raise ProtocolError("a vector that is broken off")
                if (theirs := self._whole(other, talk, part, whole)) is not None:
                    del self._talks[other, stream]
                    self._books.ends(self._shell.id_of(other), theirs, talk.mine)
                    if ours:
                        self._give(other, stream, theirs, [])
                        del self._begun[other]
                        if other in self._again:
                            self.start(other)
            case _:
                pass

    def _whole(self, other: int, talk: _Talk, part: Have | Complete, whole: View | None) -> View | None:
        view = talk.reader.take(part) if talk.reader.begun or whole is None else whole
        if view is not None:
            self._books.relay(view.relay)
            kept = self._books.keeping.interest.kept
            self._keepers[other] = frozenset(job for job in view.jobs if job in kept)
        return view

    def _give(self, other: int, stream: int, theirs: View, named: Collection[JobId]) -> View:
        kept = [job for job in theirs.jobs if job in self._books.keeping.interest.kept]
        mine = self._books.view(dict.fromkeys([*kept, *named]), self._shell.id_of(other))
        for page in _pages(self._books.lacking(theirs, self._shell.id_of(other))):
            self._shell.send(other, stream, encode(Page(page)))
        for data in self._vector(Complete, mine):
            self._shell.send(other, stream, data)
        return mine

    def _vector(self, kind: type[T], view: View) -> list[bytes]:
        """Its frames. The same view is often told to several."""
        known = self._told.get(kind)
        if known is None or known[0] is not view:
            known = self._told[kind] = view, [encode(part) for part in parts(kind, view)]
        return known[1]

    # ---- whom to tell, whom to ask -----------------------------------------------------------------------------------

    def _note(self, other: int, news: Record) -> None:
        job = job_of(news.kind, news.key)
        if job is None:
            self._news_by.add(other)
        elif news.kind != "claim":
            self._news_of.setdefault(job, set()).add(other)
        else:
            return
        self._shell.news()

    def pass_on(self) -> None:
        """Sync with a few others: some brought news."""
        by, of, self._news_by, self._news_of = self._news_by, self._news_of, set(), {}
        chosen = set(self._some(self._shell.neighbours - by, MAX_PASSED)) if by else set()
        concerned = {other for job, heard_from in of.items() for other in self.takes_part(job) - heard_from}
        for other in sorted(chosen.union(self._some(concerned, MAX_PASSED_OF_JOBS))):
            self.start(other)

    def catch_up(self, jobs: Collection[JobId]) -> None:
        """Sync with those that may know of these jobs."""
        first = self._some({other for job in jobs for other in self.takes_part(job)}, MAX_ASKED)
        for other in first + self._some(self._shell.neighbours.difference(first), MAX_ASKED - len(first)):
            self.start(other)

    def takes_part(self, job: JobId) -> set[int]:
        """Neighbours that are known to keep the job's log."""
        log = self._books.log
        known = log.speakers(job) | log.publishers(job)
        return {o for o in self._shell.neighbours if self._shell.id_of(o) in known or job in self._keepers.get(o, ())}

    def _some(self, others: Iterable[int], most: int) -> list[int]:
        there = sorted(others)
        return self._rng.sample(there, min(most, len(there)))


@lru_cache(maxsize=512)
def _read(data: bytes) -> tuple[SyncMessage, View | None]:
    """A frame, and the view that it is the whole of: the same bytes often go to several. Raises ProtocolError."""
    said = read_sync(data)
    return said, None if isinstance(said, Page) or said.more else Reader().take(said)


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
