"""A model file as a bundle: hashed once, as a whole and chunk by chunk."""

from __future__ import annotations

import hashlib
from pathlib import Path

from meshinfer.detect.sidecar import sidecar_bytes
from meshinfer.errors import ModelError
from meshinfer.model.bundle import CHUNK, MAX_MODEL_BYTES, Bundle
from meshinfer.model.ids import ModelDigest


def check_size(file: Path, size: int) -> None:
    """Raises ModelError."""
    if size > MAX_MODEL_BYTES:
        raise ModelError(f"{file.name}: over {MAX_MODEL_BYTES // 2**20} MiB: larger models are refused")


def bundle_of(file: Path, name: str, version: str) -> Bundle:
    """`file` and the sidecar beside it. Raises ModelError: unreadable, empty, too big."""
    whole, chunks, size = hashlib.sha256(), [], 0
    try:
        with file.open("rb") as source:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                check_size(file, size)
                whole.update(chunk)
                chunks.append(hashlib.sha256(chunk).digest())
    except OSError as e:
        raise ModelError(f"{file.name}: cannot be read: {e.strerror}") from None
    if not size:
        raise ModelError(f"{file.name}: is empty")
    return Bundle(name, version, ModelDigest(whole.hexdigest()), size, sidecar_bytes(file), tuple(chunks))
