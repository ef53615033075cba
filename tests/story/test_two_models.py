"""A second model looks at what the first one found: from the command line to the results, in a real process."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from tests.story.command import AT_ONCE, hosts
from tests.vision.tiny_onnx import constant_model, means_model

NAMES = (
    "scale = 0.00392157\nmean = [0, 0, 0]\nstd = [1, 1, 1]\nactivation = \"none\"\nnames = ['red', 'green', 'blue']\n"
)


def test_what_a_classifier_says_of_a_detector_s_boxes(tmp_path: Path) -> None:
    """A picture that is red where the detector sees something."""
    footage, boxes, colours = tmp_path / "footage", tmp_path / "boxes.onnx", tmp_path / "colours.onnx"
    footage.mkdir()
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:24, 8:24, 2] = 255
    cv2.imwrite(str(footage / "a.png"), pixels)
    out = np.zeros((1, 5, 84), np.float32)
    out[0, :, 0] = (16, 16, 16, 16, 0.9)
    boxes.write_bytes(constant_model(out, (64, 64), {"names": "{0: 'thing'}"}))
    colours.write_bytes(means_model())
    colours.with_suffix(".toml").write_text(NAMES)
    with hosts(tmp_path) as start:
        alice = start("alice", "--source", f"yard={footage}", before=AT_ONCE)
        alice.wait_entries(1)
        for file in (boxes, colours):
            alice.ask("model_add", file=str(file))
        wrong = alice.cli("run", "boxes", "--then", "colors", check=1).stderr
        assert "$.then.model: no model 'colors'" in " ".join(wrong.split())
        wrong = alice.cli("run", "boxes", "--then", "colours", "--then-classes", "rot", "--dry-run", check=2).stderr
        assert "$.then.classes: colours knows no class 'rot'" in " ".join(wrong.split())
        alice.cli("run", "boxes", "--name", "two", "--then", "colours", "--then-classes", "red,blue", "--follow")
        out_dir = tmp_path / "results"
        alice.cli("results", "two", "-d", str(out_dir))
        (line,) = (out_dir / "detections.jsonl").read_text().splitlines()
        seen = [(d["label"], d["score"], d["box"]) for d in json.loads(line)["detections"]]
        assert [label for label, _, _ in seen] == ["thing", "red"]
        assert seen[0][2] == seen[1][2] == [8.0, 8.0, 24.0, 24.0]
        status = alice.ask("status")
        assert {model["reference"] for model in status["models"]} == {"boxes", "colours"}
        assert 0 < status["model_memory"]["bytes"] < status["model_memory"]["budget"]
        assert "2 models loaded" in alice.cli("status").stdout
