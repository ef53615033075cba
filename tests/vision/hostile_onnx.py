"""ONNX files that mean harm: those that the pre-scan refuses, and those that only a run shows."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from meshinfer.detect import prescan
from tests.vision.tiny_onnx import attribute_tensor, brightness_model, declared, field, model, node, tensor, varint

GOOD = brightness_model()
WEIGHT = tensor("w", np.ones(4, np.float32))
EXTERNAL = field(13, field(1, "location") + field(2, "secret.bin"))
PICTURE = field(11, declared("images", (1, 3, 64, 64)))
OUTPUT = field(12, declared("out", (1, 5, 84)))


def graph_of(*nodes: bytes) -> bytes:
    return b"".join(field(1, n) for n in nodes)


def ints(name: str, values: Sequence[int] | int) -> bytes:
    """An int64 tensor; a number alone has no dimension."""
    flat = [values] if isinstance(values, int) else list(values)
    dims = b"" if isinstance(values, int) else field(1, len(flat))
    return dims + field(2, 7) + field(8, name) + field(9, struct.pack(f"<{len(flat)}q", *flat))


def floats(name: str, values: Sequence[float]) -> bytes:
    return tensor(name, np.array(values, np.float32))


def numbers(name: str, values: Sequence[int]) -> bytes:
    """An attribute with a list of integers."""
    return field(5, field(1, name) + b"".join(field(8, v & (1 << 64) - 1) for v in values) + field(20, 7))


def subgraph(name: str, graph: bytes) -> bytes:
    return field(5, field(1, name) + field(6, graph) + field(20, 5))


def nested(depth: int) -> bytes:
    graph = graph_of(node("Identity", ("a",), ("b",)))
    for _ in range(depth):
        graph = graph_of(node("If", ("a",), ("b",), subgraph("then_branch", graph)))
    return graph


def nested_type(depth: int) -> bytes:
    kind = field(1, field(1, 1))
    for _ in range(depth):
        kind = field(4, field(1, kind))
    return field(13, field(1, "v") + field(2, kind))


def loop(trips: Sequence[int] | int | None, body: bytes = b"") -> bytes:
    """`trips` as an initializer; None: without any."""
    given = b"" if trips is None else field(5, ints("n", trips))
    return graph_of(node("Loop", ("" if trips is None else "n", "c", "x"), ("y",), subgraph("body", body))) + given


def shaped(op: str, inputs: Sequence[str], *initializers: bytes, attributes: bytes = b"") -> bytes:
    return model(graph_of(node(op, inputs, ("y",), attributes)) + b"".join(field(5, i) for i in initializers))


def functions(count: int) -> bytes:
    """Each calls the one before twice: 2^count nodes once they are inlined."""
    bodies = [
        field(25, field(1, f"F{i}") + field(7, node(f"F{i - 1}", ("a",), ("b",), domain="f"))) for i in range(count)
    ]
    return model(b"", extra=b"".join(bodies))


HUGE = 1 << 40
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no ONNX file"),
    "a zip file": (b"PK\x03\x04 a zip file, not a model", "no ONNX file"),
    "a page": (b"<!DOCTYPE html><html><body>404</body></html>", "no ONNX file"),
    "ones": (b"\xff" * 1000, "no ONNX file"),
    "half": (GOOD[: len(GOOD) // 2], "no ONNX file"),
    "no graph": (field(1, 8), "no graph"),
    "no operators": (field(1, 8) + field(7, b""), "no graph, or no version"),
    "another format": (field(2, "xxORTM" + "x" * 20) + GOOD, "own format"),
    "functions": (functions(24), "local functions"),
    "training": (model(b"", extra=field(20, b"")), "training_info"),
    "external": (model(field(5, WEIGHT + EXTERNAL)), "external data"),
    "external by location": (model(field(5, WEIGHT + field(14, 1))), "external data"),
    "external location of later": (model(field(5, WEIGHT + field(14, 7))), "external data"),
    "external in an attribute": (
        model(graph_of(node("Constant", (), ("c",), attribute_tensor("value", WEIGHT + EXTERNAL)))),
        "external data",
    ),
    "external in a list": (
        model(graph_of(node("X", (), ("c",), field(5, field(1, "v") + field(10, WEIGHT + EXTERNAL))))),
        "external data",
    ),
    "external in a branch": (
        model(graph_of(node("If", ("a",), ("b",), subgraph("else_branch", field(5, WEIGHT + EXTERNAL))))),
        "external data",
    ),
    "sparse": (model(field(15, field(1, WEIGHT + EXTERNAL))), "sparse"),
    "sparse attribute": (model(graph_of(node("Constant", (), ("c",), field(5, field(22, b""))))), "sparse"),
    "sparse type": (model(field(13, field(2, field(8, b"")))), "field 8 of a type"),
    "segment": (model(field(5, WEIGHT + field(3, b""))), "field 3 of a tensor"),
    "reference to a function's attribute": (
        model(graph_of(node("X", (), (), field(5, field(1, "a") + field(21, "b"))))),
        "field 21 of a attribute",
    ),
    "device configuration": (model(b"", extra=field(26, b"")), "field 26 of a model"),
    "scan": (model(graph_of(node("Scan", ("a",), ("b",)))), "operator Scan"),
    "blob": (
        model(graph_of(node("EPContext", ("a",), ("b",), domain="com.microsoft"))),
        "operator EPContext",
    ),
    "foreign": (model(graph_of(node("Evil", ("a",), ("b",), domain="com.evil"))), "'com.evil'"),
    "foreign with escapes": (model(graph_of(node("E", (), (), domain="\x1b[2J"))), r"'\\x1b\[2J'"),
    "graph in an odd place": (model(graph_of(node("Add", ("a",), ("b",), subgraph("g", b"")))), "type 'Add'"),
    "deep": (model(nested(prescan.MAX_DEPTH + 1)), "nested deeper"),
    "very deep": (model(nested(200)), "nested deeper"),
    "deep type": (model(nested_type(9)), "types nested deeper"),
    "nodes": (model(graph_of(node("Identity", (), ())) * (prescan.MAX_NODES + 1)), "nodes"),
    "fields": (model(field(10, b"") + field(16, b"") * (prescan.MAX_FIELDS + 1)), "fields"),
    "empty initializers": (model(field(5, b"") * 1000), "no ONNX file"),
    "attributes": (
        model(graph_of(node("X", (), (), b"".join(field(5, field(1, f"a{i}")) for i in range(65))))),
        "attributes",
    ),
    "a million attributes": (model(graph_of(node("X", (), (), field(5, b"") * 1_000_000))), "fields|attributes"),
    "attribute twice": (model(graph_of(node("X", (), (), numbers("a", [1]) * 2))), "'a' of a node twice"),
    "long name": (model(graph_of(node("X", ("n" * 5000,), ()))), "name of 5000 bytes"),
    "escapes in a name": (model(field(11, declared("a\x1b[2J", (1,)))), r"control characters.*\\x1b"),
    "metadata": (model(b"", {"k": "x" * (prescan.MAX_METADATA + 1)}), "metadata"),
    "entries": (model(b"", {str(i): "" for i in range(prescan.MAX_ENTRIES + 1)}), "metadata"),
    "version": (model(b"", extra=field(8, field(2, 1 << 40))), "version 1099511627776"),
    "two graphs": (model(b"", extra=field(7, loop(1 << 62))), "field 7 of a model twice"),
    "two operators": (model(graph_of(node("Identity", (), ()) + field(4, "Scan"))), "field 4 of a node twice"),
    "two domains": (model(graph_of(node("A", (), (), domain="com.evil") + field(7, ""))), "field 7|com.evil"),
    "two locations": (model(field(5, WEIGHT + field(14, 0) + field(14, 1))), "field 14|external"),
    "two initializers of a name": (model(field(5, WEIGHT) * 2), "'w' twice"),
    "a text for a number": (model(field(5, WEIGHT + field(14, "1"))), "field 14 of a tensor"),
    "a group": (model(b"", extra=varint(7 << 3 | 3) + varint(7 << 3 | 4)), "field 7 of a model"),
    "an overlong number": (field(1, 8) + b"\x38" + b"\xff" * 11, "no ONNX file"),
    "field 0": (model(b"", extra=b"\x02\x00"), "field 0"),
    "no data": (model(field(5, field(1, HUGE) + field(2, 1) + field(8, "w"))), "2\\^40|1099511627776"),
    "overflow": (model(field(5, field(1, 1 << 62) * 4 + field(2, 1) + field(8, "w"))), r"2\^248"),
    "too little data": (model(field(5, field(1, 5) + field(2, 1) + field(9, b"1234"))), "20 bytes, and holds 4"),
    "too much data": (model(field(5, field(1, 1) + field(2, 1) + field(9, b"12345678"))), "4 bytes, and holds 8"),
    "data twice": (model(field(5, field(1, 1) + field(2, 1) + field(9, b"1234") + field(4, b"1234"))), "holds 4"),
    "negative": (model(field(5, field(1, (1 << 64) - 4) + field(2, 1))), "dimension of -4"),
    "rank": (model(field(5, field(1, 1) * 17 + field(2, 1))), "dimensions"),
    "packed rank": (model(field(5, field(1, b"\x01" * 10_000) + field(2, 1))), "dimensions"),
    "unknown type": (model(field(5, field(1, 1) + field(2, 99) + field(9, b"1"))), "type 99"),
    "input of everything": (model(field(11, declared("x", (1, 3, 1 << 20, 1 << 20)))), "elements"),
    "pads": (shaped("Conv", ("x",), attributes=numbers("pads", [0, 0, 1 << 30, 0])), "1073741824 in 'pads'"),
    "strides below": (shaped("Conv", ("x",), attributes=numbers("dilations", [-(1 << 40)])), "-1099511627776"),
    "constant": (shaped("ConstantOfShape", ("s",), ints("s", [1 << 33])), "ConstantOfShape.*8.59e"),
    "constant, unpacked": (
        shaped("ConstantOfShape", ("s",), field(1, 2) + field(2, 7) + field(8, "s") + field(7, 1 << 20) * 2),
        "ConstantOfShape",
    ),
    "constant, packed": (
        shaped("ConstantOfShape", ("s",), field(1, 1) + field(2, 7) + field(8, "s") + field(7, varint(1 << 33))),
        "ConstantOfShape",
    ),
    "constant of a node": (
        model(
            graph_of(
                node("ConstantOfShape", ("s",), ("y",)),
                node("Constant", (), ("s",), attribute_tensor("value", ints("", [1 << 33]))),
            )
        ),
        "ConstantOfShape",
    ),
    "constant of outside": (
        model(
            graph_of(node("If", ("c",), ("y",), subgraph("b", graph_of(node("ConstantOfShape", ("s",), ("y",))))))
            + field(5, ints("s", [1 << 33]))
        ),
        "ConstantOfShape",
    ),
    "expand": (shaped("Expand", ("x", "s"), ints("s", [1 << 20, 1 << 20])), "Expand"),
    "tile": (shaped("Tile", ("x", "s"), ints("s", [1 << 20, 1 << 20])), "Tile"),
    "resize by scales": (shaped("Resize", ("x", "", "s"), floats("s", [1, 1, 4e3, 4e3])), "Resize.*times"),
    "resize by infinity": (shaped("Resize", ("x", "", "s"), floats("s", [1, 1, float("inf"), 1])), "Resize"),
    "resize by nothing known": (shaped("Resize", ("x", "", "s"), floats("s", [1, 1, float("nan"), 1])), "Resize"),
    "resize to sizes": (shaped("Resize", ("x", "", "", "s"), ints("s", [1, 3, 1 << 20, 1 << 20])), "Resize"),
    "upsample": (shaped("Upsample", ("x", "s"), floats("s", [1, 1, 4e3, 4e3])), "Upsample"),
    "range": (shaped("Range", ("a", "b", "c"), ints("a", 0), ints("b", 1 << 60), ints("c", 1)), "Range"),
    "range of no step": (shaped("Range", ("a", "b", "c"), ints("a", 0), ints("b", 1), ints("c", 0)), "Range"),
    "pad": (shaped("Pad", ("x", "p"), ints("p", [0, 0, 1 << 20, 1 << 20] * 2)), "Pad"),
    "one hot": (shaped("OneHot", ("x", "d", "v"), ints("d", 1 << 40)), "OneHot"),
    "random": (shaped("RandomNormal", (), attributes=numbers("shape", [1 << 20, 1 << 20])), "RandomNormal"),
    "loop": (model(loop(1 << 62)), "Loop with 4.61e"),
    "loop without end": (model(loop(None)), "without a constant number"),
    "loop of what it is told": (model(graph_of(node("Loop", ("n", "c"), ("y",)))), "without a constant number"),
    "loops in loops": (model(loop(200, loop(200))), "Loop with 4e"),
    "loop by a hidden name": (
        model(loop(2, field(11, field(1, "n")) + graph_of(node("Loop", ("n", "c"), ("y",))))),
        "without a constant number",
    ),
}


def _detector(nodes: bytes, *initializers: bytes) -> bytes:
    """A model that looks like a detector of one class: `out` is [1, 5, 84]."""
    zeros = field(5, tensor("zeros", np.zeros((1, 5, 84), np.float32)))
    use = graph_of(node("ReduceMax", ("big",), ("top",), field(5, field(1, "keepdims") + field(3, 0) + field(20, 2))))
    out = graph_of(node("Add", ("zeros", "top"), ("out",)))
    return model(nodes + use + out + zeros + b"".join(field(5, i) for i in initializers) + PICTURE + OUTPUT)


def memory_bomb(factors: Sequence[int]) -> bytes:
    """Makes a tensor of the picture's shape times `factors`: known to nobody before it runs."""
    return _detector(
        graph_of(
            node("Shape", ("images",), ("seen",)),
            node("Mul", ("seen", "factors"), ("size",)),
            node("ConstantOfShape", ("size",), ("big",)),
        ),
        ints("factors", factors),
    )


