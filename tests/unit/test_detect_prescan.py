"""What is refused before the runtime sees it, and that nothing but ModelError comes out."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.detect import prescan as module
from meshinfer.detect.prescan import prescan
from meshinfer.errors import ModelError
from tests.vision.tiny_onnx import attribute_tensor, brightness_model, constant_model, field, model, node, tensor

GOOD = brightness_model()
WEIGHT = tensor("w", np.ones(4, np.float32))


def graph_of(*nodes: bytes) -> bytes:
    return b"".join(field(1, n) for n in nodes)


def nested(depth: int) -> bytes:
    graph = graph_of(node("Identity", ("a",), ("b",)))
    for _ in range(depth):
        graph = graph_of(node("If", ("a",), ("b",), field(5, field(1, "then_branch") + field(6, graph) + field(20, 5))))
    return graph


def test_a_plain_model_passes() -> None:
    prescan(GOOD)
    prescan(constant_model(np.zeros((1, 5, 84), np.float32)))
    prescan(model(nested(module.MAX_DEPTH)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no ONNX file"),
        (b"PK\x03\x04 a zip file, not a model", "no ONNX file"),
        (b"\xff" * 1000, "no ONNX file"),
        (GOOD[: len(GOOD) // 2], "no ONNX file"),
        (field(1, 8), "no ONNX file"),
        (model(graph_of(), extra=field(25, b"")), "local functions"),
        (model(graph_of(), extra=field(20, b"")), "training_info"),
        (model(field(5, WEIGHT + field(13, field(1, "location") + field(2, "../x")))), "external data"),
        (model(field(5, WEIGHT + field(14, 1))), "external data"),
        (
            model(graph_of(node("Constant", (), ("c",), attribute_tensor("value", WEIGHT + field(14, 1))))),
            "external data",
        ),
        (model(field(15, b"")), "sparse"),
        (model(graph_of(node("Loop", ("a",), ("b",)))), "operator Loop"),
        (model(graph_of(node("EPContext", ("a",), ("b",), domain="com.microsoft"))), "operator EPContext"),
        (model(graph_of(node("Evil", ("a",), ("b",), domain="com.evil"))), "'com.evil'"),
        (model(nested(module.MAX_DEPTH + 1)), "nested deeper"),
        (model(graph_of(*[node("Identity", (), ())] * (module.MAX_NODES + 1))), "nodes"),
    ],
)
def test_refused_with_its_reason(data: bytes, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        prescan(data)


def test_the_walk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FIELDS", 10_000)
    with pytest.raises(ModelError, match="fields"):
        prescan(field(2, "") * 10_001)


def test_a_file_too_large_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MODEL_BYTES", 100)
    with pytest.raises(ModelError, match="bytes"):
        prescan(GOOD)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(ModelError):
        prescan(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_damaged_byte_raises_anything_else(at: int, value: int) -> None:
    damaged = bytearray(GOOD)
    damaged[at] = value
    with suppress(ModelError):
        prescan(bytes(damaged))
