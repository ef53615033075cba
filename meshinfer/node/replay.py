"""Events from a place in an origin's log: asked for over a stream, answered from the store in pages."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

import trio

from meshinfer.errors import MeshError, ProtocolError
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.detection import Event
from meshinfer.model.ids import PeerId
from meshinfer.store import EventLog
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import PAGE_TARGET, Events, Head, Replay, read_events, read_replay

PROTOCOL = "events"
PATIENCE = 10.0
"""Seconds for the next page."""
CHUNK = 500


class EventArchive:
    """This peer's own log, read in a worker thread."""

    def __init__(self, mesh: Mesh, log: EventLog, incarnation: int) -> None:
        self._log, self.incarnation = log, incarnation
        mesh.serve(PROTOCOL, self._answer)

    async def start_of(self, ask: Replay) -> int:
        """n of the last event before the ones asked for."""
        if ask.after is not None and ask.incarnation in (None, self.incarnation):
            return ask.after
        if ask.ago is not None:
            return await trio.to_thread.run_sync(self._log.first_since, time.time() - ask.ago)
        # A cursor of a store that was lost: everything since is new. No cursor at all: only the head is wanted.
        return 0 if ask.after is not None else await trio.to_thread.run_sync(self._log.head)

    async def chunks(self, ask: Replay) -> AsyncGenerator[list[Event], None]:
        after = await self.start_of(ask)
        until = min(ask.until or 2**62, await trio.to_thread.run_sync(self._log.head))
        while after < until:
            chunk = await trio.to_thread.run_sync(lambda n=after: self._log.replay(n, limit=CHUNK, until=until))
            if not chunk:
                return
            after = chunk[-1].cursor.n
            yield chunk

    async def _answer(self, stream: Stream) -> None:
        ask = read_replay(await stream.receive() or b"")
        end = await self.start_of(ask)
        async with aclosing(self.chunks(ask)) as chunks:
            async for chunk in chunks:
                end = chunk[-1].cursor.n
                for page in event_pages(chunk):
                    await stream.send(encode(Events(self.incarnation, page)))
        await stream.send(encode(Head(self.incarnation, end)))


def event_pages(events: Sequence[Event]) -> Iterator[tuple[Event, ...]]:
    """Events in frames of bounded size."""
    page: list[Event] = []
    size = 0
    for event in events:
        page.append(event)
        size += len(encode(event))
        if size >= PAGE_TARGET or len(page) >= 5000:
            yield tuple(page)
            page, size = [], 0
    if page:
        yield tuple(page)


async def replay_from(mesh: Mesh, peer: PeerId, ask: Replay) -> AsyncGenerator[Events | Head, None]:
    """Pages of a peer's events, ended by its `Head`. Raises MeshError or ProtocolError."""
    async with mesh.open(peer, PROTOCOL) as stream:
        await stream.send(encode(ask))
        while True:
            with trio.move_on_after(PATIENCE) as waiting:
                data = await stream.receive()
            if waiting.cancelled_caught:
                raise MeshError(f"peer {peer[-6:]} stopped answering")
            message = read_events(data or b"")
            if isinstance(message, Events):
                check_origin(message, peer)
            yield message
            if isinstance(message, Head):
                return


def check_origin(page: Events, peer: PeerId) -> None:
    if any(e.cursor.origin != peer or e.cursor.incarnation != page.incarnation for e in page.events):
        raise ProtocolError("events of another origin")
