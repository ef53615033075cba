"""One short text for everything that was found: equal for equal boxes, whoever found them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

DIGITS = 12

Finding = tuple[str, int, Sequence[Any]]
"""An entry, a frame of it, and its detections as (label, score, box)."""


def digest(findings: Iterable[Finding]) -> str:
    """Of one site's frames with detections, in any order."""
    lines = sorted((entry, frame, msgspec.json.encode(found)) for entry, frame, found in findings)
    h = sha256()
    for entry, frame, found in lines:
        h.update(f"{entry}\0{frame}\0".encode() + found + b"\n")
    return h.hexdigest()[:DIGITS]


def digest_of_sites(digests: dict[str, str]) -> str:
    """Of all sites together."""
    return sha256("\n".join(f"{site} {digests[site]}" for site in sorted(digests)).encode()).hexdigest()[:DIGITS]
