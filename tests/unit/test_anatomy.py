"""What an ONNX file is made of, told from its bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meshinfer.detect.anatomy import Port, anatomy
from meshinfer.errors import ModelError
from tests.vision.tiny_onnx import brightness_model, constant_model


def test_ports_operators_and_weights() -> None:
    told = anatomy(brightness_model())
    assert told.operators == {"ReduceMean": 1, "Mul": 1, "Add": 1}
    assert told.inputs == (Port("images", "float", (1, 3, 64, 64)),)
    assert told.outputs == (Port("out", "float", (1, 5, 84)),)
    assert (told.opset, told.domains, told.parameters) == (13, {}, 2 * 5 * 84)


def test_open_dimensions_have_their_names() -> None:
    model = constant_model(np.zeros((1, 6), np.float32), inputs=[("x", (1, 3, "height", "width"))])
    assert anatomy(model).inputs == (Port("x", "float", (1, 3, "height", "width")),)


def test_what_is_no_model_says_so() -> None:
    model = brightness_model()
    for cut in range(0, len(model), 97):
        with pytest.raises(ModelError):
            anatomy(model[:cut])


def test_a_real_one(assets: Path) -> None:
    told = anatomy((assets / "models" / "yolox_nano.onnx").read_bytes())
    assert told.inputs == (Port("images", "float", (1, 3, 416, 416)),)
    assert (told.operators["Conv"], told.opset, told.producer) == (113, 11, "pytorch 1.10")
    assert 0.85e6 < told.parameters < 0.95e6, "0.91 million, says its paper"
