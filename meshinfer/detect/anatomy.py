"""What an ONNX file is made of: read from its protobuf, without loading it. The names are those of onnx.proto3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from meshinfer.detect.names import clean
from meshinfer.detect.prescan import prescan
from meshinfer.errors import ModelError

_TYPES = ("?", "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "double")
_STANDARD = frozenset({"", "ai.onnx"})

Field = tuple[int, int | memoryview]


class Port(Struct, frozen=True):
    """An input or an output."""

    name: str
    type: str
    shape: tuple[int | str, ...]
    """A name, or "?", where the file leaves a dimension open."""


class Anatomy(Struct, frozen=True):
    producer: str
    opset: int
    """Of the standard operators."""
    domains: dict[str, int]
    """Other operator sets it imports, and their versions."""
    operators: dict[str, int]
    """How many of each, the most frequent first; those of nested graphs too."""
    parameters: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def anatomy(data: bytes) -> Anatomy:
    """Of a whole .onnx file. Raises ModelError for what the pre-scan refuses: it bounds this walk too."""
    prescan(data)
    try:
        return _model(memoryview(data))
    except (IndexError, TypeError, UnicodeDecodeError):
        raise ModelError("no ONNX file: its bytes are not those of a model") from None


def _model(data: memoryview) -> Anatomy:
    producer: list[str] = ["", ""]
    opsets: dict[str, int] = {}
    graph = memoryview(b"")
    for number, value in _fields(data):
        match number:
            case 2 | 3:
                producer[number - 2] = _text(value)
            case 7:
                graph = _view(value)
            case 8:
                fields = dict(_fields(_view(value)))
                opsets[_text(fields.get(1, memoryview(b"")))] = _int(fields.get(2, 0))
    operators: Counter[str] = Counter()
    weights: dict[str, int] = {}
    ports: dict[int, list[Port]] = {11: [], 12: []}
    for number, value in _fields(graph):
        if number == 5:
            name, size = _tensor(_view(value))
            weights[name] = size
        elif number in ports:
            ports[number].append(_port(_view(value)))
    _count(graph, operators)
    return Anatomy(
        " ".join(filter(None, producer)),
        max((v for d, v in opsets.items() if d in _STANDARD), default=0),
        {d: v for d, v in sorted(opsets.items()) if d not in _STANDARD},
        dict(operators.most_common()),
        sum(weights.values()),
        tuple(p for p in ports[11] if p.name not in weights),  # before IR 4 weights were inputs too
        tuple(ports[12]),
    )


def _count(graph: memoryview, operators: Counter[str]) -> None:
    for number, node in _fields(graph):
        if number != 1:
            continue
        for field, value in _fields(_view(node)):
            if field == 4:
                operators[_text(value)] += 1
            elif field == 5:
                for kind, inner in _fields(_view(value)):
                    if kind in (6, 11):  # g, graphs
                        _count(_view(inner), operators)


def _tensor(data: memoryview) -> tuple[str, int]:
    name, size = "", 1
    for number, value in _fields(data):
        if number == 1:
            for dim in [value] if isinstance(value, int) else _packed(value):
                size *= dim
        elif number == 8:
            name = _text(value)
    return name, size


def _port(data: memoryview) -> Port:
    fields = dict(_fields(data))
    kind = dict(_fields(_view(fields.get(2, memoryview(b"")))))
    tensor = dict(_fields(_view(kind.get(1, memoryview(b"")))))
    shape = []
    for _, dim in _fields(_view(tensor.get(2, memoryview(b"")))):
        parts = dict(_fields(_view(dim)))
        shape.append(_int(parts[1]) if 1 in parts else _text(parts.get(2, memoryview(b""))) or "?")
    element = _int(tensor.get(1, 0))
    return Port(_text(fields[1]), _TYPES[element] if element < len(_TYPES) else f"type {element}", tuple(shape))


def _fields(data: memoryview) -> Iterator[Field]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                value, at = _varint(data, at)
                yield key >> 3, value
            case 2:
                size, at = _varint(data, at)
                yield key >> 3, data[at : at + size]
                at += size
            case kind:
                at += 8 if kind == 1 else 4


def _packed(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _view(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise TypeError
    return value


def _int(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _text(value: int | memoryview) -> str:
    return clean(str(_view(value), "utf-8")[:128])
