"""The `model` protocol: one peer asks another for a model it holds (docs/WIRE.md).

    asker: WantModel    holder: ModelSeal+ | NoModel    asker: WantChunk*    holder: a frame of bytes for each

Several chunks are asked for ahead, so that the link is never idle, and each is checked and written in a thread while
the next one comes.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from pathlib import Path
from typing import Protocol

import trio

from meshinfer.errors import MeshError, MeshInferError, ModelError, ProtocolError
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.bundle import CHUNK, Vouched
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.node.fetch_chunks import Chunks
from meshinfer.node.paging import next_frame
from meshinfer.wire.bundles import unseal_bundle
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import (
    ModelSeal,
    NoModel,
    WantChunk,
    WantModel,
    read_model_answer,
    read_want_chunk,
    read_want_model,
)

PROTOCOL = "model"

PATIENCE = 20.0
"""Seconds for the next frame of an answer: a chunk over a line of 100 kbit/s takes 16."""

IDLE = 60.0
"""Seconds that an asker may keep a stream open without a question."""

AHEAD = 4
"""Chunks that one source is asked for before the first of them has come."""

MAX_SEALS = 8
"""Signers of one model."""

MAX_SERVED, MAX_SERVED_EACH = 8, 2
"""Streams that are answered at once, in all and to one peer: above it askers come again, or find another."""

WAITING = 2
"""Chunks of one source that have come and are not checked yet."""


class Held(Protocol):
    """What is needed of the models held here. Every call may read files: worker threads only."""

    def vouched(self, digest: ModelDigest) -> tuple[Vouched, ...]: ...

    def path(self, digest: ModelDigest) -> Path: ...


# ---- asking ----------------------------------------------------------------------------------------------------------


async def offers(stream: Stream, model: ModelDigest, threads: trio.CapacityLimiter) -> list[Vouched]:
    """As whom this peer offers the model. Raises MeshError where it does not, ProtocolError."""
    await stream.send(encode(WantModel(model)))
    found: list[Vouched] = []
    while len(found) < MAX_SEALS:
        match read_model_answer(await next_frame(stream, PATIENCE) or b""):
            case NoModel(why):
                raise MeshError(why or "it does not hold the model")
            case ModelSeal(sealed, more):
                vouched = await trio.to_thread.run_sync(unseal_bundle, sealed, limiter=threads)
                if vouched.bundle.digest != model:
                    raise ProtocolError("the seal of another model than was asked for")
                found.append(vouched)
                if not more:
                    return found
    raise ProtocolError("a model with too many signers")


async def draw(stream: Stream, chunks: Chunks, threads: trio.CapacityLimiter, counters: Counter[str]) -> None:
    """Bring chunks from this source until none is left for it. Raises MeshError, ProtocolError, OSError."""
    ready, unchecked = trio.open_memory_channel[tuple[int, bytes]](WAITING)

    async def check() -> None:
        async with unchecked:
            async for index, data in unchecked:
                await trio.to_thread.run_sync(chunks.file.put, index, data, limiter=threads)
                chunks.came(index)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(check)
            async with ready:
                await _ask(stream, chunks, ready, counters)
    except BaseExceptionGroup as group:
        raise _ours(group) from None


async def _ask(
    stream: Stream, chunks: Chunks, ready: trio.MemorySendChannel[tuple[int, bytes]], counters: Counter[str]
) -> None:
    asked: deque[int] = deque()
    while not chunks.complete:
        while len(asked) < AHEAD and (index := chunks.take(stream.peer)) is not None:
            await stream.send(encode(WantChunk(index)))
            asked.append(index)
        if not asked:
            await chunks.moved(1.0)
            continue
        data = await next_frame(stream, PATIENCE)
        if not data:
            raise MeshError("it has the model no more")
        counters["model_bytes_in"] += len(data)
        await ready.send((asked.popleft(), data))


def _ours(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that ended a conversation; the group itself, where it was no such thing."""
    found = group.subgroup((MeshInferError, OSError))
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]  # type: ignore[assignment]  # what lies in a group is a group or a leaf
    return group if found is None else found


# ---- answering -------------------------------------------------------------------------------------------------------


class ModelServer:
    """Answers others. A model may travel wherever it is trusted: no policy keeps it here (docs/MODELS.md)."""

    def __init__(self, mesh: Mesh, held: Held, counters: Counter[str]) -> None:
        self._held, self._counters = held, counters
        self._serving: Counter[PeerId] = Counter()
        self._threads = trio.CapacityLimiter(2)
        mesh.serve(PROTOCOL, self._answer)

    async def _answer(self, stream: Stream) -> None:
        want = read_want_model(await next_frame(stream, PATIENCE) or b"")
        if self._serving.total() >= MAX_SERVED or self._serving[stream.peer] >= MAX_SERVED_EACH:
            await stream.send(encode(NoModel("it serves as many as it can")))
            return
        self._serving[stream.peer] += 1
        try:
            await self._serve(stream, want.model)
        finally:
            self._serving[stream.peer] -= 1
            if not self._serving[stream.peer]:
                del self._serving[stream.peer]

    async def _serve(self, stream: Stream, model: ModelDigest) -> None:
        fd, vouched = await trio.to_thread.run_sync(self._open, model, limiter=self._threads)
        try:
            if fd < 0:
                await stream.send(encode(NoModel("it does not hold the model, or without a seal")))
                return
            for n, one in enumerate(vouched, 1):
                await stream.send(encode(ModelSeal(one.sealed, more=n < len(vouched))))
            while (data := await next_frame(stream, IDLE)) is not None:
                index = read_want_chunk(data).index
                chunk = await trio.to_thread.run_sync(_read, fd, index, limiter=self._threads)
                await stream.send(chunk)
                self._counters["model_bytes_out"] += len(chunk)
        finally:
            if fd >= 0:
                os.close(fd)

    def _open(self, model: ModelDigest) -> tuple[int, tuple[Vouched, ...]]:
        """A descriptor, which outlives the model's eviction, and its seals; -1 where there is nothing to serve."""
        try:
            vouched = self._held.vouched(model)[:MAX_SEALS]
            return (os.open(self._held.path(model), os.O_RDONLY | os.O_CLOEXEC) if vouched else -1), vouched
        except (ModelError, OSError):
            return -1, ()


def _read(fd: int, index: int) -> bytes:
    try:
        return os.pread(fd, CHUNK, index * CHUNK)
    except OSError:
        return b""
