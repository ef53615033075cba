"""Links as TCP proxies: each peer announces the address of a proxy of its own, and listens elsewhere.

A proxy learns from the operating system which peer's process a connection comes from, so that single links can be cut.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import defaultdict

import psutil

from tests.chaos.links import How, PidOf, Place

CHUNK = 1 << 16
HOST = "127.0.0.1"
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing sends RST."""

Way = tuple[str, str]
"""From one peer to another."""


class ProxyLinks:
    kind = "proxy"
    ways: tuple[How, ...] = ("reset", "silent", "one way")
    can_slow = True

    def __init__(self, pid_of: PidOf) -> None:
        self._pid_of = pid_of
        self._listeners: dict[str, socket.socket] = {}
        self._news = threading.Condition()
        """Guards what follows; told of every change."""
        self._broken: set[frozenset[str]] = set()
        self._silent: set[Way] = set()
        self._delay: dict[str, float] = {}
        self._open: dict[frozenset[str], set[socket.socket]] = defaultdict(set)
        self._is_closed = False

    def place(self, name: str) -> Place:
        listener = socket.create_server((HOST, 0))
        self._listeners[name] = listener
        threading.Thread(target=self._accept, args=(name, listener), name=f"proxy of {name}", daemon=True).start()
        announced = f"/ip4/{HOST}/tcp/{listener.getsockname()[1]}"
        return Place((), ("--listen", f"/ip4/{HOST}/tcp/0", "--announce", announced))

    def cut(self, a: str, b: str, how: How) -> None:
        with self._news:
            if how == "reset":
                self._broken.add(frozenset((a, b)))
                for one in self._open[frozenset((a, b))]:
                    _hang_up(one)
            else:
                self._silent |= {(a, b)} if how == "one way" else {(a, b), (b, a)}

    def heal(self, a: str, b: str) -> None:
        with self._news:
            self._broken.discard(frozenset((a, b)))
            self._silent -= {(a, b), (b, a)}
            self._news.notify_all()

    def slow(self, name: str, seconds: float) -> None:
        with self._news:
            self._delay[name] = seconds

    def close(self) -> None:
        with self._news:
            self._is_closed = True
            self._news.notify_all()
            for one in [one for pair in self._open.values() for one in pair]:
                _hang_up(one)
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
            listener.close()

    def _accept(self, target: str, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, address = listener.accept()
                threading.Thread(target=self._carry, args=(target, inner, address[1]), daemon=True).start()

    def _carry(self, target: str, inner: socket.socket, port: int) -> None:
        """Connect through and copy both ways until either end closes."""
        source = next((name for name in self._listeners if port in self._ports(name, listening=False)), None)
        there = next(iter(self._ports(target, listening=True)), None)
        if source is None or there is None:
            return _hang_up(inner)
        pair = frozenset((source, target))
        try:
            outer = socket.create_connection((HOST, there), timeout=5)
        except OSError:
            return _hang_up(inner)
        outer.settimeout(None)
        with self._news:
            if self._is_closed or pair in self._broken:
                _hang_up(outer)
                return _hang_up(inner)
            self._open[pair] |= {inner, outer}
        back = threading.Thread(target=self._copy, args=(outer, inner, (target, source)), daemon=True)
        back.start()
        self._copy(inner, outer, (source, target))
        back.join()
        with self._news:
            self._open[pair] -= {inner, outer}
            _hang_up(inner)
            _hang_up(outer)
        return None

    def _copy(self, origin: socket.socket, to: socket.socket, way: Way) -> None:
        try:
            while data := origin.recv(CHUNK):
                self._wait(way)
                to.sendall(data)
            self._wait(way)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            for one in (origin, to):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _wait(self, way: Way) -> None:
        with self._news:
            self._news.wait_for(lambda: self._is_closed or way not in self._silent)
            delay = self._delay.get(way[0], 0.0)
        time.sleep(delay)

    def _ports(self, name: str, *, listening: bool) -> set[int]:
        """Local TCP ports of a peer's process: where it listens, or where its connections leave."""
        pid = self._pid_of(name)
        try:
            found = psutil.Process(pid).net_connections("tcp") if pid is not None else []
        except psutil.Error:  # it has just ended
            return set()
        return {one.laddr.port for one in found if (one.status == psutil.CONN_LISTEN) == listening}


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)  # wakes who waits in recv, which closing alone does not
    one.close()
