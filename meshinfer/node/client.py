"""The local node over its Unix socket: one request a connection, newline-delimited JSON, answers streamed.

{"call": NAME, "args": {...}}  ->  {"data": ...} any number of times, then one {"end": {...}} or {"error": {...}}
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from meshinfer import errors
from meshinfer.errors import ConfigError, MeshInferError, NodeNotRunning, ProtocolError, TimedOut

MAX_LINE = 4 * 1024 * 1024
"""Bytes of one answer line; a longer one is no answer of a meshinfer node."""

ANSWER_TIMEOUT = 60.0
"""Seconds of silence after which a node that should answer at once is given up."""

START = "start one with `meshinfer up`"


class Call:
    """One conversation: iterate over its data lines, then read `end`. Closing it early detaches."""

    def __init__(self, path: Path, name: str, args: dict[str, Any], *, silence: float | None, deadline: float | None):
        self.end: dict[str, Any] = {}
        self._name, self._silence, self._deadline = name, silence, deadline
        self._over = False
        self._buffer = bytearray()
        request = msgspec.json.encode({"call": name, "args": args}) + b"\n"
        self._socket = connect(path)
        try:
            self._socket.settimeout(ANSWER_TIMEOUT)
            self._socket.sendall(request)
        except OSError as e:
            self.close()
            raise MeshInferError(f"the node in {path.parent} hung up before it was asked: {e.strerror or e}") from None

    def __enter__(self) -> Call:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def __iter__(self) -> Iterator[Any]:
        while not self._over:
            match self._message():
                case {"data": data}:
                    yield data
                case {"end": dict() as end}:
                    self.end, self._over = end, True
                case {"error": dict() as error}:
                    raise _rebuilt(error)
                case _:
                    raise ProtocolError(
                        f"the node answered `{self._name}` with something that is no answer; is its version ours?"
                    )

    def finish(self) -> dict[str, Any]:
        """The end, for calls that send no data."""
        for _ in self:
            pass
        return self.end

    def _message(self) -> object:
        try:
            return msgspec.json.decode(self._line())
        except msgspec.DecodeError:
            raise ProtocolError(f"the node answered `{self._name}` with something that is no JSON") from None

    def _line(self) -> bytes:
        searched = 0
        while (at := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_LINE:
                raise ProtocolError(f"the node answered `{self._name}` with a line over {MAX_LINE // 2**20} MiB")
            self._buffer += self._receive()
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 1]
        return line

    def _receive(self) -> bytes:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimedOut("the time given with --timeout is over")
        waits = [seconds for seconds in (left, self._silence) if seconds is not None]
        self._socket.settimeout(min(waits) if waits else None)
        try:
            got = self._socket.recv(1 << 16)
        except TimeoutError:
            if left is not None and (self._silence is None or left <= self._silence):
                raise TimedOut("the time given with --timeout is over") from None
            raise MeshInferError(
                f"the node did not answer `{self._name}` for {self._silence:.0f} s; `meshinfer status` says how it is"
            ) from None
        except OSError as e:
            raise MeshInferError(f"the connection to the node broke: {e.strerror or e}") from None
        if not got:
            raise MeshInferError(
                f"the node closed the connection before `{self._name}` was done: it was stopped, or it crashed"
            )
        return got


def call(
    path: Path,
    name: str,
    args: dict[str, Any] | None = None,
    *,
    silence: float | None = ANSWER_TIMEOUT,
    timeout: float | None = None,
) -> Call:
    """Ask the node whose control socket is at `path`. `silence`: seconds without a line; `timeout`: seconds in all.

    Raises NodeNotRunning; while iterating whatever the node reports, TimedOut, ProtocolError or MeshInferError.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    return Call(path, name, args or {}, silence=silence, deadline=deadline)


def ask(
    path: Path, name: str, args: dict[str, Any] | None = None, *, silence: float | None = ANSWER_TIMEOUT
) -> dict[str, Any]:
    """The end of a call that sends no data."""
    with call(path, name, args, silence=silence) as conversation:
        return conversation.finish()


def is_running(path: Path) -> bool:
    """Whether somebody listens at `path`."""
    try:
        connect(path).close()
    except NodeNotRunning:
        return False
    return True


def connect(path: Path) -> socket.socket:
    """A connected socket. Raises NodeNotRunning, ConfigError."""
    home = path.parent
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(5.0)
        connection.connect(os.fspath(path))
    except FileNotFoundError:
        error: MeshInferError = NodeNotRunning(f"no node runs in {home}; {START}")
    except ConnectionRefusedError:
        error = NodeNotRunning(f"no node runs in {home}: one did, and left its socket behind; {START}")
    except PermissionError:
        error = ConfigError(f"the node in {home} belongs to another user; use your own --home")
    except (TimeoutError, BlockingIOError):
        error = NodeNotRunning(
            f"the node in {home} takes no calls: it is hung or overloaded; stop it and start it again"
        )
    except OSError as e:
        error = NodeNotRunning(f"cannot reach a node in {home}: {e.strerror or e}; {START}")
    else:
        return connection
    with contextlib.suppress(OSError):
        connection.close()
    raise error


def _rebuilt(error: dict[str, Any]) -> MeshInferError:
    """The node's error as the exception it was there."""
    kind = getattr(errors, str(error.get("kind")), MeshInferError)
    if not (isinstance(kind, type) and issubclass(kind, MeshInferError)):
        kind = MeshInferError
    rebuilt = kind(str(error.get("message") or "the node failed without saying why"))
    if isinstance(code := error.get("exit"), int) and 0 < code < 126:
        rebuilt.exit_code = code
    return rebuilt
