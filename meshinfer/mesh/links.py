"""Who is connected, told once per change however many connections there are to one peer."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from meshinfer.mesh.api import PeerChange
from meshinfer.model.ids import PeerId

MAX_CHANGES = 1024
"""Changes a listener may lag behind: a whole mesh leaving and coming back. Above it they are dropped and counted."""


class Links:
    """Connections by peer. Two simultaneous dials make two connections: up is the first, down the last."""

    def __init__(self, counters: Counter[str]) -> None:
        self._connections: dict[PeerId, set[Hashable]] = {}
        self._listeners: set[trio.MemorySendChannel[PeerChange]] = set()
        self._moved = trio.Event()
        self._counters = counters

    @property
    def peers(self) -> frozenset[PeerId]:
        return frozenset(self._connections)

    def add(self, peer: PeerId, connection: Hashable) -> None:
        known = peer in self._connections
        self._connections.setdefault(peer, set()).add(connection)
        if not known:
            self._tell(PeerChange(peer, up=True))

    def remove(self, peer: PeerId, connection: Hashable) -> None:
        connections = self._connections.get(peer)
        if connections is None or connection not in connections:
            return
        connections.discard(connection)
        if not connections:
            del self._connections[peer]
            self._tell(PeerChange(peer, up=False))

    async def wait(self, peer: PeerId, *, up: bool) -> None:
        """Return once `peer` is connected (or is not)."""
        while (peer in self._connections) is not up:
            await self._moved.wait()

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[trio.MemoryReceiveChannel[PeerChange]]:
        send, receive = trio.open_memory_channel[PeerChange](MAX_CHANGES)
        self._listeners.add(send)
        try:
            with send, receive:
                yield receive
        finally:
            self._listeners.discard(send)

    def _tell(self, change: PeerChange) -> None:
        self._moved.set()
        self._moved = trio.Event()
        for listener in self._listeners:
            try:
                listener.send_nowait(change)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._counters["changes_dropped"] += 1


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise what the body raised, not the groups our nurseries wrap it in: a failure to listen stays a `MeshError`."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        raise error from error.__cause__
