"""Tensors in an ONNX file: what they declare has to be there, and those that may be a size are read."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from meshinfer.detect.onnx_format import BITS, STRING
from meshinfer.detect.protobuf import Malformed, Walker, signed
from meshinfer.errors import ModelError

MAX_SIZE = 64
"""Elements of a tensor that may be a size."""
_FLOAT, _INT32, _INT64, _DOUBLE = 1, 6, 7, 11
_CODES = {_FLOAT: "f", _INT32: "i", _INT64: "q", _DOUBLE: "d"}
_CONTINUED = bytes(range(128, 256))


class Tensor(NamedTuple):
    kind: int
    """TensorProto.DataType"""
    dims: list[int]
    """Varints as they stand there."""
    raw: tuple[int, int] | None
    """Where `raw_data` lies."""
    typed: list[tuple[int, int, int]]
    """Pieces of `float_data` and its like: field, and where it lies; or a varint, and -1."""

    def check(self, walker: Walker) -> int:
        """How many elements it has. Raises Malformed, and ModelError where it declares others than it holds."""
        if self.kind not in BITS and self.kind != STRING:
            raise Malformed(f"a tensor of the unknown type {self.kind}")
        if any(d >> 63 for d in self.dims):
            raise ModelError(f"holds a tensor with a dimension of {min(map(signed, self.dims))}")
        elements = math.prod(self.dims)
        if self.raw is not None:
            wanted, held = -(-elements * BITS.get(self.kind, 0) // 8), self.raw[1] - self.raw[0]
            if self.kind == STRING or self.typed or held != wanted:
                raise ModelError(f"declares a tensor of {_big(wanted)} bytes, and holds {held}")
            return elements
        held = sum(_count(walker.data, *piece) for piece in self.typed)
        # A complex number is two; of 4 and 2 bits, several may share one.
        per = {14: 2.0, 15: 2.0, 21: 0.5, 22: 0.5, 23: 0.5, 25: 0.25, 26: 0.25}.get(self.kind, 1.0)
        if held not in (elements, math.ceil(elements * per) if elements < 1 << 53 else -1):
            raise ModelError(f"declares a tensor of {_big(elements)} elements, and holds {held}")
        return elements

    def values(self, walker: Walker) -> list[float] | None:
        """Its elements where they may be a size: a few integers or floats; else None."""
        code = _CODES.get(self.kind)
        if code is None or math.prod(self.dims) > MAX_SIZE:
            return None
        if self.raw is not None:
            return list(struct.unpack(f"<{math.prod(self.dims)}{code}", walker.data[slice(*self.raw)]))
        found: list[float] = []
        for _, a, b in self.typed:
            if b < 0:
                found.append(signed(a))
            elif code in "fd":
                found += struct.unpack(f"<{(b - a) // struct.calcsize(code)}{code}", walker.data[a:b])
            else:
                found += map(signed, walker.packed(a, b, MAX_SIZE))
        return found


def _count(data: bytes, number: int, start: int, stop: int) -> int:
    """Elements in a piece."""
    if stop < 0 or number == 6:
        return 1
    if number in (4, 10):
        return (stop - start) // (4 if number == 4 else 8)
    return len(data[start:stop].translate(None, _CONTINUED))  # each varint ends in a byte below 128


def _big(number: int) -> str:
    return str(number) if number < 1 << 53 else f"2^{number.bit_length() - 1}"
