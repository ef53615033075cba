# mypy: allow-subclassing-any
# (libp2p ships no usable types: its classes are Any here)
"""yamux that notices a dead connection and a flood.

LIBP2P rows: frozen or cut peers (never noticed), yamux (the receive window is not enforced).
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import trio
from libp2p.stream_muxer.yamux import yamux

from meshinfer.mesh.libp2p.transport import upgrading

TICK = 1.0
"""Seconds between looks at a connection. A tick that our own busy loop delays still counts as one: only silence during
ticks that did happen is held against the peer."""

SILENT_TICKS = 4
"""Ticks without a single byte, though pinged, after which the peer is gone: noticed 4 to 5 s after its last byte."""

MAX_BUFFERED = 48 * 2**20
"""Bytes that wait unread on one connection. An honest peer stops at its window (16 MiB a stream, and we read on)."""


def watched_yamux(counters: Counter[str]) -> type[yamux.Yamux]:
    """The muxer of one mesh: libp2p makes the instances itself, so what they need is closed over."""

    class WatchedYamux(yamux.Yamux):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.socket = upgrading.get()

        async def _measure_rtt_loop(self) -> None:
            """Runs as long as the connection. In the place of libp2p's loop, whose pings nobody misses."""
            silent = 0
            while not self.event_shutting_down.is_set():
                await trio.sleep(TICK)
                if self.socket is None:
                    return
                if sum(map(len, self.stream_buffers.values())) > MAX_BUFFERED:
                    counters["connections_cut_flooding"] += 1
                    self.socket.cut()
                    return
                silent = 0 if self.socket.heard else silent + 1
                self.socket.heard = False
                if silent >= SILENT_TICKS:
                    counters["connections_cut_silent"] += 1
                    self.socket.cut()
                    return
                # The first ping also measures the round trip that yamux grows its windows by; a blocked writer is
                # asking for an answer already.
                if (silent or self._rtt == 0) and not self._write_lock.locked():
                    self._ping_id: int = (self._ping_id + 1) % 2**32
                    self._ping_sent_time = trio.current_time()
                    ping = struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, self._ping_id)
                    self._nursery.start_soon(self._ping, ping)

        async def _ping(self, frame: bytes) -> None:
            """Apart from the loop, and never cancelled but with the connection: half a frame would corrupt it."""
            try:
                await self._write_frame(frame)
            except Exception:  # noqa: BLE001 - whatever libp2p raises here, the connection is closing already
                counters["pings_failed"] += 1

    return WatchedYamux
