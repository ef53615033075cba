"""When footage was captured, from what the file says: `mvhd` of MP4 and QuickTime, EXIF of JPEG, or the file's name.

Containers are walked by hand, over a bounded number of boxes: the decoder does not tell these times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO, Final

_NAME: Final = re.compile(
    r"(?<!\d)(?P<Y>(?:19|20)\d\d)[-_.]?(?P<m>\d\d)[-_.]?(?P<d>\d\d)[T _/-]?"
    r"(?P<H>\d\d)[-_.:h]?(?P<M>\d\d)[-_.:m]?(?P<S>\d\d)(?!\d)"
)
_EXIF: Final = re.compile(rb"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")
_OFFSET: Final = re.compile(rb"([+-])(\d\d):(\d\d)")

_SINCE_1904: Final = 2_082_844_800
_OLDEST: Final = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_NEWEST: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_MAX_BOXES: Final = 512
_MAX_TAGS: Final = 512


def from_name(name: str) -> float | None:
    """`20261120T101500`, `2026-11-20_10-15-00`, `2026-11-20/101500.mp4`: read as UTC. Unix seconds."""
    for m in _NAME.finditer(name):
        if (at := _seconds(m["Y"], m["m"], m["d"], m["H"], m["M"], m["S"])) is not None:
            return at
    return None


def from_mp4(file: BinaryIO, size: int) -> float | None:
    """The movie's creation time, where it is set; UTC by the standard, even where a camera writes its local time."""
    for kind, start, end in _boxes(file, 0, size):
        if kind != b"moov":
            continue
        for inner, at, _ in _boxes(file, start, end):
            if inner == b"mvhd":
                file.seek(at)
                data = file.read(12)
                if len(data) < 12:
                    return None
                created = int.from_bytes(data[4:12] if data[0] == 1 else data[4:8], "big") - _SINCE_1904
                return float(created) if _OLDEST <= created < _NEWEST else None
    return None


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of content, end) of each box in a row."""
    for _ in range(_MAX_BOXES):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        length, skip = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, skip = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - start
        if length < skip or start + length > end:
            return
        yield head[4:8], start + skip, start + length
        start += length


def from_exif(tiff: bytes) -> float | None:
    """DateTimeOriginal of an EXIF block (what follows `Exif\\0\\0`), in the zone it names, else UTC."""
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return None
    tags = _tags(tiff, tiff[4:8], order)
    inner = _tags(tiff, tags.get(0x8769, b""), order)
    when = _EXIF.match(_text(tiff, inner.get(0x9003, b""), order))
    if when is None:
        return None
    at = _seconds(*when.groups())
    zone = _OFFSET.match(_text(tiff, inner.get(0x9011, b""), order))
    if at is None or zone is None:
        return at
    east = 3600 * int(zone[2]) + 60 * int(zone[3])
    return at - east if zone[1] == b"+" else at + east


def _tags(tiff: bytes, where: bytes, order: str) -> dict[int, bytes]:
    """Tag -> the four bytes of its value (a short value itself, or the offset of a long one)."""
    at = _int(where, order)
    count = min(_int(tiff[at : at + 2], order), _MAX_TAGS) if 8 <= at < len(tiff) else 0
    rows = (tiff[i : i + 12] for i in range(at + 2, at + 2 + 12 * count, 12))
    return {_int(row[:2], order): row[8:12] for row in rows if len(row) == 12}


def _text(tiff: bytes, where: bytes, order: str) -> bytes:
    at = _int(where, order)
    return tiff[at : at + 20] if at else b""


def _int(data: bytes, order: str) -> int:
    return int.from_bytes(data, "little" if order == "little" else "big")


def _seconds(*parts: str | bytes) -> float | None:
    year, month, day, hour, minute, second = (int(p) for p in parts)
    try:
        at = datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return at if _OLDEST <= at < _NEWEST else None
