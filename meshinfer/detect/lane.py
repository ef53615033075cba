"""How a peer and a model's own process talk: small typed messages over a socket, pictures in shared memory."""

from __future__ import annotations

import math
import mmap
import os
import socket
import tempfile
import time
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from meshinfer.detect.card import ModelCard
from meshinfer.model.detection import MAX_DETECTIONS, Detection
from meshinfer.model.job import Detect
from meshinfer.model.series import SeriesInput

MAX_BYTES = 3 * (1 << 27)
"""Of the largest picture that media opens. Memory is taken only for what is written."""
_MAX_MESSAGE = 4 * 1024 * 1024
"""A card with 10,000 class names has less."""


class Ready(Struct, frozen=True, tag="ready"):
    """The libraries are there: from now on the model's time counts."""


class Loaded(Struct, frozen=True, tag="loaded"):
    card: ModelCard
    series: SeriesInput | None
    """What it wants where it looks at series."""


class Look(Struct, frozen=True, tag="look"):
    """Look at what is in the lane's memory: a frame (height x width x 3, BGR), or a window of a series."""

    shape: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(max_length=4)]
    dtype: Literal["|u1", "<f4", "<f8"]
    detect: Detect
    most: int


class Found(Struct, frozen=True, tag="found"):
    detections: Annotated[tuple[Detection, ...], Meta(max_length=MAX_DETECTIONS)]


class Refused(Struct, frozen=True, tag="refused"):
    """A ModelError."""

    message: Annotated[str, Meta(max_length=8000)]


Message = Ready | Loaded | Look | Found | Refused

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def send(to: socket.socket, message: Message) -> None:
    """Raises OSError."""
    data = _encode(message)
    to.sendall(len(data).to_bytes(4, "big") + data)


def receive(from_: socket.socket, seconds: float | None = None) -> Message | None:
    """The next message; None once the other side is gone. Raises OSError (TimeoutError where all of it is not there in
    time, however it comes), msgspec.MsgspecError.
    """
    until = None if seconds is None else time.monotonic() + seconds
    head = _exactly(from_, 4, until)
    if head is None or (size := int.from_bytes(head, "big")) > _MAX_MESSAGE:
        return None
    data = _exactly(from_, size, until)
    return None if data is None else _decode(data)


def _exactly(from_: socket.socket, size: int, until: float | None) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        if until is not None:
            from_.settimeout(max(0.001, until - time.monotonic()))  # 0 would not wait at all
        part = from_.recv(min(size - len(parts), 1 << 16))
        if not part:
            return None
        parts += part
    return bytes(parts)


def shared_memory() -> int:
    """A file without a name that holds one picture; returns its descriptor."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("picture")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.truncate(fd, MAX_BYTES)
    return fd


def array_in(memory: mmap.mmap, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """The lane's memory as an array. Raises ValueError where it is larger than that."""
    return np.frombuffer(memory, np.dtype(dtype), math.prod(shape)).reshape(shape)
