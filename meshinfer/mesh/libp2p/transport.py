# mypy: allow-subclassing-any
# (libp2p ships no usable types: its classes are Any here)
"""TCP sockets that we can count, watch and cut.

LIBP2P rows: listen (SO_REUSEPORT), frozen peers and shutdown (a socket that can be cut at once), bytes in and out.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import libp2p.transport.tcp.tcp as tcp
import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr

upgrading: ContextVar[Socket | None] = ContextVar("upgrading", default=None)
"""The socket that this task is securing and muxing: libp2p hands its layers no way down to it."""


MAX_READ = 1 << 20
"""Bytes asked of the system at a time: it reserves as many, and lengths come from whoever dials."""


def exclusive_address(sock: Any) -> None:
    """Instead of libp2p's SO_REUSEPORT (there for hole punching): with it, two nodes share a port without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


tcp._set_reuse_flags = exclusive_address


class Socket(TrioTCPStream):
    """One TCP connection: counts its bytes, knows whether anything came lately, and can be cut without waiting."""

    def __init__(self, stream: trio.SocketStream, counters: Counter[str], sockets: set[Socket]) -> None:
        super().__init__(stream)
        self.closed = trio.Event()
        self.heard = False
        self.counters = counters
        self._sockets = sockets
        sockets.add(self)

    async def read(self, n: int | None = None) -> bytes:
        data: bytes = await super().read(None if n is None else min(n, MAX_READ))
        self.heard = True
        self.counters["bytes_in"] += len(data)
        return data

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self.counters["bytes_out"] += len(data)

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        """Close now: who reads sees the end of the stream, who writes is let go."""
        self._sockets.discard(self)
        self.closed.set()
        self.stream.socket.close()


class CountingTCP(tcp.TCP):
    """libp2p's TCP transport over `Socket`."""

    def __init__(self, counters: Counter[str]) -> None:
        super().__init__()
        self.sockets: set[Socket] = set()
        self._counters = counters

    async def _dial_resolved(self, maddr: Multiaddr, source: tuple[str, int] | None = None) -> RawConnection:
        raw = await super()._dial_resolved(maddr, source)
        return RawConnection(Socket(raw.stream.stream, self._counters, self.sockets), True)

    def create_listener(self, handler_function: Callable[[Any], Awaitable[None]]) -> tcp.TCPListener:
        async def handle(accepted: TrioTCPStream) -> None:
            await handler_function(Socket(accepted.stream, self._counters, self.sockets))

        return tcp.TCPListener(handle)
