# mypy: allow-subclassing-any
# (libp2p ships no usable types: its classes are Any here)
"""yamux that notices a dead connection and a flood.

LIBP2P rows: frozen or cut peers (never noticed), yamux (the receive window is not enforced).
"""

from __future__ import annotations

import struct
from typing import Any

import trio
from libp2p.stream_muxer import muxer_multistream
from libp2p.stream_muxer.yamux import yamux

from meshinfer.mesh.libp2p.transport import upgrading
from meshinfer.mesh.offences import LIMIT

TICK = 1.0
"""Seconds between looks at a connection. A tick that our own busy loop delays still counts as one: only silence during
ticks that did happen is held against the peer."""

SILENT_TICKS = 4
"""Ticks without a single byte, though pinged, after which the peer is gone: noticed 4 to 5 s after its last byte.
libp2p's health monitor pings by the clock, so a loop that stalls for its timeout drops every peer at once."""

MAX_BUFFERED = 48 * 2**20
"""Bytes that wait unread on one connection. An honest peer stops at its window (16 MiB a stream, and we read on)."""


class WatchedYamux(yamux.Yamux):
    """One connection's muxer, with the socket it runs on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        socket = upgrading.get()
        assert socket is not None, "a connection that no swarm of ours upgrades"
        self.socket = socket

    async def _measure_rtt_loop(self) -> None:
        """Runs as long as the connection, in the place of libp2p's loop, whose unanswered pings nobody minds."""
        silent = 0
        while not self.event_shutting_down.is_set():
            await trio.sleep(TICK)
            silent = 0 if self.socket.heard else silent + 1
            self.socket.heard = False
            if sum(map(len, self.stream_buffers.values())) > MAX_BUFFERED:
                self.socket.counters["connections_cut_flooding"] += 1
                self.socket.blame(self.peer_id, "more bytes than its window allows", LIMIT)
                self.socket.cut()
                return
            if silent >= SILENT_TICKS:
                self.socket.counters["connections_cut_silent"] += 1
                self.socket.cut()
                return
            # The first ping also measures the round trip that yamux grows its windows by; a blocked writer is
            # asking for an answer already.
            if (silent or self._rtt == 0) and not self._write_lock.locked():
                self._nursery.start_soon(self._ping)

    async def _ping(self) -> None:
        """Apart from the loop, and never cancelled but with the connection: half a frame would corrupt it."""
        self._ping_id: int = (self._ping_id + 1) % 2**32
        self._ping_sent_time = trio.current_time()
        header = struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, self._ping_id)
        try:
            await self._write_frame(header)
        except Exception:  # noqa: BLE001 - whatever libp2p raises here, the connection is closing already
            self.socket.counters["pings_failed"] += 1


UPDATE_AFTER = 64 * 1024
"""Bytes read from a stream before its window is given back: a quarter of the smallest window, so no sender ever waits
for it. libp2p sends an update a read, and reads the length of a message byte by byte: a fifth of a peer's CPU."""

_give_back = yamux.YamuxStream._auto_tune_and_send_window_update


async def _give_back_in_bulk(stream: Any, *, bytes_read: int = 0) -> None:
    stream.owed = getattr(stream, "owed", 0) + bytes_read
    if stream.owed >= UPDATE_AFTER or bytes_read == 0:
        owed, stream.owed = stream.owed, 0
        await _give_back(stream, bytes_read=owed)


yamux.YamuxStream._auto_tune_and_send_window_update = _give_back_in_bulk
muxer_multistream.Yamux = WatchedYamux  # it makes this class whatever muxer it was given for the protocol
