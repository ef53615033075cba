"""Answers in pages of bounded size: what one item may weigh is known, how many there are is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import trio

from meshinfer.errors import MeshError
from meshinfer.mesh.api import Stream
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import PAGE_TARGET

T = TypeVar("T")


async def next_frame(stream: Stream, patience: float) -> bytes | None:
    """The next frame of an answer, None at its end. Raises MeshError when none comes within `patience` seconds."""
    with trio.move_on_after(patience) as waiting:
        data = await stream.receive()
    if waiting.cancelled_caught:
        raise MeshError(f"peer {stream.peer[-6:]} stopped answering")
    return data


def by_size(items: Iterable[T], *, most: int) -> Iterator[tuple[T, ...]]:
    """Runs of at most `most` items; each ends with the item that takes it over `PAGE_TARGET` bytes."""
    page: list[T] = []
    size = 0
    for item in items:
        page.append(item)
        size += len(encode(item))
        if size >= PAGE_TARGET or len(page) >= most:
            yield tuple(page)
            page, size = [], 0
    if page:
        yield tuple(page)
