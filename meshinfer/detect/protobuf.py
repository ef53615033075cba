"""A bounded walk over protobuf bytes: one flat loop per message, over fields that a table allows.

What real parsers make of odd bytes is not guessed at. They merge a message that comes twice and let the last of two
values win; they skip fields they do not know, and read one with another wire type as unknown. Here each is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from meshinfer.errors import ModelError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1


class Malformed(Exception):
    """Not protobuf, or not of the table."""


class Message(NamedTuple):
    """What a message may hold."""

    name: str
    keys: Mapping[int, bool]
    """`number << 3 | wire type`, as it stands in the file; whether it may be there but once."""


def message(name: str, once: Mapping[int, Iterable[int]], many: Mapping[int, Iterable[int]]) -> Message:
    """`once` and `many`: wire type -> numbers of the fields. Repeated numbers may also be packed."""
    keys = {n << 3 | wire: True for wire, numbers in once.items() for n in numbers}
    for wire, numbers in many.items():
        keys |= {n << 3 | kind: False for n in numbers for kind in {wire, BYTES}}
    return Message(name, keys)


class Walker:
    """Over one file. Raises Malformed, IndexError (the file ends too early), and ModelError beyond `most` fields."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data = data
        self._most = self._left = most

    def fields(self, start: int, stop: int, of: Message) -> Iterator[tuple[int, int, int]]:
        """(number, start, stop) of each field with bytes; (number, value, -1) of each varint.

        Fixed numbers come as where they lie.
        """
        data, keys, at, seen = self.data, of.keys, start, 0
        while at < stop:
            self._left -= 1
            if self._left < 0:
                raise ModelError(f"more than {self._most} fields: no detector has so many")
            key = data[at]
            at += 1
            if key > 127:
                key, at = self.varint(at - 1)
            once = keys.get(key)
            if once is None:
                raise Malformed(f"field {key >> 3} of a {of.name}, which is not known here")
            number = key >> 3
            if once:
                if seen >> number & 1:
                    raise Malformed(f"field {number} of a {of.name} twice")
                seen |= 1 << number
            wire = key & 7
            if wire == BYTES:
                size = data[at]
                at += 1
                if size > 127:
                    size, at = self.varint(at - 1)
                begin, at = at, at + size
                if at > stop:
                    raise Malformed("a field that is cut off")
                yield number, begin, at
                continue
            if wire == VARINT:
                value = data[at]
                at += 1
                if value > 127:
                    value, at = self.varint(at - 1)
                found = number, value, -1
            else:
                begin, at = at, at + (8 if wire == FIXED64 else 4)
                found = number, begin, at
            if at > stop:
                raise Malformed("a field that is cut off")
            yield found

    @property
    def left(self) -> int:
        """Fields that may still come."""
        return self._left

    def charge(self, fields: int) -> None:
        """Count fields that need no second look: the same bytes have been walked. The parser will make them anew."""
        self._left -= fields

    def varint(self, at: int) -> tuple[int, int]:
        """Its value, unsigned, and where it ends."""
        value = shift = 0
        while True:
            byte = self.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & _MASK, at
            shift += 7
            if shift > 63:
                raise Malformed("a number of more than 64 bits")

    def packed(self, start: int, stop: int, most: int) -> list[int]:
        """The first `most` numbers of a packed field."""
        values: list[int] = []
        while start < stop and len(values) < most:
            value, start = self.varint(start)
            values.append(value)
        if start > stop:
            raise Malformed("a field that is cut off")
        return values


def signed(value: int) -> int:
    """An unsigned varint as the int64 that was meant."""
    return value - (1 << 64) if value >> 63 else value
