"""A record: one peer's signed statement, as everybody keeps it."""

from __future__ import annotations

from msgspec import Struct

from meshinfer.model.facts import Fact
from meshinfer.model.ids import PeerId


class Record(Struct, frozen=True):
    """A verified record."""

    kind: str
    origin: PeerId
    incarnation: int
    seq: int
    key: str
    fact: Fact | None
    """None for a kind, or a body, that this version does not understand: kept, passed on, not acted on."""
    sealed: bytes
