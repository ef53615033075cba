"""A model as it travels: an ONNX file, the sidecar that says how to read it, and what both are called."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from meshinfer.model.ids import Digest, ModelDigest, Peer, hash_of, reference_of

MAX_MODEL_BYTES = 512 * 1024 * 1024
"""The largest detectors in use are about 300 MB in fp32."""

CHUNK = 192 * 1024
"""Bytes of a model that travel in one frame, below the mesh's 256 KiB; the last chunk of a file is shorter."""

MAX_CHUNKS = -(-MAX_MODEL_BYTES // CHUNK)
MAX_SIDECAR = 64 * 1024
"""A thousand class names take 25 KB."""

ModelName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
ModelVersion = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._+-]{0,32}\Z")]


class Bundle(Struct, frozen=True, array_like=True):
    """What a signer vouches for. Raises ValueError where its chunks are not those of so many bytes."""

    name: ModelName
    version: ModelVersion
    """May be empty."""
    file: Digest
    """sha256 of the ONNX file."""
    size: Annotated[int, Meta(ge=1, le=MAX_MODEL_BYTES)]
    """Bytes of the ONNX file."""
    sidecar: Annotated[bytes, Meta(max_length=MAX_SIDECAR)]
    """As it lies beside the file; empty: none."""
    chunks: Annotated[tuple[Annotated[bytes, Meta(min_length=32, max_length=32)], ...], Meta(max_length=MAX_CHUNKS)]
    """sha256 of each chunk of the file, so that a bad one is noticed when it comes and blamed on who sent it."""

    def __post_init__(self) -> None:
        if len(self.chunks) != -(-self.size // CHUNK):
            raise ValueError(f"{len(self.chunks)} chunks for {self.size} bytes")

    @property
    def digest(self) -> ModelDigest:
        return model_digest(self.file, self.sidecar)

    @property
    def reference(self) -> str:
        return reference_of(self.name, self.version)


class Vouched(Struct, frozen=True):
    """A bundle with a genuine signature; whether the signer is trusted is for each peer to say."""

    bundle: Bundle
    signer: Peer
    sealed: bytes
    """As it travels and is kept."""


def model_digest(file: Digest, sidecar: bytes) -> ModelDigest:
    """Names what a model computes: the file's sha256, or where a sidecar says how to read it, a hash of both."""
    return ModelDigest(hash_of(b"model", file.encode(), sidecar, digits=64)) if sidecar else file
