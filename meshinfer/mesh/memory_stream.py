"""The streams of the in-memory mesh."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

import trio

from meshinfer.errors import MeshError, MessageTooBig
from meshinfer.mesh.api import MAX_FRAME
from meshinfer.model.ids import PeerId

WINDOW = 16
"""Frames under way on one stream before `send` waits for the reader."""

SEND_TIMEOUT = 10.0
RECEIVE_TIMEOUT = 60.0


class MemoryStream:
    """One end. What it sends arrives after the latency, in order."""

    def __init__(self, peer: PeerId, latency: float, counters: Counter[str]) -> None:
        self._peer = peer
        self._latency = latency
        self._counters = counters
        self._arriving: deque[tuple[float, bytes | None]] = deque()
        self._moved = trio.Event()
        self._broken = False
        self._finished = False
        self._ended = False
        self.other: MemoryStream | None = None
        self.scope = trio.CancelScope()
        self.on_close: Callable[[], None] = _nothing

    @property
    def peer(self) -> PeerId:
        return self._peer

    async def send(self, frame: bytes) -> None:
        if len(frame) > MAX_FRAME:
            raise MessageTooBig(f"a frame of {len(frame)} bytes for {self._peer}; the limit is {MAX_FRAME}")
        if self._finished:
            raise MeshError(f"this side of the stream to {self._peer} has finished sending")
        await self._put(frame)
        self._counters["bytes_out"] += len(frame)

    async def finish(self) -> None:
        if not self._finished:
            self._finished = True
            await self._put(None)

    async def receive(self) -> bytes | None:
        if self._ended:
            return None
        with trio.move_on_after(RECEIVE_TIMEOUT) as late:
            while not self._arriving and not self._broken:
                await self._moved.wait()
        if late.cancelled_caught:
            raise MeshError(f"{self._peer} sent nothing for {RECEIVE_TIMEOUT:g} s")
        if not self._arriving:
            raise MeshError(f"the stream from {self._peer} broke off")
        due, frame = self._arriving[0]
        await trio.sleep_until(due)
        self._arriving.popleft()
        self._stir()
        self._ended = frame is None
        self._counters["bytes_in"] += len(frame or b"")
        return frame

    async def close(self) -> None:
        if not self._broken:
            with trio.move_on_after(2.0) as scope:
                scope.shield = True
                await self.finish()
        self.on_close()

    def reset(self) -> None:
        for end in (self, self.other):
            if end is not None and not end._broken:
                end._broken = True
                end._stir()
        self.on_close()

    async def _put(self, frame: bytes | None) -> None:
        assert self.other is not None
        with trio.move_on_after(SEND_TIMEOUT) as late:
            while len(self.other._arriving) >= WINDOW and not self._broken:
                await self.other._moved.wait()
        if late.cancelled_caught:
            raise MeshError(f"{self._peer} did not take a frame within {SEND_TIMEOUT:g} s")
        if self._broken:
            raise MeshError(f"the stream to {self._peer} broke while sending")
        self.other._arriving.append((trio.current_time() + self._latency, frame))
        self.other._stir()
        await trio.lowlevel.checkpoint()

    def _stir(self) -> None:
        self._moved.set()
        self._moved = trio.Event()


def _nothing() -> None:
    return
