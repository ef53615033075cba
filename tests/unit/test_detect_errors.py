"""What a user reads when a model does not fit: what was seen, and what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from meshinfer.detect.detector import load_detector
from meshinfer.detect.onnx import providers
from meshinfer.errors import ModelError
from meshinfer.model.job import Detect
from tests.vision.tiny_onnx import brightness_model, constant_model, field, model, node

UNKNOWN = np.zeros((1, 7, 9), np.float32)


def load(tmp_path: Path, data: bytes, sidecar: str = "") -> str:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    if sidecar:
        path.with_suffix(".toml").write_text(sidecar)
    with pytest.raises(ModelError) as caught:
        load_detector(path)
    return str(caught.value)


def test_an_unknown_layout_prints_what_was_seen_and_how_to_name_it(tmp_path: Path) -> None:
    text = load(tmp_path, constant_model([UNKNOWN, UNKNOWN]))
    assert text.startswith("m.onnx: unknown layout: from 64x64 pixels it makes out0 [1, 7, 9], out1 [1, 7, 9].")
    assert '.toml, e.g. layout = "yolov8"' in text
    assert "fastestdet         [1, 5+classes, height/16, width/16]" in text


@pytest.mark.parametrize(
    ("data", "sidecar", "says"),
    [
        (
            constant_model(UNKNOWN),
            'layout = "yolov9"',
            "unknown layout 'yolov9' in its sidecar; known: end-to-end, yolov7",
        ),
        (constant_model(UNKNOWN), 'layout = "yolox"', r"layout yolox, which is \[1, cells, .*it puts out \[1, 7, 9\]"),
        (constant_model(UNKNOWN, metadata={"task": "segment"}), "", "for the task 'segment'; meshinfer runs detectors"),
        (constant_model(UNKNOWN, inputs=[("x", (1, 10))]), "", r"its input is x tensor\(float\) \[1, 10\]"),
        (
            constant_model(UNKNOWN, inputs=[("x", (2, 3, 64, 64))]),
            "",
            r"\[2, 3, 64, 64\]; the layouts that run take one",
        ),
        (constant_model(UNKNOWN, inputs=[("x", (1, 3, 64, 64)), ("y", (1, 2))]), "", "wants 2 inputs"),
        (constant_model(UNKNOWN, size=(9000, 9000)), "", "wants pictures of 9000x9000; 16 to 4096 pixels"),
        (model(field(1, node("Nonsense", (), ("a",)))), "", "the runtime refuses it: "),
        (b"%PDF-1.4", "", "no ONNX file: its bytes are not those of a model"),
        (b"", "", "no ONNX file"),
        (brightness_model(), 'colour = "red"', "m.toml: .*colour"),
    ],
)
def test_one_clear_line(tmp_path: Path, data: bytes, sidecar: str, says: str) -> None:
    text = load(tmp_path, data, sidecar)
    assert text.startswith("m.onnx: ")
    with pytest.raises(ModelError, match=says):
        raise ModelError(text)
    assert "\n" not in text


def test_a_wrong_class_name_lists_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    names: Sequence[str] = ("person", "car")
    path.write_bytes(constant_model(np.zeros((1, 6, 84), np.float32), metadata={"names": repr(list(names))}))
    detector = load_detector(path)
    text = "m knows no class 'persn' (did you mean 'person'?); it knows: person, car"
    assert detector.unknown_classes(["car", "persn"]) == text
    assert detector.unknown_classes(["car", "person"]) == ""
    with pytest.raises(ModelError, match="no class 'persn'"):
        detector.worker(Detect(classes=("persn",)))


def test_a_model_of_any_size_is_run_at_one(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(constant_model(np.zeros((1, 6, 8400), np.float32), size=("w", "h")))
    card = load_detector(path).card
    assert (card.width, card.height) == (640, 640)
    assert card.notices[0].startswith("takes pictures of any size: run at 640x640; say `width` and `height`")
    path.write_bytes(constant_model(np.zeros((1, 6, 84), np.float32), size=("w", "h"), metadata={"imgsz": "[64, 64]"}))
    assert (load_detector(path).card.width, load_detector(path).card.height) == (64, 64)


def test_what_is_no_number_is_no_detection(tmp_path: Path) -> None:
    output = np.zeros((1, 5, 84), np.float32)
    output[0, :, :5] = np.array(
        [
            [32, 32, 16, 16, np.nan],
            [np.nan, 32, 16, 16, 0.9],
            [32, 32, np.inf, 16, 0.9],
            [-900, 32, 16, 16, 0.9],  # outside of the picture
            [20, 20, 8, 8, 7.0],  # a score beyond 1
        ]
    ).T
    path = tmp_path / "m.onnx"
    path.write_bytes(constant_model(output))
    (found,) = load_detector(path).worker(Detect())(np.zeros((64, 64, 3), np.uint8))
    assert (found.score, found.box) == (1.0, (16.0, 16.0, 24.0, 24.0))


def test_nothing_loads_the_runtime_before_it_is_needed() -> None:
    code = "import sys, meshinfer.detect.shelf, meshinfer.node.engine; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_runtime_says_what_it_offers() -> None:
    assert "CPUExecutionProvider" in providers()
