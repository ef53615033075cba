"""Lists in pages of bounded size: what one item may weigh is known, how many there are is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from meshinfer.wire.codec import encode
from meshinfer.wire.messages import PAGE_TARGET

T = TypeVar("T")


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
