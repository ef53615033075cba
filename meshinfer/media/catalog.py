"""The catalog: what this peer holds, found by looking at its sources again and again.

Folders are walked, files decoded and hashed, and the cache read and written in threads; the trio thread only keeps the
books, a bounded piece at a time. Walks take half a percent of a core: the longer one takes, the rarer they are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import trio

from meshinfer.errors import ConfigError, StoreError
from meshinfer.media.examine import Verdict, examine
from meshinfer.media.holding import Holding, Known, Look, summarise
from meshinfer.media.scan import Seen, walk
from meshinfer.media.source import SourceSpec, check_sources
from meshinfer.model.catalog import Entry, SourceSummary, Unreadable
from meshinfer.model.ids import ContentId

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that libp2p brings; trio's own types give way to them

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(source, entry name)."""

MAX_LABELS: Final = 64
MAX_INTERVAL: Final = 300.0
WALK_SHARE: Final = 0.005
"""Of a core, at most, for walking the folders while nothing changes (until the interval reaches its maximum)."""
BATCH: Final = 64
BATCH_SECONDS: Final = 0.25
PIECE: Final = 200
"""Verdicts and names booked before other tasks get a turn."""


class FileCache(Protocol):
    """What survives a restart; `store.FileTable` is one. Every call blocks."""

    def load(self, source: str) -> dict[str, Known]: ...
    def put(self, rows: Iterable[Known]) -> None: ...
    def drop(self, source: str, names: Iterable[str]) -> None: ...


class CatalogChange(NamedTuple):
    added: tuple[Entry, ...] = ()
    """New, or changed."""
    removed: tuple[Key, ...] = ()
    """No longer there, or no longer what they were: those that changed come again in `added`."""
    unreadable: tuple[Unreadable, ...] = ()
    """Newly listed as such."""


class _Job(NamedTuple):
    holding: Holding
    name: str
    seen: Seen

    @property
    def key(self) -> Key:
        return self.holding.spec.name, self.name


