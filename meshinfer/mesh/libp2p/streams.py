"""Length-framed streams over yamux, with a timeout in every call.

LIBP2P row: yamux (writes and new streams wait without a bound, a stream that died reads like one that ended).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio
from libp2p.network.stream.exceptions import StreamEOF

from meshinfer.errors import MeshError, MessageTooBig
from meshinfer.mesh.api import MAX_FRAME
from meshinfer.model.ids import PeerId

OPEN_TIMEOUT = 5.0
SEND_TIMEOUT = 10.0
RECEIVE_TIMEOUT = 60.0
CLOSE_TIMEOUT = 1.0
LINGER_TIMEOUT = 10.0
"""Seconds. A peer whose user thinks for a minute has no business holding a stream."""

END = b"\xff\xff\xff\xff"
"""In the place of a length: nothing follows. Without it the connection broke, and what came so far is not all."""


class FramedStream:
    """4 bytes of length, big endian, then the frame; `END` when a side has finished."""

    def __init__(self, raw: Any, peer: PeerId) -> None:
        self._raw = raw
        self._peer = peer
        self._buffer = bytearray()
        self._sending = trio.Lock()
        self._finished = False
        self._ended = False

    @property
    def peer(self) -> PeerId:
        return self._peer

    async def send(self, frame: bytes) -> None:
        if len(frame) > MAX_FRAME:
            raise MessageTooBig(f"a frame of {len(frame)} bytes for {self._peer}; the limit is {MAX_FRAME}")
        if self._finished:
            raise MeshError(f"this side of the stream to {self._peer} has finished sending")
        async with self._sending:
            await self._write(len(frame).to_bytes(4, "big") + frame)

    async def finish(self) -> None:
        if not self._finished:
            self._finished = True
            async with self._sending:
                await self._write(END)

    async def receive(self) -> bytes | None:
        if self._ended:
            return None
        length = await self._read(4)
        if length == END:
            self._ended = True
            return None
        size = int.from_bytes(length, "big")
        if size > MAX_FRAME:
            raise MessageTooBig(f"{self._peer} announces a frame of {size} bytes; the limit is {MAX_FRAME}")
        return await self._read(size)

    async def close(self) -> None:
        """Finish and hang up; a peer that doesn't take it in time is reset."""
        with trio.move_on_after(CLOSE_TIMEOUT) as scope, suppress(Exception):  # a connection that goes raises anything
            scope.shield = True
            await self.finish()
            await self._raw.close()
            return
        await self.reset()

    async def linger(self) -> None:
        """After `close`: take what the other side still sends, to its end, so that yamux forgets the stream."""
        with trio.move_on_after(LINGER_TIMEOUT), suppress(MeshError, MessageTooBig):
            while await self.receive() is not None:
                pass
            return
        await self.reset()

    async def reset(self) -> None:
        with trio.move_on_after(CLOSE_TIMEOUT) as scope, suppress(Exception):  # the same: then nothing is left to reset
            scope.shield = True
            await self._raw.reset()

    async def _write(self, data: bytes) -> None:
        try:
            with trio.fail_after(SEND_TIMEOUT):
                await self._raw.write(data)
        except trio.TooSlowError as error:
            raise MeshError(f"{self._peer} did not take {len(data)} bytes within {SEND_TIMEOUT:g} s") from error
        except Exception as error:
            raise MeshError(f"the stream to {self._peer} broke while sending: {_why(error)}") from error

    async def _read(self, size: int) -> bytes:
        try:
            with trio.fail_after(RECEIVE_TIMEOUT):
                while len(self._buffer) < size:
                    chunk = await self._raw.read(MAX_FRAME)
                    if not chunk:
                        raise StreamEOF("end of stream")  # noqa: TRY301 - libp2p says it either way
                    self._buffer += chunk
        except trio.TooSlowError as error:
            raise MeshError(f"{self._peer} sent nothing for {RECEIVE_TIMEOUT:g} s") from error
        except Exception as error:
            raise MeshError(f"the stream from {self._peer} broke off: {_why(error)}") from error
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
