# mypy: allow-subclassing-any
# (libp2p ships no usable types: its classes are Any here)
"""TCP sockets that we can count, watch and cut.

LIBP2P rows: listen (SO_REUSEPORT), frozen peers and shutdown (a socket that can be cut at once), bytes in and out.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import libp2p.transport.tcp.tcp as tcp
import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from multiaddr import Multiaddr

upgrading: ContextVar[Socket | None] = ContextVar("upgrading", default=None)
"""The socket that this task is securing and muxing: libp2p hands its layers no way down to it."""


DEAD_AFTER = 5
"""Seconds without an answer from the other host's kernel after which the connection is over."""

MAX_READ = 1 << 20
"""Bytes asked of the system at a time: it reserves as many, and lengths come from whoever dials."""


def exclusive_address(sock: Any) -> None:
    """Instead of libp2p's SO_REUSEPORT (there for hole punching): with it, two nodes share a port without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


tcp._set_reuse_flags = exclusive_address


def watch_for_death(sock: Any) -> None:
    """Let the kernel end the connection to a host that vanished without a word, in `DEAD_AFTER`, even while our own
    loop stalls: by probes where nothing is under way, by unacknowledged bytes where something is."""
    wanted = (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 2),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", DEAD_AFTER - 2),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 1000 * DEAD_AFTER),
    )
    for level, name, value in wanted:
        if hasattr(socket, name):  # other systems have some of them: their kernels take longer, `muxer` does not
            with suppress(OSError):  # a connection that has just ended takes no options
                sock.setsockopt(level, getattr(socket, name), value)


class Socket(TrioTCPStream):
    """One TCP connection: counts its bytes, knows whether anything came lately, and can be cut without waiting."""

    def __init__(self, stream: trio.SocketStream, tcp: CountingTCP) -> None:
        super().__init__(stream)
        self.closed = trio.Event()
        self.heard = False
        self.counters = tcp.counters
        self.blame = tcp.blame
        self._sockets = tcp.sockets
        self._sockets.add(self)
        watch_for_death(stream.socket)

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

    def __init__(self, counters: Counter[str], blame: Callable[[ID, str, float], None]) -> None:
        super().__init__()
        self.sockets: set[Socket] = set()
        self.counters = counters
        self.blame = blame

    async def _dial_resolved(self, maddr: Multiaddr, source: tuple[str, int] | None = None) -> RawConnection:
        raw = await super()._dial_resolved(maddr, source)
        return RawConnection(Socket(raw.stream.stream, self), True)

    def create_listener(self, handler_function: Callable[[Any], Awaitable[None]]) -> tcp.TCPListener:
        async def handle(accepted: TrioTCPStream) -> None:
            await handler_function(Socket(accepted.stream, self))

        return tcp.TCPListener(handle)
