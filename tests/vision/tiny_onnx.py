"""The smallest ONNX files, written by hand: models that put out a constant, or one that looks at brightness.

Protobuf is a list of (field number, wire type, value); the numbers are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLOAT = 1
_ELEMENTS = {"float32": _FLOAT, "uint8": 2, "int32": 6, "int64": 7, "float16": 10, "float64": 11}


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


def tensor(name: str, values: NDArray[Any]) -> bytes:
    dims = b"".join(field(1, int(d)) for d in values.shape)
    little = values.astype(values.dtype.newbyteorder("<"))
    return dims + field(2, element(values)) + field(8, name) + field(9, little.tobytes())


def element(values: NDArray[Any]) -> int:
    return _ELEMENTS[values.dtype.name]


def declared(name: str, shape: Sequence[int | str], element: int = _FLOAT) -> bytes:
    """A ValueInfo: an input or output with its shape; a string is an open dimension."""
    dims = b"".join(field(1, field(2 if isinstance(d, str) else 1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, element) + field(2, dims)))


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], attributes: bytes = b"", domain: str = "") -> bytes:
    names = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs)
    return names + field(4, op) + attributes + (field(7, domain) if domain else b"")


def attribute_int(name: str, value: int) -> bytes:
    return field(5, field(1, name) + field(3, value) + field(20, 2))


def attribute_ints(name: str, values: Sequence[int]) -> bytes:
    return field(5, field(1, name) + b"".join(field(8, v) for v in values) + field(20, 7))


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
    names: Sequence[str] = (),
    types: Mapping[str, str] | None = None,
) -> bytes:
    """A model of a `size` (width, height) picture with constant `outputs`, called `names`.

    `types`: of inputs that are not float32.
    """
    values = [outputs] if isinstance(outputs, np.ndarray) else list(outputs)
    names = names or [f"out{i}" for i in range(len(values))]
    graph = b""
    for name, value in zip(names, values, strict=True):
        graph += field(1, node("Constant", (), (name,), attribute_tensor("value", tensor("", value))))
    graph += field(2, "constant")
    width, height = size
    for name, shape in inputs or (("images", (1, 3, height, width)),):
        graph += field(11, declared(name, shape, _ELEMENTS[(types or {}).get(name, "float32")]))
    for name, value in zip(names, values, strict=True):
        graph += field(12, declared(name, [d or "rows" for d in value.shape], element(value)))
    return model(graph, metadata)


def brightness_model(box: Sequence[float] = (32, 32, 16, 16)) -> bytes:
    """YOLOv8's layout, one class `grey`: one box (cxcywh) in 64x64 pixels, whose score is the picture's brightness."""
    place, weight = np.zeros((1, 5, 84), np.float32), np.zeros((1, 5, 84), np.float32)
    place[0, :4, 0] = box
    weight[0, 4, 0] = 1
    nodes = (
        node("ReduceMean", ("images",), ("mean",), attribute_int("keepdims", 0)),
        node("Mul", ("weight", "mean"), ("score",)),
        node("Add", ("place", "score"), ("out",)),
    )
    graph = b"".join(field(1, n) for n in nodes) + field(2, "brightness")
    graph += field(5, tensor("place", place)) + field(5, tensor("weight", weight))
    graph += field(11, declared("images", (1, 3, 64, 64))) + field(12, declared("out", (1, 5, 84)))
    return model(graph, {"names": "{0: 'grey'}", "task": "detect"})


def means_model(kind: str = "float32", channels_last: bool = False, size: tuple[int, int] = (64, 48)) -> bytes:
    """A classifier of three classes: the means of the picture's channels, as they come in."""
    width, height = size
    axes = (1, 2) if channels_last else (2, 3)
    reduced = attribute_ints("axes", axes) + attribute_int("keepdims", 0)
    nodes = (
        node("Cast", ("picture",), ("floats",), attribute_int("to", _FLOAT)),
        node("ReduceMean", ("floats",), ("out",), reduced),
    )
    shape = (1, height, width, 3) if channels_last else (1, 3, height, width)
    graph = b"".join(field(1, n) for n in nodes) + field(2, "means")
    graph += field(11, declared("picture", shape, _ELEMENTS[kind])) + field(12, declared("out", (1, 3)))
    return model(graph, {"names": "['a', 'b', 'c']"})


def bright_cells_model(metadata: Mapping[str, str] | None = None) -> bytes:
    """YOLOX of any size and one class: per cell a box of one cell around its corner, as sure as the cell is red."""
    weight = np.zeros((6, 3, 1, 1), np.float32)
    weight[4, 2] = 1 / 255
    nodes, rows = [], []
    for stride in (8, 16, 32):
        window = attribute_ints("kernel_shape", (stride, stride)) + attribute_ints("strides", (stride, stride))
        nodes += [
            node("AveragePool", ("images",), (f"cells{stride}",), window),
            node("Conv", (f"cells{stride}", "weight", "bias"), (f"values{stride}",)),
            node("Reshape", (f"values{stride}", "shape"), (f"rows{stride}",)),
        ]
        rows.append(f"rows{stride}")
    nodes.append(node("Concat", rows, ("columns",), attribute_int("axis", 2)))
    nodes.append(node("Transpose", ("columns",), ("out",), attribute_ints("perm", (0, 2, 1))))
    graph = b"".join(field(1, n) for n in nodes) + field(2, "cells") + field(5, tensor("weight", weight))
    graph += field(5, tensor("bias", np.array((0, 0, 0, 0, 0, 1), np.float32)))
    graph += field(5, tensor("shape", np.array((1, 6, -1), np.int64)))
    graph += field(11, declared("images", (1, 3, "h", "w"))) + field(12, declared("out", (1, "n", 6)))
    return model(graph, metadata)


def sized_model(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[Any], size: tuple[int, int]
) -> bytes:
    """RT-DETR: `boxes` [1, n, 4] as shares of the picture, times the input orig_target_sizes."""
    width, height = size
    nodes = [
        node("Constant", (), (name,), attribute_tensor("value", tensor("", value)))
        for name, value in (("labels", labels), ("shares", boxes), ("scores", scores))
    ]
    nodes += [
        node("Concat", ("orig_target_sizes", "orig_target_sizes"), ("sides",), attribute_int("axis", 1)),
        node("Cast", ("sides",), ("pixels",), attribute_int("to", _FLOAT)),
        node("Mul", ("shares", "pixels"), ("boxes",)),
    ]
    graph = b"".join(field(1, n) for n in nodes) + field(2, "sized")
    graph += field(11, declared("images", ("N", 3, height, width)))
    graph += field(11, declared("orig_target_sizes", ("N", 2), _ELEMENTS["int64"]))
    for name, value in (("labels", labels), ("boxes", boxes), ("scores", scores)):
        graph += field(12, declared(name, value.shape, element(value)))
    return model(graph, {"names": "['person', 'car', 'dog']"})