def folded_bomb(side: int) -> bytes:
    """Its size is computed from constants, and it is made when the session is."""
    return _detector(
        graph_of(node("Mul", ("a", "b"), ("size",)), node("ConstantOfShape", ("size",), ("big",))),
        ints("a", [side, side]),
        ints("b", [2, 2]),
    )


def time_bomb(side: int = 2048, times: int = 1000) -> bytes:
    """Products of constants that are computed when the session is made: minutes of it."""
    made = node("ConstantOfShape", ("s",), ("m0",))
    products = [node("MatMul", (f"m{i}", f"m{i}"), (f"m{i + 1}",)) for i in range(times)]
    return _detector(graph_of(made, *products, node("Identity", (f"m{times}",), ("big",))), ints("s", [side, side]))


def slow_model(trips: int = 10_000, side: int = 512) -> bytes:
    """A loop that is short enough for the pre-scan, and whose body is long: minutes for one picture."""
    body = (
        graph_of(
            node("Identity", ("c",), ("co",)),
            node("MatMul", ("v", "v"), ("vo",)),
        )
        + field(2, "body")
        + field(11, declared("i", (), 7))
        + field(11, declared("c", (), 9))
        + field(11, declared("v", (side, side)))
        + field(12, declared("co", (), 9))
        + field(12, declared("vo", (side, side)))
    )
    begin = graph_of(
        node("ReduceMean", ("images",), ("mean",), field(5, field(1, "keepdims") + field(3, 0) + field(20, 2))),
        node("Expand", ("mean", "square"), ("start",)),
        node("Loop", ("n", "yes", "start"), ("big",), subgraph("body", body)),
    )
    yes = field(2, 9) + field(8, "yes") + field(9, b"\1")
    return _detector(begin, ints("square", [side, side]), ints("n", trips), yes)
