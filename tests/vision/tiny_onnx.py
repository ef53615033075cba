"""The smallest ONNX files, written by hand: models that put out a constant, or one that looks at brightness.

Protobuf is a list of (field number, wire type, value); the numbers are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLOAT = 1


def field(number: int, value: int | bytes | str) -> bytes:
    """One field: an integer as a varint, anything else with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def tensor(name: str, values: NDArray[np.float32]) -> bytes:
    dims = b"".join(field(1, int(d)) for d in values.shape)
    return dims + field(2, _FLOAT) + field(8, name) + field(9, values.astype("<f4").tobytes())


def declared(name: str, shape: Sequence[int | str], element: int = _FLOAT) -> bytes:
    """A ValueInfo: an input or output with its shape; a string is an open dimension."""
    dims = b"".join(field(1, field(2 if isinstance(d, str) else 1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, element) + field(2, dims)))


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], attributes: bytes = b"", domain: str = "") -> bytes:
    names = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs)
    return names + field(4, op) + attributes + (field(7, domain) if domain else b"")


def attribute_tensor(name: str, value: bytes) -> bytes:
    return field(5, field(1, name) + field(5, value) + field(20, 4))


def model(graph: bytes, metadata: Mapping[str, str] | None = None, extra: bytes = b"") -> bytes:
    props = b"".join(field(14, field(1, k) + field(2, v)) for k, v in (metadata or {}).items())
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)) + props + extra


def constant_model(
    outputs: NDArray[Any] | Sequence[NDArray[Any]],
    size: tuple[int | str, int | str] = (64, 64),
    metadata: Mapping[str, str] | None = None,
    inputs: Sequence[tuple[str, Sequence[int | str]]] = (),
) -> bytes:
    """A model of a `size` (width, height) picture with constant `outputs`."""
    values = [outputs] if isinstance(outputs, np.ndarray) else list(outputs)
    graph = b""
    for i, value in enumerate(values):
        graph += field(1, node("Constant", (), (f"out{i}",), attribute_tensor("value", tensor("", value))))
    graph += field(2, "constant")
    width, height = size
    for name, shape in inputs or (("images", (1, 3, height, width)),):
        graph += field(11, declared(name, shape))
    for i, value in enumerate(values):
        graph += field(12, declared(f"out{i}", value.shape))
    return model(graph, metadata)


def brightness_model(box: Sequence[float] = (32, 32, 16, 16)) -> bytes:
    """YOLOv8's layout, one class `grey`: one box (cxcywh) in 64x64 pixels, whose score is the picture's brightness."""
    place, weight = np.zeros((1, 5, 84), np.float32), np.zeros((1, 5, 84), np.float32)
    place[0, :4, 0] = box
    weight[0, 4, 0] = 1
    nodes = (
        node("ReduceMean", ("images",), ("mean",), field(5, field(1, "keepdims") + field(3, 0) + field(20, 2))),
        node("Mul", ("weight", "mean"), ("score",)),
        node("Add", ("place", "score"), ("out",)),
    )
    graph = b"".join(field(1, n) for n in nodes) + field(2, "brightness")
    graph += field(5, tensor("place", place)) + field(5, tensor("weight", weight))
    graph += field(11, declared("images", (1, 3, 64, 64))) + field(12, declared("out", (1, 5, 84)))
    return model(graph, {"names": "{0: 'grey'}", "task": "detect"})
