"""Names of things that peers agree on. All are strings, so they read well in logs, JSON and file names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, NewType

from msgspec import Meta

PeerId = NewType("PeerId", str)
"""base58 of a libp2p ed25519 peer id (12D3Koo…): the public key is inside it."""

JobId = NewType("JobId", str)
"""16 hex digits: the hash of a job's spec and a nonce."""

UnitId = NewType("UnitId", str)
"""24 hex digits: the hash of what is run over which content. Equal work has equal ids on every peer."""

TaskId = NewType("TaskId", str)
"""32 hex digits: a unit, and the number of one of its spans in 8 digits."""

ContentId = NewType("ContentId", str)
"""32 hex digits of the sha256 of a file's bytes: names footage by what it shows, not by where it lies."""

ModelDigest = NewType("ModelDigest", str)
"""64 hex digits: sha256 of the model file, or of the file and its sidecar (`model/bundle.py`)."""

# \Z, not $, which would let a line feed pass: base58 and hex decoders skip it, so one peer would have two names.
PEER_ID = Meta(min_length=40, max_length=64, pattern=r"^[1-9A-HJ-NP-Za-km-z]+\Z")
JOB_ID = Meta(pattern=r"^[0-9a-f]{16}\Z")
TASK_ID = Meta(pattern=r"^[0-9a-f]{32}\Z")
CONTENT_ID = Meta(pattern=r"^[0-9a-f]{32}\Z")
MODEL_DIGEST = Meta(pattern=r"^[0-9a-f]{64}\Z")

Peer = Annotated[PeerId, PEER_ID]
Job = Annotated[JobId, JOB_ID]
Task = Annotated[TaskId, TASK_ID]
Content = Annotated[ContentId, CONTENT_ID]
Digest = Annotated[ModelDigest, MODEL_DIGEST]

Count = Annotated[int, Meta(ge=0, le=2**53)]
"""How many: exact as a double too, so in JSON, and far inside SQLite's 64 bits."""

Real = Annotated[float, Meta(ge=-1e15, le=1e15)]
"""A number. The bounds refuse NaN and infinities, which compare and add up to nonsense."""

Seconds = Annotated[float, Meta(ge=0, le=1e10)]
"""A span of time: at most 300 years, never NaN."""

Name = Annotated[str, Meta(min_length=1, max_length=128)]
"""A short name: of a peer, a source, a model, a job."""

Text = Annotated[str, Meta(max_length=512)]
"""A sentence for people: a reason, an error."""

Labels = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=63)], Annotated[str, Meta(max_length=255)]], Meta(max_length=64)
]
"""key=value pairs that owners attach to peers and sources."""


def reference_of(name: str, version: str) -> str:
    """What people call a model: `name@version`, or its name where it has no version."""
    return f"{name}@{version}" if version else name


def hash_of(*parts: bytes, digits: int = 32) -> str:
    """The first `digits` hex digits of sha256 over length-prefixed `parts` (so that no two lists of parts collide)."""
    h = hashlib.sha256()
    for part in parts:
        h.update(len(part).to_bytes(8, "big"))
        h.update(part)
    return h.hexdigest()[:digits]


def unit_id(work: str, content: ContentId, spans: int, length: int, *, owner: PeerId | None) -> UnitId:
    """The id of running `work` (a job's digest of model, parameters and sampling) over `content`, cut into so many
    spans of so many frames (`model/spans.py`).

    `owner` is None for `scope: once`, where every copy is the same unit; the holder for `scope: every`.
    """
    pieces = f"{spans}x{length}".encode()
    return UnitId(hash_of(b"unit", work.encode(), content.encode(), pieces, (owner or "").encode(), digits=24))


def task_id(unit: UnitId, span: int) -> TaskId:
    return TaskId(f"{unit}{span:08x}")


@lru_cache(maxsize=8192)
def unit_of(task: TaskId) -> UnitId:
    return UnitId(task[:24])


@lru_cache(maxsize=8192)
def span_of(task: TaskId) -> int:
    return int(task[24:], 16)


def digest_of(items: Iterable[str]) -> str:
    """32 hex digits over `items` in their order."""
    return hash_of(*(item.encode() for item in items))
