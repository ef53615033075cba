"""msgpack with types: one place where remote bytes become structs.

Rule: decoding raises `ProtocolError` and nothing else, whatever the bytes. msgspec checks types and the size limits
in the annotations while it decodes, so nothing oversized is built first. Unknown fields of structs are ignored: a
newer peer may say more than we understand (records keep their bytes, so what we pass on is what was said).
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from meshinfer.errors import DecodeError, MessageTooBig

T = TypeVar("T")

encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Decoder(Generic[T]):
    """Bytes to `type`, at most `limit` bytes of them."""

    def __init__(self, type_: type[T], limit: int) -> None:
        self.limit = limit
        self.name = getattr(type_, "__name__", str(type_))
        self._decode = msgspec.msgpack.Decoder(type_).decode

    def __call__(self, data: bytes) -> T:
        """Raises DecodeError or MessageTooBig."""
        if len(data) > self.limit:
            raise MessageTooBig(f"{self.name} of {len(data)} bytes, the limit is {self.limit}")
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError, OverflowError) as e:
            # ValueError: a __post_init__ check; RecursionError: deeply nested arrays in a field that is skipped.
            raise DecodeError(f"not a valid {self.name}: {str(e)[:200]}") from None
