"""A Bloom filter of content ids: may a copy lie at that peer too?

It travels in `source` records. "No" is certain, "perhaps" is wrong about once in a hundred: then a task waits a
moment for a manifest that never names it, which costs time and nothing else. So a peer whose footage nobody shares
starts at once, and nobody ships lists of contents around.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshinfer.model.ids import ContentId

BITS_PER_ITEM = 10
HASHES = 7
"""10 bits and 7 hashes an item: 0.8 % false positives (Bloom 1970; k = ln 2 x m/n)."""

MIN_BYTES, MAX_BYTES = 16, 16 * 1024
"""16 KiB hold 13,000 items at that rate; beyond, the rate rises and more tasks wait a moment."""


def sketch(contents: Iterable[ContentId]) -> bytes:
    """The filter of these ids; empty for none."""
    ids = sorted(set(contents))
    if not ids:
        return b""
    size = min(MAX_BYTES, max(MIN_BYTES, (len(ids) * BITS_PER_ITEM + 7) // 8))
    bits = bytearray(size)
    for content in ids:
        for at in _places(content, size * 8):
            bits[at >> 3] |= 1 << (at & 7)
    return bytes(bits)


def may_hold(bits: bytes, content: ContentId) -> bool:
    return bool(bits) and all(bits[at >> 3] & 1 << (at & 7) for at in _places(content, len(bits) * 8))


def _places(content: ContentId, bits: int) -> Iterable[int]:
    # A content id is a hash already: two halves of it give all places (Kirsch and Mitzenmacher 2006).
    a, b = int(content[:16], 16), int(content[16:], 16) | 1
    return ((a + i * b) % bits for i in range(HASHES))
