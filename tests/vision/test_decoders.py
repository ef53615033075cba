"""Outputs drawn at random: read as the plain loops read them, and never a crash, a NaN or a box out of the frame."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.layouts import LAYOUTS, Probe, choose
from meshinfer.detect.sidecar import Sidecar
from meshinfer.errors import ModelError
from meshinfer.model.job import Detect
from tests.vision.loops import LOOPS
from tests.vision.planted import CASES, NAMES, SIZE
from tests.vision.tiny_onnx import constant_model

FRAME = np.zeros((SIZE, SIZE, 3), np.uint8)
"""As large as the input: its pixels are the frame's."""
LEAST = 0.3


@functools.cache
def loaded(case: str) -> Detector:
    """A model of that layout. The planted outputs show which it is; the tests then put others in their place."""
    make, _, sidecar, _ = CASES[case]
    names = ("face",) if case == "yunet" else NAMES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(constant_model(make(), metadata={"names": repr(list(names))}))
        path.with_suffix(".toml").write_text(sidecar)
        return load_detector(path)


def planted(case: str) -> list[NDArray[np.float32]]:
    """In the order of the file."""
    outputs = CASES[case].make()
    return outputs if isinstance(outputs, list) else [outputs]


def run(case: str, outputs: list[NDArray[np.float32]], detect: Detect) -> list[tuple[str, float, list[float]]]:
    detector = loaded(case)
    # A sidecar may have them in another order.
    ordered = outputs[::-1] if "outputs" in CASES[case].sidecar else outputs
    model = detector.model
    model.run = lambda feeds: ordered  # type: ignore[method-assign]  # the model, for this one frame
    return [(d.label, d.score, list(d.box)) for d in detector.worker(detect)(FRAME)]


def alike(case: str, seed: int) -> list[NDArray[np.float32]]:
    """Outputs whose every column is drawn from its planted range: of the kind that the layout has."""
    random = np.random.default_rng(seed)
    drawn = []
    for output in planted(case):
        if output.size == 1:  # how many rows count
            drawn.append(output)
            continue
        shape = output.shape
        if output.ndim < 2 or shape[:-1] == (1,):
            columns = None
        else:
            columns = 1 if output.ndim == 4 else int(np.argmin(shape[1:])) + 1
        others = None if columns is None else tuple(axis for axis in range(output.ndim) if axis != columns)
        low, high = (f(output, axis=others, keepdims=True) for f in (np.min, np.max))
        drawn.append(random.uniform(low, high, shape).astype(output.dtype))
    return drawn


@pytest.mark.parametrize("case", CASES)
def test_they_are_read_as_the_plain_loops_read_them(case: str) -> None:
    names = loaded(case).card.classes
    compared = 0
    for seed in range(2 if planted(case)[0].size > 200 else 40):
        outputs = alike(case, seed)
        expected = []
        for label, score, box in LOOPS[case]([o.tolist() for o in outputs]):
            x0, y0, x1, y1 = (round(min(max(v, 0), SIZE), 2) for v in box)
            if score >= LEAST and 0 <= label < len(names) and x0 < x1 and y0 < y1:
                expected.append((names[label], min(score, 1), [x0, y0, x1, y1]))
        expected.sort(key=lambda row: -row[1])
        found = run(case, outputs, Detect(min_score=LEAST, iou=1))
        assert len(found) == min(len(expected), 300)
        for one, other in zip(found, expected, strict=False):
            assert one[1] == pytest.approx(other[1], abs=2e-4)
        if len(expected) <= 300:
            for row in found:  # of equal scores any may come first
                assert any(same(row, other) for other in expected), row
        compared += len(found)
    assert compared >= 4


def same(a: tuple[str, float, list[float]], b: tuple[str, float, list[float]]) -> bool:
    return a[0] == b[0] and abs(a[1] - b[1]) < 2e-4 and max(abs(x - y) for x, y in zip(a[2], b[2], strict=True)) < 0.03


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1, 100, 1e30]), least=st.sampled_from([0, 0.25, 1]))
def test_nothing_a_model_puts_out_gets_through(case: str, seed: int, scale: float, least: float) -> None:
    random = np.random.default_rng(seed)
    odd = np.array([np.nan, np.inf, -np.inf, 0, 1, -1, 3e38, 1e-40], np.float32)
    outputs = []
    for output in planted(case):
        if output.dtype.kind == "i":
            outputs.append(random.integers(-(2**31), 2**31 - 1, output.shape).astype(output.dtype))
        else:
            values = random.normal(0.5, 1, output.shape) * scale
            values = np.where(random.random(output.shape) < 0.2, random.choice(odd, output.shape), values)
            outputs.append(values.astype(output.dtype))
    for label, score, (x0, y0, x1, y1) in run(
        case, [np.asarray(o, planted(case)[i].dtype) for i, o in enumerate(outputs)], Detect(min_score=least)
    ):
        assert label in loaded(case).card.classes
        assert least <= score + 5e-5
        assert 0 <= score <= 1
        assert 0 <= x0 < x1 <= SIZE
        assert 0 <= y0 < y1 <= SIZE


@pytest.mark.parametrize("case", ["yolov8", "torchvision", "detr", "yolov7-end-to-end"])
def test_a_shape_that_changes_is_an_error(case: str) -> None:
    outputs = [np.zeros((*o.shape[:-1], o.shape[-1] + 1), o.dtype) for o in planted(case)]
    if case == "torchvision":
        outputs = [o[None] for o in planted(case)]
    with pytest.raises(ModelError, match="change their shape from frame to frame"):
        run(case, outputs, Detect())


@pytest.mark.parametrize("case", ["torchvision", "yolov7-end-to-end", "end-to-end"])
def test_any_number_of_rows(case: str) -> None:
    rows = planted(case)
    cut = [o[:, :0] if o.ndim == 3 else o[:0] for o in rows]
    assert run(case, cut, Detect()) == []
    twice = [np.concatenate((o, o), axis=1 if o.ndim == 3 else 0) for o in rows]
    assert len(run(case, twice, Detect())) == 4


SIDES = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32, 64, 84, 85, 252, 300, 1001])
SHAPE = st.lists(SIDES, min_size=0, max_size=4).filter(lambda shape: np.prod(shape) < 400_000)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    shapes=st.lists(SHAPE, min_size=1, max_size=4),
    whole=st.integers(0, 15),
    named=st.none() | st.sampled_from([layout.name for layout in LAYOUTS]),
    names=st.none() | st.integers(1, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_shapes_crash_the_choice(
    shapes: list[list[int]], whole: int, named: str | None, names: int | None, seed: int
) -> None:
    """Whatever a file puts out is a layout that can read it, or refused."""
    random = np.random.default_rng(seed)
    outputs = tuple(
        random.integers(0, 4, shape) if whole >> i & 1 else random.random(shape, np.float32) * random.choice([1, 1, 50])
        for i, shape in enumerate(shapes)
    )
    called = tuple(f"out{i}" for i in range(len(shapes)))
    probe = Probe(SIZE, SIZE, outputs, called, {}, names, said=Sidecar(layout=named))
    try:
        layout = choose(probe)
    except ModelError:
        return
    layout.check(outputs)
    found = layout.decode(outputs, 0.25)
    assert len(found.boxes) == len(found.scores) == len(found.labels)
    assert set(found.labels.tolist()) <= set(range(layout.classes))
