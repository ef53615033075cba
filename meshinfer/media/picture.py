"""What the header of an image file says, before a decoder sees it: its size, whether its end is there, its EXIF.

libjpeg and libpng fill what is missing with grey, and complain on stderr: a cut-off picture is found here instead. A
picture of a few kilobytes may claim gigabytes of pixels: its size is read here, so that it can be refused unopened.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

_SIZE_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MAX_SEGMENTS: Final = 1000


class Header(NamedTuple):
    width: int = 0
    """0 where the format is not one of those read here."""
    height: int = 0
    whole: bool = True
    """False where the end of the file is missing or its checksums are wrong."""
    exif: bytes = b""


def read_header(data: bytes) -> Header:
    """`data`: the whole file."""
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Header(whole=len(data) >= 8 + int.from_bytes(data[4:8], "little"))
    return Header()


def _jpeg(data: bytes) -> Header:
    width = height = 0
    exif = b""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if data[at : at + 1] != b"\xff":
            break
        marker = data[at + 1] if at + 1 < len(data) else 0
        if marker == 0xFF:  # padding
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = at + 4
        if marker in _SIZE_MARKERS:
            height, width = (int.from_bytes(data[body + i : body + i + 2], "big") for i in (1, 3))
        elif marker == 0xE1 and data[body : body + 6] == b"Exif\0\0":
            exif = data[body + 6 : at + 2 + length]
        elif marker == 0xDA:
            # From here on FF is followed by 00 or a marker: FF D9 is the end of this image, not of a thumbnail.
            return Header(width, height, data.rfind(b"\xff\xd9") > body, exif)
        at += 2 + max(length, 2)
    return Header(width, height, whole=False, exif=exif)


def _png(data: bytes) -> Header:
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            break
        if data[at + 4 : at + 8] == b"IEND":
            return Header(width, height)
        at = end + 4
    return Header(width, height, whole=False)