class Catalog:
    """What lies in `specs`. Made anywhere, served once, asked in the trio thread (`find`: anywhere)."""

    def __init__(
        self,
        specs: Sequence[SourceSpec],
        *,
        labels: dict[str, str] | None = None,
        cache: FileCache | None = None,
        settle: float = 2.0,
        interval: float = 2.0,
        workers: int = 2,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`labels`: the peer's; a source's own go over them. `settle`, `interval`: seconds, as in the configuration.

        Raises ConfigError for a source that cannot be read.
        """
        check_sources(specs)
        self._holdings = {spec.name: Holding(spec, labels or {}, settle) for spec in specs}
        for name, holding in self._holdings.items():
            if len(holding.labels) > MAX_LABELS:
                raise ConfigError(f"source {name}: more than {MAX_LABELS} labels, together with the peer's")
        self._cache, self._interval, self._wall = cache, interval, wall
        self._workers = workers
        self._limiter = trio.CapacityLimiter(workers)
        self._todo: dict[Key, _Job] = {}
        self._busy: dict[Key, Seen] = {}
        self._more = trio.Event()
        self._by_content: dict[ContentId, tuple[Key, ...]] = {}
        self._snapshot: tuple[dict[Key, Entry], dict[Key, Unreadable]] | None = None
        self.examined = 0
        """Files opened so far: those that the cache knew are not among them."""
        self.scanned = trio.Event()
        """Set when every file that was there at the start has been looked at (but those still being written)."""

    async def serve(
        self,
        changes: trio.MemorySendChannel[CatalogChange],
        *,
        task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Looks at the sources until it is cancelled. Ready at once: what it finds arrives in `changes`, in pieces."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._workers):
                nursery.start_soon(self._examine, changes)
            for holding in self._holdings.values():
                nursery.start_soon(self._watch, holding, changes)
            self._note_progress()
            task_status.started()

    def snapshot(self) -> tuple[dict[Key, Entry], dict[Key, Unreadable]]:
        """All entries, and all files that cannot be analysed, each in the order of their keys. Not to be changed."""
        if self._snapshot is None:
            holdings = sorted(self._holdings.items())
            self._snapshot = (
                {(source, name): h.entries[name] for source, h in holdings for name in sorted(h.entries)},
                {(source, name): h.unreadable[name] for source, h in holdings for name in sorted(h.unreadable)},
            )
        return self._snapshot

    def find(self, content: ContentId) -> tuple[Path, Entry] | None:
        """Where that footage lies now: a real path inside its source, of a file unchanged since it was hashed.

        Asks the file system: best called in a thread.
        """
        for source, name in self._by_content.get(content, ()):
            holding = self._holdings[source]
            entry = holding.entries.get(name)
            path = holding.spec.locate(name)
            if entry is not None and path is not None and holding.is_unchanged(name, path):
                return path, entry
        return None

    async def summary(self) -> tuple[SourceSummary, ...]:
        """One for each source, in the order they were given. Their sketches are empty."""
        for h in self._holdings.values():
            if h.summary_of != h.version:
                version, entries, unreadable = h.version, list(h.entries.values()), len(h.unreadable)
                h.summary = await trio.to_thread.run_sync(summarise, h.spec, h.labels, entries, unreadable)
                h.summary_of = version
        return tuple(h.summary for h in self._holdings.values() if h.summary is not None)

    async def _watch(self, holding: Holding, changes: trio.MemorySendChannel[CatalogChange]) -> None:
        while True:
            look, cost = await trio.to_thread.run_sync(self._look, holding)
            await self._book(holding, look, changes)
            holding.walked = True
            self._note_progress()
            await trio.sleep(min(max(self._interval, cost / WALK_SHARE), max(self._interval, MAX_INTERVAL)))

    def _look(self, holding: Holding) -> tuple[Look, float]:
        began = time.thread_time()
        found = walk(holding.spec, trio.from_thread.check_cancelled)
        if found.files and holding.is_blank and self._cache is not None:
            holding.remember(self._cache.load(holding.spec.name))
        look = holding.look(found, self._wall(), time.monotonic())
        if look.forgotten and self._cache is not None:
            self._tell_cache(self._cache.drop, holding.spec.name, look.forgotten)
        return look, time.thread_time() - began

    async def _book(self, holding: Holding, look: Look, changes: trio.MemorySendChannel[CatalogChange]) -> None:
        source = holding.spec.name
        # Those that are not there any more, or no longer what they were, must not be examined as such.
        for name in (*look.gone, *look.waiting):
            self._todo.pop((source, name), None)
        removed = holding.apply_look(look)
        self._unlist(removed.entries)
        await self._send(
            changes, CatalogChange((), tuple((source, e.name) for e in removed.entries), removed.unreadable)
        )
        for i in range(0, len(look.cached), PIECE):
            await self._apply(holding, look.cached[i : i + PIECE], changes)
        jobs = [_Job(holding, name, seen) for name, seen in look.todo.items() if not holding.is_settled(name, seen)]
        for i in range(0, len(jobs), PIECE):
            self._todo.update((j.key, j) for j in jobs[i : i + PIECE] if self._busy.get(j.key) != j.seen)
            self._more.set()
            self._more = trio.Event()
            await trio.lowlevel.checkpoint()

    async def _examine(self, changes: trio.MemorySendChannel[CatalogChange]) -> None:
        while True:
            batch = self._take()
            if not batch:
                await self._more.wait()
                continue
            verdicts = await trio.to_thread.run_sync(self._examine_batch, batch, limiter=self._limiter)
            self.examined += len(verdicts)
            for job in batch[len(verdicts) :]:
                self._busy.pop(job.key, None)
            # The rest of a batch that took long goes to whoever is free, before everything else.
            left = {job.key: job for job in batch[len(verdicts) :]}
            self._todo = {**left, **self._todo} if left else self._todo
            by_holding: dict[str, list[Verdict]] = {}
            for job, verdict in zip(batch, verdicts, strict=False):
                if job.key not in self._todo:  # else it has changed since
                    by_holding.setdefault(job.holding.spec.name, []).append(verdict)
            for source, found in by_holding.items():
                holding = self._holdings[source]
                await self._apply(holding, [holding.label(v) for v in found], changes)
            for job in batch[: len(verdicts)]:
                self._busy.pop(job.key, None)
            self._note_progress()

    def _take(self) -> list[_Job]:
        batch: list[_Job] = []
        while self._todo and len(batch) < BATCH:
            key = next(iter(self._todo))
            job = self._todo.pop(key)
            self._busy[key] = job.seen
            batch.append(job)
        return batch

    def _examine_batch(self, batch: list[_Job]) -> list[Verdict]:
        """At least one verdict; for all of `batch` where that takes less than `BATCH_SECONDS`."""
        until = time.monotonic() + BATCH_SECONDS
        verdicts: list[Verdict] = []
        for holding, name, seen in batch:
            trio.from_thread.check_cancelled()
            verdicts.append(examine(holding.spec, name, seen, trio.from_thread.check_cancelled))
            if time.monotonic() > until:
                break
        if self._cache is not None:
            self._tell_cache(self._cache.put, [(*v.seen, v.what) for v in verdicts if v.final and v.what is not None])
        return verdicts

    async def _apply(
        self, holding: Holding, verdicts: list[Verdict], changes: trio.MemorySendChannel[CatalogChange]
    ) -> None:
        source = holding.spec.name
        self._unlist([holding.entries[v.name] for v in verdicts if v.name in holding.entries])
        added, listed = holding.apply(verdicts)
        for entry in added:
            self._by_content[entry.content] = tuple(
                sorted({*self._by_content.get(entry.content, ()), (source, entry.name)})
            )
        await self._send(changes, CatalogChange(tuple(added), (), tuple(listed)))

    def _unlist(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            left = tuple(key for key in self._by_content.get(entry.content, ()) if key != (entry.source, entry.name))
            if left:
                self._by_content[entry.content] = left
            else:
                self._by_content.pop(entry.content, None)

    async def _send(self, changes: trio.MemorySendChannel[CatalogChange], change: CatalogChange) -> None:
        self._snapshot = None
        if any(change):
            await changes.send(change)
        else:
            await trio.lowlevel.checkpoint()

    def _note_progress(self) -> None:
        if not self._todo and not self._busy and all(h.walked for h in self._holdings.values()):
            self.scanned.set()

    def _tell_cache(self, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except StoreError as e:
            # It only saves work at the next start: a full disk is no reason to stop looking.
            log.warning("what the catalog found is not kept for the next start: %s", e)
