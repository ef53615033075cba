"""One subscriber's stream of events: live, replayed, and without gaps or repeats while the origins live.

For each origin a task follows its log from a place: from the window of live events where the place is in it, else
from the origin itself. When nothing comes it asks the origin now and then, so that a lost last batch is noticed
too. An origin that goes away is waited for. One that was never connected (both behind a NAT) is heard through others:
its events are told as they pass, and it is said what was missed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
import trio
from msgspec import Struct

from meshinfer.errors import MeshError, ProtocolError
from meshinfer.mesh.api import Mesh
from meshinfer.model.detection import Cursor, Event
from meshinfer.model.ids import JobId, PeerId, TaskId
from meshinfer.node.events import EventHub
from meshinfer.node.replay import EventArchive, Found, replay_from
from meshinfer.schedule.log import StoreId
from meshinfer.wire.messages import Head, Replay

ASK_AGAIN = 3.0
"""Seconds without news after which the origin is asked whether there is any."""

RETRY = 1.0
MAX_AGO = 1e9
"""Thirty years: what is older than that is asked for in vain, and a span without bound would be no valid question."""

UNREACHED = 5.0
"""Seconds for which an origin that is heard but not connected is waited for: it may just be dialed."""

SEEN = 100_000
"""(task, frame) pairs remembered: a frame that two peers analysed, or one peer again with a new store, is told once."""

BUFFER = 256


class Filter(Struct, frozen=True):
    job: JobId | None = None
    labels: tuple[str, ...] = ()
    min_score: float = 0.0
    source: str | None = None
    peer: PeerId | None = None

    def __call__(self, event: Event) -> Event | None:
        """The event with the detections that pass, or None where none does."""
        if self.job not in (None, event.job) or self.source not in (None, event.source):
            return None
        if self.peer not in (None, event.peer):
            return None
        if not self.labels and self.min_score <= 0:
            return event
        kept = tuple(
            d for d in event.detections if d.score >= self.min_score and (not self.labels or d.label in self.labels)
        )
        return msgspec.structs.replace(event, detections=kept) if kept else None


class Subscription:
    def __init__(
        self,
        mesh: Mesh,
        hub: EventHub,
        archive: EventArchive,
        *,
        wanted: Filter,
        ago: float = 0.0,
        cursor: Cursor | None = None,
        serves: Callable[[TaskId], bool] = lambda _: False,
    ) -> None:
        """`ago`: begin with events recorded so many seconds ago. `cursor`: continue one origin's log after it.

        `serves`: whether a task is one of the wanted job's, though its events carry another's id: equal work is done
        once.
        """
        self._mesh, self._hub, self._archive = mesh, hub, archive
        self._wanted, self._ago, self._cursor = wanted, min(ago, MAX_AGO), cursor
        self._serves = serves
        self._began = trio.current_time()
        self._passed = {store: window.last for store, window in hub.windows.items()}
        self._seen: OrderedDict[tuple[TaskId, int], StoreId] = OrderedDict()
        self._send, self._receive = trio.open_memory_channel[Event | str](BUFFER)
        self._following: set[PeerId] = set()

    async def items(self) -> AsyncGenerator[Event | str, None]:
        """Events, and now and then a notice (a sentence). Never ends by itself."""
        async with self._receive:
            async for item in self._receive:
                yield item

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery, self._mesh.changes() as changes:
            for peer in (self._mesh.me, *sorted(self._mesh.peers)):
                self._follow(peer, nursery)
            if self._cursor is not None:
                self._follow(self._cursor.origin, nursery)
            nursery.start_soon(self._follow_heard, nursery)
            async for change in changes:
                if change.up:
                    self._follow(change.peer, nursery)

    def _follow(self, peer: PeerId, nursery: trio.Nursery) -> None:
        if peer not in self._following and self._wanted.peer in (None, peer):
            self._following.add(peer)
            nursery.start_soon(self._origin, peer)

    async def _follow_heard(self, nursery: trio.Nursery) -> None:
        while True:
            for store in list(self._hub.windows):
                self._follow(store.origin, nursery)
            await self._hub.appeared()

    async def _origin(self, peer: PeerId) -> None:
        """Follow one origin's log."""
        at: StoreId | None = None
        n = 0
        if self._cursor is not None and self._cursor.origin == peer:
            at, n = StoreId(peer, self._cursor.incarnation), self._cursor.n
        began, met, warned = trio.current_time(), at is not None, False
        hearsay: set[int] = set()
        """Told as they passed by, before the origin could be asked."""
        while True:
            window = self._hub.windows.get(at) if at is not None else None
            if window is not None and window.first <= n + 1 <= window.last and (met or peer not in self._mesh.peers):
                for event in window.after(n, BUFFER):
                    await self._deliver(event)
                    n = event.cursor.n
                    if not met and len(hearsay) < SEEN:
                        hearsay.add(n)
                if n >= window.last:
                    await self._news(at, n, n, ASK_AGAIN)
                continue
            beyond = window.last if window is not None else 0.0
            ask = (
                Replay(ago=self._ago + trio.current_time() - self._began, job=self._wanted.job)
                if at is None or not met
                else Replay(after=n, incarnation=at.incarnation, job=self._wanted.job)
            )
            try:
                async with aclosing(self._pages(peer, ask)) as pages:
                    async for page in pages:
                        at = StoreId(peer, page.incarnation)
                        if isinstance(page, Head):
                            n = page.n
                            continue
                        for event in page.events:
                            if event.cursor.n not in hearsay:
                                await self._deliver(event)
                            n = event.cursor.n
                met, warned = True, False
                hearsay.clear()
                patience = ASK_AGAIN
            except (MeshError, ProtocolError) as e:
                beyond, patience = math.inf, RETRY
                away = peer not in self._mesh.peers
                if away and not (met and n) and self._hub.store_of(peer) is None:
                    # Nothing ever came from it, or only hearsay: it is followed anew if something does.
                    self._following.discard(peer)
                    return
                if away and not met:
                    if trio.current_time() - began >= UNREACHED:
                        at, n = await self._as_it_passes(peer, at, n)
                elif not warned:
                    warned = True
                    await self._send.send(f"events of peer {peer[-6:]} cannot be fetched now ({e}); trying on")
            await self._news(at, n, beyond, patience)

    async def _as_it_passes(self, peer: PeerId, at: StoreId | None, n: int) -> tuple[StoreId | None, int]:
        """Where to go on with an origin that only others are connected to."""
        store = self._hub.store_of(peer)
        if store is None:
            return at, n
        first, last = self._hub.windows[store].first, self._hub.windows[store].last
        if at is None:
            await self._send.send(f"peer {peer[-6:]} is not connected: its events are told as they pass by")
            return store, max(first - 1, self._passed.get(store, 0))
        if store != at:
            return store, first - 1
        if n + 1 < first <= last:
            await self._send.send(f"{first - 1 - n} events of peer {peer[-6:]} were missed: it is not connected")
            return store, first - 1
        return at, n

    async def _news(self, at: StoreId | None, n: int, beyond: float, patience: float) -> None:
        """Wait until the window of `at` goes on after n or reaches past `beyond` (there is a gap), `patience` at most.

        What it held already when the origin was asked is no news: were it, an origin that announces events which it
        does not have would keep us asking.
        """
        with trio.move_on_after(patience):
            while True:
                window = self._hub.windows.get(at) if at is not None else None
                if window is not None and (window.first <= n + 1 <= window.last or window.last > max(n, beyond)):
                    return
                await self._hub.arrived()

    async def _pages(self, peer: PeerId, ask: Replay) -> AsyncGenerator[Found | Head, None]:
        own = peer == self._mesh.me
        async with aclosing(self._archive.pages(ask) if own else replay_from(self._mesh, peer, ask)) as pages:
            async for page in pages:
                yield page

    async def _deliver(self, event: Event) -> None:
        job = self._wanted.job
        if job is not None and job != event.job and self._serves(event.task):
            event = msgspec.structs.replace(event, job=job)
        kept = self._wanted(event)
        if kept is None:
            return
        store = StoreId(event.peer, event.cursor.incarnation)
        if self._seen.setdefault((event.task, event.frame), store) != store:
            return
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        await self._send.send(kept)
