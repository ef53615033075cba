"""The node's door for its owner: a Unix socket, one JSON request a connection, a line an answer (docs/CONTROL.md)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import trio

from meshinfer.errors import ConfigError, MeshInferError
from meshinfer.node.closing import closing

log = logging.getLogger(__name__)

MAX_REQUEST = 1 << 20
REQUEST_PATIENCE = 10.0
MAX_CLIENTS = 64

Call = Callable[[dict[str, Any]], AsyncGenerator[dict[str, Any], None]]
"""Yields data; the last item is `{"end": ...}`."""


class Request(msgspec.Struct, forbid_unknown_fields=True):
    call: str
    args: dict[str, Any] = {}


_decode = msgspec.json.Decoder(Request).decode
_encode = msgspec.json.encode


def bind(path: Path) -> socket.socket:
    """The listening socket, open to the owner alone. The caller holds the folder's lock: an old socket is nobody's."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError as e:
        sock.close()
        why = e.strerror or f"{e}; choose a shorter --home"  # Python's own check of the length has no errno
        raise ConfigError(f"{path}: the control socket cannot be made: {why}") from None
    finally:
        os.umask(before)
    sock.listen(MAX_CLIENTS)
    return sock


async def serve(sock: socket.socket, calls: dict[str, Call]) -> None:
    """Answer clients until cancelled."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    clients = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal clients
        clients += 1
        try:
            await _client(stream, calls, full=clients > MAX_CLIENTS)
        finally:
            clients -= 1

    await trio.serve_listeners(handle, [listener])


async def _client(stream: trio.SocketStream, calls: dict[str, Call], *, full: bool) -> None:
    async with stream, trio.open_nursery() as nursery:
        try:
            request = await _request(stream)
            call = _known(calls, request, full=full)
            nursery.start_soon(_hang_up, stream, nursery.cancel_scope)
            async with closing(call(request.args)) as answers:
                async for answer in answers:
                    await stream.send_all(_encode(answer) + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has gone: that is how it detaches
        except MeshInferError as e:
            await _say_error(stream, e)
        except Exception as e:  # noqa: BLE001  the node outlives a call that fails in a way that nobody foresaw
            await _say_error(stream, _explained(e))
        nursery.cancel_scope.cancel()


def _known(calls: dict[str, Call], request: Request, *, full: bool) -> Call:
    if full:
        raise MeshInferError(f"this node serves {MAX_CLIENTS} commands already: end some, and try again")
    try:
        return calls[request.call]
    except KeyError:
        raise ConfigError(f"this node knows no call {request.call!r}: is it of another version?") from None


def _explained(error: Exception) -> MeshInferError:
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, MeshInferError):
        return first
    log.error("a call failed", exc_info=error)
    return MeshInferError(f"the call failed: {type(first).__name__}: {first}")


async def _say_error(stream: trio.SocketStream, error: MeshInferError) -> None:
    answer = {"error": {"kind": type(error).__name__, "message": str(error), "exit": error.exit_code}}
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_all(_encode(answer) + b"\n")


async def _request(stream: trio.SocketStream) -> Request:
    data = bytearray()
    with trio.move_on_after(REQUEST_PATIENCE):
        while b"\n" not in data:
            chunk = await stream.receive_some(65536)
            data += chunk
            if len(data) > MAX_REQUEST:
                raise ConfigError(f"a request of more than {MAX_REQUEST >> 20} MiB")
            if not chunk:
                break
    try:
        return _decode(bytes(data.partition(b"\n")[0]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise ConfigError(f"not a request: {e}") from None


async def _hang_up(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """A client sends nothing more; when it closes, its call ends."""
    try:
        while await stream.receive_some(4096):
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()
