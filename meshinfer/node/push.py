"""What this peer states in a job goes straight to the neighbours that take part in it, besides the gossip.

Each neighbour has a queue of its own, in which what is superseded is replaced: one that stands still holds up nobody,
and gets a sync instead of what would not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Set

import trio

from meshinfer.errors import MeshError
from meshinfer.mesh.api import Mesh
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.record import Record
from meshinfer.node.paging import by_size
from meshinfer.schedule.log import Slot, job_of
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import Aged, Page

PROTOCOL = "sync"
AFTER = 0.1
"""Seconds for which records are gathered: by then gossip has mostly brought them, and a push brings no news."""

PATIENCE = 10.0
MAX_QUEUED = 500
"""Records that wait for one neighbour."""


class Push:
    def __init__(self, mesh: Mesh, takes_part: Callable[[JobId], Set[PeerId]]) -> None:
        self._mesh, self._takes_part = mesh, takes_part
        self._queues: dict[PeerId, dict[Slot, tuple[Record, float]]] = {}
        self._under_way: set[PeerId] = set()
        self._too_many: set[PeerId] = set()
        self._some = trio.Event()

    def stated(self, records: list[Record]) -> None:
        """These are our own, and new."""
        for record in records:
            if (job := job_of(record.kind, record.key)) is not None:
                for peer in self._takes_part(job):
                    self.tell(peer, record)

    def tell(self, peer: PeerId, record: Record, age: float = 0.0) -> None:
        """Send this soon."""
        queue = self._queues.setdefault(peer, {})
        slot = Slot(record.origin, record.kind, record.key)
        queue.pop(slot, None)
        queue[slot] = record, trio.current_time() - age
        if len(queue) > MAX_QUEUED:
            self._too_many.add(peer)
            queue.clear()
        self._some.set()

    async def serve(self, sync_with: Callable[[PeerId], None]) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._some.wait()
                await trio.sleep(AFTER)
                self._some = trio.Event()
                for peer in sorted(self._too_many):
                    sync_with(peer)
                self._too_many.clear()
                for peer in sorted(self._queues.keys() - self._under_way):
                    self._under_way.add(peer)
                    nursery.start_soon(self._send, peer)

    async def _send(self, peer: PeerId) -> None:
        try:
            records = list(self._queues.pop(peer).values()) if peer in self._mesh.peers else []
            self._queues.pop(peer, None)
            now = trio.current_time()
            with trio.move_on_after(PATIENCE):
                async with self._mesh.open(peer, PROTOCOL) as stream:
                    aged = (Aged(record.sealed, max(0.0, now - born)) for record, born in records)
                    for page in by_size(aged, most=1000):
                        await stream.send(encode(Page(page)))
        except MeshError:
            pass  # gone, or too slow: what it lacks comes with the next sync
        finally:
            self._under_way.discard(peer)
            if peer in self._queues:
                self._some.set()
