"""What is refused before the runtime sees it, and that nothing but ModelError comes out, in bounded time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshinfer.detect import prescan as module
from meshinfer.detect.onnx import Session
from meshinfer.detect.prescan import prescan
from meshinfer.detect.shelf import EMBEDDED
from meshinfer.detect.sidecar import read_sidecar
from meshinfer.errors import ModelError
from tests.vision import hostile_onnx as hostile
from tests.vision.hostile_onnx import GOOD, REFUSED, field, floats, graph_of, ints, loop, nested, shaped
from tests.vision.tiny_onnx import constant_model, declared, model, node, varint


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_its_reason(name: str) -> None:
    data, says = REFUSED[name]
    with pytest.raises(ModelError, match=says) as refused:
        prescan(data)
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        constant_model(np.zeros((1, 5, 84), np.float32)),
        model(nested(module.MAX_DEPTH)),
        model(loop(100, loop(100))),
        shaped("Resize", ("x", "", "s"), floats("s", [1, 1, 8, 8])),
        shaped("Resize", ("x", "", "", "s"), ints("s", [1, 3, 640, 640])),
        shaped("Range", ("a", "b", "c"), ints("a", 0), ints("b", 8400), ints("c", 1)),
        shaped("Reshape", ("x", "s"), ints("s", [1, -1, 85])),
        shaped("Pad", ("x", "p"), ints("p", [0, 0, 3, 3, 0, 0, 3, 3])),
        model(field(5, field(1, 0) + field(2, 1) + field(8, "empty"))),
        model(field(5, field(1, 3) + field(2, 21) + field(8, "nibbles") + field(9, b"12"))),
        model(field(5, field(1, 2) + field(2, 8) + field(6, "a") + field(6, "b"))),
        model(graph_of(node("Identity", (), ())), {"names": "{0: 'café'}"}),
    ],
)
def test_what_real_models_hold_passes(data: bytes) -> None:
    prescan(data)


def test_real_models_pass(assets: Path) -> None:
    for file in (EMBEDDED, *(assets / "models").glob("*.onnx")):
        prescan(file.read_bytes())


def test_every_start_of_a_model_is_refused() -> None:
    for end in range(len(GOOD)):
        # All but the last entries of metadata are needed.
        if end < GOOD.index(b"\x72"):
            with pytest.raises(ModelError):
                prescan(GOOD[:end])
        else:
            with suppress(ModelError):
                prescan(GOOD[:end])


def test_a_file_too_large_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MODEL_BYTES", 100)
    with pytest.raises(ModelError, match="bytes"):
        prescan(GOOD)


def test_equal_parts_are_walked_once_and_counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    many = model(graph_of(*[node("Relu", (), (), hostile.numbers("axes", [1, 2, 3]))] * 100))
    prescan(many)
    monkeypatch.setattr(module, "MAX_FIELDS", 900)  # 100 nodes of 3 fields, and 5 in the attribute of each, and a few
    prescan(model(graph_of(*[node("Relu", (), (), hostile.numbers("axes", [1, 2, 3]))] * 99)))
    monkeypatch.setattr(module, "MAX_FIELDS", 700)
    with pytest.raises(ModelError, match="fields"):
        prescan(many)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(ModelError):
        prescan(data)


SEEDS = [
    GOOD,
    hostile.memory_bomb((1, 1, 2, 2)),
    hostile.slow_model(),
    model(nested(2)),
    *(d for d, _ in REFUSED.values()),
]
SMALL = [seed for seed in SEEDS if 0 < len(seed) < 5000]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A model or a hostile one, with some bytes changed, pieces of others put in, repeated, or taken out."""
    data = bytearray(draw(st.sampled_from(SMALL)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0 if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case 1:
                data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=12))
            case 2:
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case _:
                other = draw(st.sampled_from(SMALL))
                begin = draw(st.integers(0, len(other)))
                data[at:at] = other[begin : begin + 40]
    return bytes(data)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(damaged())
def test_no_damage_raises_anything_else(data: bytes) -> None:
    with suppress(ModelError):
        prescan(data)


def test_the_runtime_reads_odd_but_legal_bytes_as_the_scan_does() -> None:
    packed_dims = field(1, varint(4)) + field(2, 1) + field(8, "w") + field(4, np.ones(4, "<f4").tobytes())
    used = graph_of(node("Identity", ("w",), ("y",))) + field(12, declared("y", (4,)))
    graph = used + field(5, packed_dims) + hostile.PICTURE + field(2, "g")
    key_of_two_bytes = b"\xba\x00"
    data = field(1, 8) + key_of_two_bytes + varint(len(graph)) + graph + field(8, field(1, "") + field(2, 13))
    session = Session(data)
    assert (session.inputs[0].shape, session.outputs) == ((1, 3, 64, 64), ("y",))


SIDECAR = b'layout = "yolox"\ncolour = "rgb"\nscale = 0.5\nmean = [0.4, 0.4, 0.4]\nnames = ["a", "b"]\nlicence = "x"\n'


@settings(max_examples=150, derandomize=True, deadline=None)
@given(at=st.integers(0, len(SIDECAR)), cut=st.integers(0, 10), noise=st.binary(max_size=12) | st.text(max_size=6))
def test_no_sidecar_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, cut: int, noise: bytes | str
) -> None:
    model_file = tmp_path_factory.getbasetemp() / "fuzzed.onnx"
    put_in = noise.encode("utf-8", "surrogatepass") if isinstance(noise, str) else noise
    model_file.with_suffix(".toml").write_bytes(SIDECAR[:at] + put_in + SIDECAR[at + cut :])
    with suppress(ModelError):
        read_sidecar(model_file)
