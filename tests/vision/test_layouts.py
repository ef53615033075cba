"""Every layout is told from the file alone and decoded: small hand-written models put out planted boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect
from tests.vision.tiny_onnx import constant_model

SIZE = 64
CELLS = 64 + 16 + 4
"""Of 64x64 pixels with strides 8, 16 and 32."""
NAMES = ("person", "car", "dog")
TALL = np.zeros((128, 64, 3), np.uint8)
"""A frame that is scaled by 1/2: letterbox pads 16 pixels left and right, top-left 32 on the right."""

Output = NDArray[np.float32]


class Plant:
    """What a model says it sees, in pixels of its input: centre, size, class, score."""

    def __init__(self, x: float, y: float, w: float, h: float, label: int, score: float) -> None:
        self.cxcywh = (x, y, w, h)
        self.xyxy = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        self.label, self.score = label, score


PLANTS = (Plant(36, 20, 12, 16, 1, 0.9), Plant(30, 44, 8, 8, 0, 0.6), Plant(36, 20.5, 12, 16, 1, 0.5))
"""The third is the first again: suppression takes it, but for a layout that has none."""


def yolov8() -> Output:
    out = np.zeros((1, 4 + 3, CELLS), np.float32)
    for column, p in zip((3, 40, 70), PLANTS, strict=True):
        out[0, :4, column] = p.cxcywh
        out[0, 4 + p.label, column] = p.score
    return out


def yolov8_transposed() -> Output:
    return np.ascontiguousarray(yolov8().transpose(0, 2, 1))


def objectness_rows(count: int) -> Output:
    """A background as detectors write it: boxes across the picture, low objectness."""
    out = np.zeros((1, count, 5 + 3), np.float32)
    out[0, :, 0] = np.linspace(4, 60, count)
    out[0, :, 1:4] = 10
    out[0, :, 4] = 0.01
    out[0, :, 5:] = 0.3
    return out


def decoded(count: int) -> Output:
    out = objectness_rows(count)
    for row, p in zip((3, 70, 80), PLANTS, strict=True):
        out[0, row] = (*p.cxcywh, p.score / 0.95, 0, 0, 0)
        out[0, row, 5 + p.label] = 0.95
    return out


def yolov5_undecoded() -> Output:
    """x = (2v - 0.5 + cell) * stride, w = (2v)^2 * anchor, three anchors per cell, one after the other."""
    out = np.full((1, 3 * CELLS, 5 + 3), 0.5, np.float32)
    out[0, :, 4] = 0.01
    anchors = {8: ((10, 13), (16, 30), (33, 23)), 16: ((30, 61), (62, 45), (59, 119))}
    for stride, anchor, p in zip((8, 8, 16), (0, 2, 0), PLANTS, strict=True):
        x, y, w, h = p.cxcywh
        side = SIZE // stride
        column, row = int(x // stride), int(y // stride)
        first = {8: 0, 16: 3 * 64}[stride]
        aw, ah = anchors[stride][anchor]
        out[0, first + anchor * side * side + row * side + column] = (
            (x / stride - column + 0.5) / 2,
            (y / stride - row + 0.5) / 2,
            (w / aw) ** 0.5 / 2,
            (h / ah) ** 0.5 / 2,
            p.score / 0.95,
            *(0.95 if p.label == c else 0 for c in range(3)),
        )
    return out


def yolox() -> Output:
    """x = (v + cell) * stride, w = e^v * stride."""
    out = objectness_rows(CELLS)
    out[0, :, :4] = 0.1
    for stride, p in zip((8, 16, 16), PLANTS, strict=True):
        x, y, w, h = p.cxcywh
        column, row = int(x // stride), int(y // stride) + (p is PLANTS[2])  # its own cell
        index = {8: 0, 16: 64}[stride] + row * (SIZE // stride) + column
        out[0, index, :4] = (x / stride - column, y / stride - row, np.log(w / stride), np.log(h / stride))
        out[0, index, 4:] = (p.score / 0.95, 0, 0, 0)
        out[0, index, 5 + p.label] = 0.95
    return out


def end_to_end() -> Output:
    out = np.zeros((1, 20, 6), np.float32)
    for row, p in enumerate(PLANTS[:2]):
        out[0, row] = (*p.xyxy, p.score, p.label)
    out[0, 5] = (1, 1, 9, 9, 0.8, 77)  # a class that the model does not have
    return out


def fastestdet() -> Output:
    """x = tanh(v) + cell in cells of 16, w = sigmoid(v) of the picture, score = objectness^0.6 class^0.4."""
    out = np.full((1, 5 + 3, 4, 4), 0.01, np.float32)
    for (row, column), p in zip(((1, 2), (2, 1), (2, 2)), PLANTS, strict=True):
        x, y, w, h = p.cxcywh
        out[0, 0, row, column] = p.score
        out[0, 1:3, row, column] = np.arctanh((x / 16 - column, y / 16 - row))
        out[0, 3:5, row, column] = (-np.log(SIZE / w - 1), -np.log(SIZE / h - 1))
        out[0, 5:, row, column] = 0.001
        out[0, 5 + p.label, row, column] = p.score
    return out


CASES: dict[str, tuple[Callable[[], Output], str]] = {
    "yolov8": (yolov8, "letterbox"),
    "yolov8-transposed": (yolov8_transposed, "letterbox"),
    "yolov5": (lambda: decoded(3 * CELLS), "letterbox"),
    "yolov5-undecoded": (yolov5_undecoded, "letterbox"),
    "yolox": (yolox, "top-left"),
    "yolox-decoded": (lambda: decoded(CELLS), "top-left"),
    "end-to-end": (end_to_end, "letterbox"),
    "fastestdet": (fastestdet, "stretch"),
}


def load(folder: Path, output: Output, sidecar: str = "", names: tuple[str, ...] | None = NAMES) -> Detector:
    path = folder / "m.onnx"
    path.write_bytes(constant_model(output, metadata={"names": repr(dict(enumerate(names)))} if names else None))
    if sidecar:
        path.with_suffix(".toml").write_text(sidecar)
    return load_detector(path)


def expected(fit: str) -> tuple[Detection, ...]:
    """The first two plants in pixels of TALL."""
    found = []
    for p in PLANTS[:2]:
        left, across = {"letterbox": (16, 2.0), "top-left": (0, 2.0), "stretch": (0, 1.0)}[fit]
        x0, y0, x1, y1 = p.xyxy
        box = ((x0 - left) * across, y0 * 2, (x1 - left) * across, y1 * 2)
        found.append(Detection(NAMES[p.label], p.score, (max(0, box[0]), box[1], min(64, box[2]), box[3])))
    return tuple(found)


def check(found: tuple[Detection, ...], wanted: tuple[Detection, ...]) -> None:
    assert [d.label for d in found] == [d.label for d in wanted]
    assert [d.score for d in found] == pytest.approx([d.score for d in wanted], abs=2e-4)
    assert [d.box for d in found] == [pytest.approx(d.box, abs=0.02) for d in wanted]


@pytest.mark.parametrize("layout", CASES)
def test_told_and_decoded(tmp_path: Path, layout: str) -> None:
    make, fit = CASES[layout]
    detector = load(tmp_path, make())
    assert (detector.card.layout, detector.card.classes, detector.card.notices) == (layout, NAMES, ())
    run = detector.worker(Detect())
    check(run(TALL), expected(fit))
    assert run(TALL) == run(TALL)
    check(detector.worker(Detect(classes=("person",)))(TALL), expected(fit)[1:])
    check(detector.worker(Detect(min_score=0.7))(TALL), expected(fit)[:1])
    check(detector.worker(Detect(), max_detections=1)(TALL), expected(fit)[:1])
    assert detector.worker(Detect(min_score=0.95))(TALL) == ()


@pytest.mark.parametrize("layout", CASES)
def test_the_sidecar_names_it_too(tmp_path: Path, layout: str) -> None:
    make, _ = CASES[layout]
    detector = load(tmp_path, make(), f'layout = "{layout}"\nfit = "top-left"\nnames = ["a", "b", "c"]', names=None)
    assert (detector.card.layout, detector.card.classes) == (layout, ("a", "b", "c"))
    found = detector.worker(Detect())(TALL)
    check(found, tuple(Detection("abc"[NAMES.index(d.label)], d.score, d.box) for d in expected("top-left")))


def test_suppression_can_be_loosened(tmp_path: Path) -> None:
    run = load(tmp_path, yolov8()).worker(Detect(iou=0.99))
    assert [d.score for d in run(TALL)] == pytest.approx([0.9, 0.6, 0.5])


def test_one_shape_two_layouts(tmp_path: Path) -> None:
    """[1, cells, 7] is YOLOX with two classes, unless three classes are named: then YOLOv8 lying on its side."""
    rows = yolov8_transposed()
    assert load(tmp_path, rows).card.layout == "yolov8-transposed"
    assert load(tmp_path, rows, names=None).card.layout == "yolox-decoded"
    assert load(tmp_path, rows, names=("a", "b")).card.layout == "yolox-decoded"


def test_no_boxes_may_be_taken_for_another_layout(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown layout"):
        load(tmp_path, np.full((1, 3 * CELLS, 8), -1.0, np.float32))  # neither pixels nor out of a sigmoid


def test_eighty_unnamed_classes_are_coco(tmp_path: Path) -> None:
    out = np.zeros((1, 84, CELLS * 4), np.float32)  # 128x128
    out[0, :4, 5], out[0, 4 + 16, 5] = (64, 64, 20, 20), 0.8
    path = tmp_path / "m.onnx"
    path.write_bytes(constant_model(out, size=(128, 128)))
    detector = load_detector(path)
    assert "COCO" in detector.card.notices[0]
    assert detector.worker(Detect())(np.zeros((128, 128, 3), np.uint8))[0].label == "dog"
