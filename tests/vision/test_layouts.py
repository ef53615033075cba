"""Every layout is told from the file alone and decoded: small hand-written models put out planted boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect
from tests.vision.planted import CASES, CELLS, NAMES, PLANTS, Output, yolov8, yolov8_transposed
from tests.vision.tiny_onnx import constant_model

TALL = np.zeros((128, 64, 3), np.uint8)
"""A frame that is scaled by 1/2: letterbox pads 16 pixels left and right, top-left 32 on the right."""


def load(
    folder: Path, output: Output | list[Output], sidecar: str = "", names: tuple[str, ...] | None = NAMES
) -> Detector:
    path = folder / "m.onnx"
    path.write_bytes(constant_model(output, metadata={"names": repr(dict(enumerate(names)))} if names else None))
    if sidecar:
        path.with_suffix(".toml").write_text(sidecar)
    return load_detector(path)


def names_of(layout: str, names: tuple[str, ...] = NAMES) -> tuple[str, ...]:
    return ("face",) if layout == "yunet" else names


def expected(fit: str, names: tuple[str, ...]) -> tuple[Detection, ...]:
    """The first two plants in pixels of TALL."""
    found = []
    for p in PLANTS[:2]:
        left, across = {"letterbox": (16, 2.0), "top-left": (0, 2.0), "stretch": (0, 1.0)}[fit]
        x0, y0, x1, y1 = p.xyxy
        box = ((x0 - left) * across, y0 * 2, (x1 - left) * across, y1 * 2)
        label = names[p.label] if len(names) > 1 else names[0]
        found.append(Detection(label, p.score, (max(0, box[0]), box[1], min(64, box[2]), box[3])))
    return tuple(found)


def check(found: tuple[Detection, ...], wanted: tuple[Detection, ...]) -> None:
    assert [d.label for d in found] == [d.label for d in wanted]
    assert [d.score for d in found] == pytest.approx([d.score for d in wanted], abs=2e-4)
    assert [d.box for d in found] == [pytest.approx(d.box, abs=0.02) for d in wanted]


@pytest.mark.parametrize("case", CASES)
def test_told_and_decoded(tmp_path: Path, case: str) -> None:
    make, fit, sidecar, notice = CASES[case]
    layout = case.split()[0]
    names = names_of(layout)
    detector = load(tmp_path, make(), sidecar, names)
    assert (detector.card.layout, detector.card.classes) == (layout, names)
    assert len(detector.card.notices) == bool(notice)
    assert notice in "".join(detector.card.notices)
    wanted = expected(fit, names)
    run = detector.worker(Detect())
    check(run(TALL), wanted)
    assert run(TALL) == run(TALL)
    check(detector.worker(Detect(classes=(names[0],)))(TALL), tuple(d for d in wanted if d.label == names[0]))
    check(detector.worker(Detect(min_score=0.7))(TALL), wanted[:1])
    check(detector.worker(Detect(), max_detections=1)(TALL), wanted[:1])
    assert detector.worker(Detect(min_score=0.95))(TALL) == ()


@pytest.mark.parametrize("case", CASES)
def test_the_sidecar_names_it_too(tmp_path: Path, case: str) -> None:
    layout = case.split()[0]
    names = names_of(layout, ("a", "b", "c"))
    sidecar = f'{CASES[case].sidecar}layout = "{layout}"\nfit = "top-left"\nnames = {list(names)}'
    detector = load(tmp_path, CASES[case].make(), sidecar, names=None)
    assert (detector.card.layout, detector.card.classes) == (layout, names)
    check(detector.worker(Detect())(TALL), expected("top-left", names))


def test_suppression_can_be_loosened(tmp_path: Path) -> None:
    run = load(tmp_path, yolov8()).worker(Detect(iou=0.99))
    assert [d.score for d in run(TALL)] == pytest.approx([0.9, 0.6, 0.5])


def test_one_shape_two_layouts(tmp_path: Path) -> None:
    """[1, cells, 7] is YOLOX with two classes, unless three classes are named: then YOLOv8 lying on its side."""
    rows = yolov8_transposed()
    assert load(tmp_path, rows).card.layout == "yolov8-transposed"
    unnamed = load(tmp_path, rows, names=None)
    assert unnamed.card.layout == "yolox-decoded"
    assert 'say layout = "yolov8-transposed"' in unnamed.card.notices[0]
    (tmp_path / "m.onnx").write_bytes(constant_model(np.zeros((1, 4 * CELLS, 84), np.float32), size=(128, 128)))
    assert load_detector(tmp_path / "m.onnx").card.layout == "yolov8-transposed"  # 80 classes
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
