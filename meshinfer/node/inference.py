"""Single pictures that others send to be looked at by a model of this peer, and our own, sent to them.

A stream a picture: the question, the picture's bytes, the answer. Jobs come first: `AT_ONCE` pictures are looked at at
a time, `WAITING` more may wait or be on their way, and who comes then is told so before a byte of a picture is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import trio

from meshinfer.detect.card import ModelCard
from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.pool import Lease
from meshinfer.errors import MediaError, MeshError, MeshInferError, ModelError, ProtocolError
from meshinfer.media.frames import decode_image
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.model.job import Detect
from meshinfer.node.paging import next_frame
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_PAGE, MAX_PICTURE, InferOn, Inferred, read_infer_on, read_inferred

PROTOCOL = "infer"
AT_ONCE = 1
WAITING = 8
PATIENCE = 60.0
"""Seconds for an answer: the first one may have to load the model, after those who wait already."""
_FORMATS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""JPEG and PNG: what says its size in its header, before a decoder sees it."""
_MAX_WHY = 400
_NAMELESS = "the picture"
"""What it is called where it was sent without its name."""

Find = Callable[[str], ModelCard]
Use = Callable[[ModelDigest], Lease[AnyDetector]]


class Inference:
    def __init__(self, mesh: Mesh, find: Find, use: Use, *, allowed: bool) -> None:
        """`find` and `use`, the shelf's, run in worker threads. `allowed`: whether others may ask."""
        self._mesh, self._find, self._use, self._allowed = mesh, find, use, allowed
        self._turn = trio.CapacityLimiter(AT_ONCE)
        self._taken = 0
        """Pictures of others that are in memory, or on their way into it."""
        mesh.serve(PROTOCOL, self._answer)

    async def on(self, peer: PeerId, model: str, detect: Detect, file: Path) -> Inferred:
        """What `peer`, which may be this one, sees in a picture that lies here. Raises MediaError, ModelError for what
        the peer refused, MeshError, ProtocolError.
        """
        picture = await trio.to_thread.run_sync(read_picture, file)
        if peer == self._mesh.me:
            return await self._look(model, detect, picture, file.name)
        with trio.move_on_after(PATIENCE):
            async with self._mesh.open(peer, PROTOCOL) as stream:
                await stream.send(encode(InferOn(model, len(picture), detect)))
                for at in range(0, len(picture), MAX_PAGE):
                    await stream.send(picture[at : at + MAX_PAGE])
                answer = read_inferred(await next_frame(stream, PATIENCE) or b"")
                if answer.refused:
                    raise ModelError(answer.refused.replace(_NAMELESS, file.name, 1))
                return answer
        raise MeshError(f"no answer in {PATIENCE:.0f} s")

    async def _answer(self, stream: Stream) -> None:
        ask = read_infer_on(await stream.receive() or b"")
        if not self._allowed:
            answer = Inferred("this peer looks at no pictures of others ([policy] infer = false)")
        elif self._taken >= AT_ONCE + WAITING:
            answer = Inferred("busy with the pictures of others: try again in a while")
        else:
            self._taken += 1
            try:
                answer = await self._look_for(ask, await _received(stream, ask.size))
            finally:
                self._taken -= 1
        await stream.send(encode(answer))

    async def _look_for(self, ask: InferOn, picture: bytes) -> Inferred:
        try:
            return await self._look(ask.model, ask.detect, picture, _NAMELESS)
        except MeshInferError as e:
            return Inferred(str(e)[:_MAX_WHY])

    async def _look(self, model: str, detect: Detect, picture: bytes, name: str) -> Inferred:
        def look() -> Inferred:
            card = self._find(model)
            with self._use(card.digest) as detector:
                if detector.series is not None:
                    raise ModelError(f"{card.reference} looks at series, not at pictures")
                worker = detector.worker(detect)
                began = time.perf_counter()
                if not picture.startswith(_FORMATS):
                    raise MediaError(f"{name}: send a JPEG or PNG file")
                image = decode_image(picture, name)
                height, width = image.shape[:2]
                found = worker(image)
            seconds = round(time.perf_counter() - began, 6)
            return Inferred("", card.reference, card.digest, width, height, found, seconds)

        return await trio.to_thread.run_sync(look, limiter=self._turn)


async def _received(stream: Stream, size: int) -> bytes:
    """Raises MeshError where it takes longer than who sends it would wait, ProtocolError."""
    picture = bytearray()
    with trio.move_on_after(PATIENCE):
        while len(picture) < size:
            part = await stream.receive()
            if not part or len(picture) + len(part) > size:
                raise ProtocolError("a picture of another size than was said")
            picture += part
        return bytes(picture)
    raise MeshError(f"its picture did not come in {PATIENCE:.0f} s")


def read_picture(file: Path) -> bytes:
    """The bytes of a picture as they are sent: JPEG and PNG as they are, other formats as PNG. Raises MediaError."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_PICTURE + 1)
    except OSError as e:
        raise MediaError(f"{file}: cannot be read: {e.strerror}; give the path of a picture") from None
    if len(data) <= MAX_PICTURE and not data.startswith(_FORMATS):
        import cv2

        _, png = cv2.imencode(".png", decode_image(data, file.name))
        data = png.tobytes()
    if len(data) > MAX_PICTURE:
        raise MediaError(f"{file.name}: over {MAX_PICTURE >> 20} MiB: larger pictures are not sent")
    return data
