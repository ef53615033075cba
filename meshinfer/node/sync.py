"""Anti-entropy: two peers compare vectors and each sends what the other lacks (docs/PROTOCOL.md).

    a: Have(vector)      b: Page* Complete(vector)      a: Page* Complete(vector)

On every new connection, every few seconds with a random neighbour, and at once with all neighbours when a job is
published or cancelled. Gossip only makes it faster: everything arrives with every gossip message dropped.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import trio

from meshinfer.errors import MeshError, ProtocolError
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.ids import PeerId
from meshinfer.node.paging import by_size
from meshinfer.node.records import Records, count
from meshinfer.schedule.log import StoreId
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_VECTOR, Complete, Have, Page, Upto, Vector, read_sync

PROTOCOL = "sync"
EVERY = 5.0
PUSH_AFTER = 0.25
"""Seconds after which what people wait for is pushed besides the gossip: by then it has mostly arrived, and the push
costs little; had it been at once, the two would have been in each other's way."""

PATIENCE = 30.0
"""Seconds for one whole sync."""

MAX_PUSHED = 16
"""Neighbours that are told at once of what people wait for. They tell theirs."""

MAX_PAGES = 2000
"""Pages a peer may send in one sync: 200 MB, far above any honest backlog."""


class Sync:
    def __init__(self, mesh: Mesh, records: Records, rejected: Counter[str], rng: random.Random) -> None:
        self._mesh, self._records, self._rejected, self._rng = mesh, records, rejected, rng
        self._under_way: set[PeerId] = set()
        self._again: set[PeerId] = set()
        mesh.serve(PROTOCOL, self._answer)

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery, self._mesh.changes() as changes:

            def start(peer: PeerId) -> None:
                """One sync with a peer at a time; none waits for another peer, which may be frozen."""
                if peer in self._under_way:
                    self._again.add(peer)
                else:
                    self._under_way.add(peer)
                    nursery.start_soon(self._try, peer)

            nursery.start_soon(self._push_urgent, start)
            nursery.start_soon(self._every_so_often, start)
            for peer in sorted(self._mesh.peers):
                start(peer)
            async for change in changes:
                # Both sides know of the connection: one of them asks.
                if change.up and self._mesh.me < change.peer:
                    start(change.peer)

    async def _every_so_often(self, start: Callable[[PeerId], None]) -> None:
        while True:
            await trio.sleep(EVERY * self._rng.uniform(0.8, 1.2))
            if peers := sorted(self._mesh.peers - self._under_way):
                start(self._rng.choice(peers))

    async def _push_urgent(self, start: Callable[[PeerId], None]) -> None:
        while True:
            await self._records.urgent.wait()
            await trio.sleep(PUSH_AFTER)
            self._records.urgent = trio.Event()
            peers = sorted(self._mesh.peers)
            for peer in self._rng.sample(peers, min(MAX_PUSHED, len(peers))):
                start(peer)

    async def _try(self, peer: PeerId) -> None:
        try:
            while True:
                self._again.discard(peer)
                try:
                    await self.with_peer(peer)
                except (MeshError, ProtocolError, trio.TooSlowError) as e:
                    count(self._rejected, f"sync: {str(e) or 'too slow'}")
                if peer not in self._again:
                    return
        finally:
            self._under_way.discard(peer)

    async def with_peer(self, peer: PeerId) -> None:
        """Raises MeshError, ProtocolError or trio.TooSlowError; what has arrived by then is kept."""
        with trio.fail_after(PATIENCE):
            async with self._mesh.open(peer, PROTOCOL) as stream:
                await stream.send(encode(Have(self._vector())))
                theirs = await self._take(stream)
                await self._give(stream, theirs)

    async def _answer(self, stream: Stream) -> None:
        with trio.move_on_after(PATIENCE) as patience:
            data = await stream.receive()
            message = read_sync(data or b"")
            if not isinstance(message, Have):
                raise ProtocolError("a sync that does not begin with a vector")
            await self._give(stream, message.vector)
            await self._take(stream)
        if patience.cancelled_caught:
            raise MeshError("a sync that took too long")

    def _vector(self) -> Vector:
        vector = self._records.log.vector()
        return tuple(Upto(*store, n) for store, n in sorted(vector.items())[:MAX_VECTOR])

    async def _give(self, stream: Stream, theirs: Vector) -> None:
        mine = self._vector()  # taken before the records: what comes in between is not promised
        lacking = self._records.aged({StoreId(u.origin, u.incarnation): u.n for u in theirs})
        for page in by_size(lacking, most=1000):
            await stream.send(encode(Page(page)))
        await stream.send(encode(Complete(mine)))

    async def _take(self, stream: Stream) -> Vector:
        """Take in pages up to the other side's vector, which is returned."""
        for _ in range(MAX_PAGES):
            data = await stream.receive()
            message = read_sync(data or b"")
            match message:
                case Page():
                    for record in message.records:
                        await self._records.hear(record.sealed, record.age)
                        await trio.lowlevel.checkpoint()
                case Complete():
                    self._records.complete_to((u.origin, u.incarnation, u.n) for u in message.vector)
                    return message.vector
                case _:
                    raise ProtocolError("a vector in the middle of a sync")
        raise ProtocolError("a sync without end")
