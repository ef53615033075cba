"""The live side of events: what this peer records goes out in batches; what others send is kept for a while.

Theory: an origin's log is gapless, n = 1, 2, 3, ... So whoever knows the last n it has seen knows what it lacks.
Gossip only shortens the way: each origin has a window of its newest events here, and a subscriber whose place is
before the window, or who has heard nothing for a while, asks the origin (`node/subscription.py`). Slow readers need
no queue: they are just further behind.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice

import trio

from meshinfer.errors import MessageTooBig, ProtocolError
from meshinfer.mesh.api import Mesh
from meshinfer.model.detection import Event
from meshinfer.model.ids import PeerId
from meshinfer.schedule.log import StoreId
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import packs, unpack
from meshinfer.wire.messages import MAX_ANNOUNCEMENT, EventBatch

EVERY = 0.05
"""Seconds between two batches of a peer: 20 messages a second at most, and the delay that a subscriber may notice."""

WINDOW = 2000
"""Newest events kept of each origin, at most."""

MAX_WINDOW = 40_000
MAX_WINDOWS = 400_000
"""Detections kept of one origin, and of all (100 MB): beyond, the oldest events go, and the origins silent longest."""

MAX_ORIGINS = 512
MAX_BATCH = 1000
MAX_UNSENT = 20_000
"""Events that wait for the network. Beyond, the oldest are not sent live: subscribers fetch them."""


class Window:
    """A contiguous run of an origin's newest events."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.events: deque[Event] = deque()
        self.weight = 0

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1

    def extend(self, first: int, events: Sequence[Event]) -> None:
        """Append what is new. After a gap the window starts anew: what is before it can be fetched."""
        if first > self.last + 1:
            self.events.clear()
            self.first, self.weight = first, 0
        for event in events[max(0, self.last + 1 - first) :]:
            self.events.append(event)
            self.weight += _weight(event)
            while len(self.events) > WINDOW or self.weight > MAX_WINDOW:
                self.weight -= _weight(self.events.popleft())
                self.first += 1

    def after(self, n: int, limit: int) -> list[Event]:
        """Events from n + 1, which must lie in the window."""
        start = n + 1 - self.first
        return list(islice(self.events, start, start + limit))


def _weight(event: Event) -> int:
    return 1 + len(event.detections)


class EventHub:
    def __init__(self, mesh: Mesh, own: StoreId, head: int) -> None:
        """`head` is where the own log ends now."""
        self._mesh, self._own = mesh, own
        self.windows: dict[StoreId, Window] = {own: Window(head + 1)}
        self.counters: Counter[str] = Counter()
        self._unsent: deque[Event] = deque()
        self._recorded = trio.Event()
        self._arrived = trio.Event()
        self._appeared = trio.Event()

    @property
    def own_head(self) -> int:
        return self.windows[self._own].last

    def renew(self, incarnation: int) -> None:
        """The own store is another one from now on; its numbers go on."""
        before, self._own = self._own, StoreId(self._own.origin, incarnation)
        self.windows[self._own] = Window(self.windows.pop(before).last + 1)
        self._unsent.clear()
        self._wake()

    def recorded(self, events: Sequence[Event]) -> None:
        """These are in the store now, in the order of their numbers."""
        if not events:
            return
        self.windows[self._own].extend(events[0].cursor.n, events)
        self._unsent.extend(events)
        while len(self._unsent) > MAX_UNSENT:
            self._unsent.popleft()
            self.counters["events_not_sent_live"] += 1
        self._recorded.set()
        self._wake()

    def receive(self, origin: PeerId, batch: EventBatch) -> None:
        """A batch from the network. Raises ProtocolError when it is not what its sender may send."""
        events = unpack(batch.pack, origin)
        if not events or any(event.cursor.n != events[0].cursor.n + i for i, event in enumerate(events)):
            raise ProtocolError("events that do not follow each other")
        if origin == self._own.origin:
            raise ProtocolError("events in our own name")
        store, first = StoreId(origin, batch.pack.incarnation), events[0].cursor.n
        before = self.store_of(origin)
        if before is not None and store.incarnation < before.incarnation:
            raise ProtocolError("events of a store that was lost")
        window = self.windows.pop(before) if before is not None else None
        if window is None or before != store:
            window = Window(first)
            self._appeared.set()
            self._appeared = trio.Event()
        self.windows[store] = window  # the last in order: heard of last
        window.extend(first, events)
        self._make_room()
        self.counters["events_received"] += len(events)
        self._wake()

    def store_of(self, origin: PeerId) -> StoreId | None:
        """The store of `origin` that there is a window of: its newest."""
        return next((store for store in self.windows if store.origin == origin), None)

    def _make_room(self) -> None:
        while len(self.windows) > MAX_ORIGINS or sum(w.weight for w in self.windows.values()) > MAX_WINDOWS:
            del self.windows[next(store for store in self.windows if store != self._own)]

    async def appeared(self) -> None:
        """Wait for the first batch of a store."""
        await self._appeared.wait()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()

    async def arrived(self) -> None:
        """Wait for the next batch, ours or another's."""
        await self._arrived.wait()

    async def serve(self) -> None:
        """Send what was recorded, in batches."""
        while True:
            while not self._unsent:
                self._recorded = trio.Event()
                await self._recorded.wait()
            batch = [self._unsent.popleft()]
            while self._unsent and self._unsent[0].cursor.n == batch[-1].cursor.n + 1 and len(batch) < MAX_BATCH:
                batch.append(self._unsent.popleft())
            for pack in packs(self._own.incarnation, batch, MAX_ANNOUNCEMENT - 256):
                try:
                    await self._mesh.publish("events", encode(EventBatch(pack)))
                    self.counters["event_batches_sent"] += 1
                except MessageTooBig:  # hundreds of detections with labels of hundreds of bytes: it can be fetched
                    self.counters["events_not_sent_live"] += len(pack.rows)
                await trio.sleep(EVERY)
