"""Which files are footage, told from their first bytes. A name only raises the expectation that a file is footage.

A file is handed to a decoder only when its first bytes are those of a container or picture format listed here.
Playlists and other text formats, which make a decoder open further files, are left out on purpose.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from meshinfer.model.catalog import Kind

HEAD: Final = 4096
"""Bytes that `sniff` wants to see."""

_VIDEO_NAMES: Final = (
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .m2v .ts .mts .m2ts .flv .wmv .asf .ogv .3gp .3g2 .mxf .y4m"
)
_IMAGE_NAMES: Final = ".jpg .jpeg .jpe .png .bmp .webp .tif .tiff .jp2 .ppm .pgm .pnm"
VIDEO_SUFFIXES: Final = frozenset(_VIDEO_NAMES.split())
IMAGE_SUFFIXES: Final = frozenset(_IMAGE_NAMES.split())
SERIES_SUFFIXES: Final = frozenset({".csv", ".tsv", ".wav", ".parquet"})

_VIDEO: Final = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"OggS",
    b"YUV4MPEG2 ",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
)
_IMAGE: Final = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"II*\x00",  # TIFF
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",  # JPEG 2000
)
_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"pnot"})
"""First box of an MP4 or QuickTime file."""
_STILL_BRANDS: Final = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"})
_AUDIO_BRANDS: Final = frozenset({b"M4A ", b"M4B ", b"M4P "})


def expected_kind(name: str) -> Kind | None:
    """What the name of a file promises."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in SERIES_SUFFIXES:
        return "series"
    return "video" if suffix in VIDEO_SUFFIXES else "image" if suffix in IMAGE_SUFFIXES else None


def sniff(head: bytes, name: str) -> Kind | None:
    """`head`: the first `HEAD` bytes of the file; `name`: its own, for formats whose first bytes say too little."""
    if head.startswith(_IMAGE) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "image"
    if name.lower().endswith((".ppm", ".pgm", ".pnm")) and head[:1] == b"P" and head[1:2] in b"123456":
        return "image"
    if head[4:8] in _BOXES:
        brand = head[8:12] if head[4:8] == b"ftyp" else b""
        return None if brand in _STILL_BRANDS | _AUDIO_BRANDS else "video"
    if head.startswith(_VIDEO) or (head[:4] == b"RIFF" and head[8:11] == b"AVI"):
        return "video"
    return "video" if _is_transport_stream(head) else None


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes, each beginning with 0x47; M2TS has four bytes of time before each."""
    return any(
        len(head) > first + 4 * size and all(head[first + i * size] == 0x47 for i in range(5))
        for first, size in ((0, 188), (4, 192))
    )
