"""Which fields an ONNX file has: onnx.proto of version 1.19, without what no detector holds.

Left out, and so refused: references to attributes of functions, sparse tensors, segments, and the sharding of nodes
over devices. The numbers of what is refused with words of its own are here.
"""

from __future__ import annotations

from meshinfer.detect.protobuf import BYTES, FIXED32, FIXED64, VARINT, message

MODEL = message("model", {VARINT: (1, 5), BYTES: (2, 3, 4, 6, 7)}, {BYTES: (8, 14, 20, 25)})
OPSET = message("operator set", {BYTES: (1,), VARINT: (2,)}, {})
ENTRY = message("metadata entry", {BYTES: (1, 2)}, {})
GRAPH = message("graph", {BYTES: (2, 10)}, {BYTES: (1, 5, 11, 12, 13, 14, 15, 16)})
NODE = message("node", {BYTES: (3, 4, 6, 7, 8)}, {BYTES: (1, 2, 5, 9)})
ATTRIBUTE = message(
    "attribute",
    {BYTES: (1, 4, 5, 6, 13, 14), VARINT: (3, 20), FIXED32: (2,)},
    {BYTES: (9, 10, 11, 15, 22, 23), VARINT: (8,), FIXED32: (7,)},
)
TENSOR = message(
    "tensor",
    {BYTES: (8, 9, 12), VARINT: (2, 14)},
    {VARINT: (1, 5, 7, 11), FIXED32: (4,), FIXED64: (10,), BYTES: (6, 13, 16)},
)
VALUE = message("value", {BYTES: (1, 2, 3)}, {BYTES: (4,)})
TYPE = message("type", {BYTES: (1, 4, 5, 6, 9)}, {})
TENSOR_TYPE = message("tensor type", {VARINT: (1,), BYTES: (2,)}, {})
OF_TYPE = message("sequence type", {BYTES: (1,)}, {})
MAP_TYPE = message("map type", {VARINT: (1,), BYTES: (2,)}, {})
SHAPE = message("shape", {}, {BYTES: (1,)})
DIMENSION = message("dimension", {VARINT: (1,), BYTES: (2, 3)}, {})
ANNOTATION = message("quantisation", {BYTES: (1,)}, {BYTES: (2,)})

BITS: dict[int, int] = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128,
    16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
"""Bits of an element, by TensorProto.DataType."""
STRING = 8
