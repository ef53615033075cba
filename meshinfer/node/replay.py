"""Events from a place in an origin's log: asked for over a stream, answered from the store in pages."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise
from typing import NamedTuple

import trio

from meshinfer.errors import ProtocolError
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.detection import Event
from meshinfer.model.ids import JobId, PeerId
from meshinfer.node.paging import next_frame
from meshinfer.store import EventLog
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import packs, unpack
from meshinfer.wire.messages import PAGE_TARGET, Events, Head, Replay, read_events, read_replay

PROTOCOL = "events"
PATIENCE = 10.0
"""Seconds for the next page."""
CHUNK = 500


class Found(NamedTuple):
    """Events of one store, in the order in which they were asked for."""

    incarnation: int
    events: tuple[Event, ...]


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

    async def chunks(
        self, after: int, until: int | None = None, job: JobId | None = None
    ) -> AsyncGenerator[list[Event], None]:
        """Events after n = `after`, up to `until` or the present end of the log; of one job, or of all."""
        if until is None:
            until = await trio.to_thread.run_sync(self._log.head)
        while after < until:
            chunk = await trio.to_thread.run_sync(
                lambda n=after: self._log.replay(n, limit=CHUNK, job=job, until=until)
            )
            if not chunk:
                return
            after = chunk[-1].cursor.n
            yield chunk

    async def _answer(self, stream: Stream) -> None:
        ask = read_replay(await stream.receive() or b"")
        async with aclosing(self.pages(ask)) as pages:
            async for found in pages:
                if isinstance(found, Head):
                    await stream.send(encode(found))
                    continue
                for page in packs(self.incarnation, found.events, PAGE_TARGET):
                    await stream.send(encode(Events(page)))

    async def pages(self, ask: Replay) -> AsyncGenerator[Found | Head, None]:
        """What was asked for, ended by the place that it reaches to: of one job there are gaps before it."""
        after = await self.start_of(ask)
        head = await trio.to_thread.run_sync(self._log.head)
        until = max(after, head if ask.until is None else min(ask.until, head))
        async with aclosing(self.chunks(after, until, ask.job)) as chunks:
            async for chunk in chunks:
                yield Found(self.incarnation, tuple(chunk))
        yield Head(self.incarnation, until)


async def replay_from(mesh: Mesh, peer: PeerId, ask: Replay) -> AsyncGenerator[Found | Head, None]:
    """Pages of a peer's events, ended by its `Head`. Raises MeshError or ProtocolError."""
    async with mesh.open(peer, PROTOCOL) as stream:
        await stream.send(encode(ask))
        incarnation, n = None, 0
        while True:
            message = read_events(await next_frame(stream, PATIENCE) or b"")
            if isinstance(message, Events):
                numbers = [n, *(row.n for row in message.pack.rows)]
                if incarnation not in (None, message.pack.incarnation) or any(b <= a for a, b in pairwise(numbers)):
                    raise ProtocolError("events out of order")
                if len(numbers) == 1:
                    raise ProtocolError("a page without events")
                incarnation, n = message.pack.incarnation, numbers[-1]
                yield Found(incarnation, unpack(message.pack, peer))
                continue
            yield message
            return
