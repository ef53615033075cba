"""Content ids: footage is named by its bytes, wherever it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BufferedReader
from typing import Final

from meshinfer.model.ids import ContentId

CHUNK: Final = 1 << 18
"""Bytes hashed at a time, without the interpreter's lock."""


def content_id(file: BufferedReader, check: Callable[[], object]) -> ContentId:
    """The first 32 hex digits of sha256 over the whole file. `check` is called per chunk, and may raise to stop."""
    h = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    file.seek(0)
    while n := file.readinto(buffer):
        check()
        h.update(buffer[:n])
    return ContentId(h.hexdigest()[:32])
