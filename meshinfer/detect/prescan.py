"""A look at an ONNX file before the runtime sees it: a bounded walk over its protobuf, without the onnx package.

The runtime is safe against most bad files, but not against these (each was tried): tensors kept in other files, which
it reads from the working folder into an output; nested local functions, which make 1.5 KB hang it; endless loops. A
detector needs none of them, so a file with one is refused here. The names are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshinfer.errors import ModelError
from meshinfer.model.bundle import MAX_MODEL_BYTES

MAX_NODES = 20_000
"""YOLOv8x has about 500 nodes; quantised, 2,000."""
MAX_FIELDS = 1_000_000
"""Protobuf fields in all: bounds the walk itself to about a second."""
MAX_DEPTH = 4
"""Graphs inside of attributes of graphs (If): exports stay at 1."""
DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
"""The standard operators and the runtime's own (quantisation). Others can't run anyway, or load code."""
REFUSED_OPS = frozenset({"Loop", "Scan", "EPContext"})
"""Unbounded work, and precompiled blobs for accelerators."""


def prescan(data: bytes) -> None:
    """Pass `data` (a whole .onnx file), or raise ModelError that says what it is or holds that is refused."""
    if len(data) > MAX_MODEL_BYTES:
        raise ModelError(f"{len(data)} bytes: models over {MAX_MODEL_BYTES} bytes are refused")
    try:
        _Scan().model(memoryview(data))
    except (IndexError, UnicodeDecodeError, _Malformed):
        raise ModelError("no ONNX file: its bytes are not those of a model") from None


class _Malformed(Exception):
    """Not protobuf, or not the protobuf of a model."""


class _Scan:
    def __init__(self) -> None:
        self._fields = 0
        self._nodes = 0

    def model(self, data: memoryview) -> None:
        seen = set()
        for field, value in self._walk(data):
            seen.add(field)
            match field:
                case 7:
                    self._graph(_view(value), 0)
                case 20:
                    raise ModelError("holds training_info: a detector has none; export it for inference")
                case 25:
                    raise ModelError("holds local functions, which are refused: export it with its functions inlined")
        if not {1, 7, 8} <= seen:  # ir_version, graph, opset_import: required in every model
            raise _Malformed

    def _graph(self, data: memoryview, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ModelError(f"graphs nested deeper than {MAX_DEPTH}")
        for field, value in self._walk(data):
            match field:
                case 1:
                    self._node(_view(value), depth)
                case 5:
                    self._tensor(_view(value))
                case 15:
                    raise ModelError("holds sparse initializers, which are refused: export it with dense weights")

    def _node(self, data: memoryview, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ModelError(f"more than {MAX_NODES} nodes")
        for field, value in self._walk(data):
            match field:
                case 4 if (op := str(_view(value), "utf-8")) in REFUSED_OPS:
                    raise ModelError(f"uses the operator {op}, which is refused: its work has no bound")
                case 7 if (domain := str(_view(value), "utf-8")) not in DOMAINS:
                    raise ModelError(f"uses operators of the domain {domain[:64]!r}, which are refused")
                case 5:
                    self._attribute(_view(value), depth)

    def _attribute(self, data: memoryview, depth: int) -> None:
        for field, value in self._walk(data):
            match field:
                case 5 | 10:  # t, tensors
                    self._tensor(_view(value))
                case 6 | 11:  # g, graphs
                    self._graph(_view(value), depth + 1)
                case 22 | 23:  # sparse_tensor, sparse_tensors
                    raise ModelError("holds sparse tensors, which are refused: export it with dense weights")

    def _tensor(self, data: memoryview) -> None:
        for field, value in self._walk(data):
            if field == 13 or (field == 14 and value == 1):  # external_data, data_location = EXTERNAL
                raise ModelError(
                    "keeps tensors in other files (external data), which is refused: export it as one file"
                )

    def _walk(self, data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """The fields of one message: (number, integer or bytes)."""
        at, end = 0, len(data)
        while at < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise ModelError(f"more than {MAX_FIELDS} fields")
            key, at = _varint(data, at)
            value: int | memoryview
            match key & 7:
                case 0:
                    value, at = _varint(data, at)
                case 1:
                    value, at = data[at : at + 8], at + 8
                case 2:
                    size, at = _varint(data, at)
                    value, at = data[at : at + size], at + size
                case 5:
                    value, at = data[at : at + 4], at + 4
                case _:
                    raise _Malformed
            if at > end or not key >> 3:
                raise _Malformed
            yield key >> 3, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise _Malformed


def _view(value: int | memoryview) -> memoryview:
    """`value` as a nested message; an integer in its place is malformed."""
    if isinstance(value, int):
        raise _Malformed
    return value
