"""The embedded detector keeps what it promises, on yards it has never seen, read back from video."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from meshinfer.demo import score

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The bench, whose decoding of the model is independent of meshinfer's own."""
    spec = importlib.util.spec_from_file_location("bench_demo_detector", ROOT / "scripts" / "bench_demo_detector.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_recall_and_precision_on_held_out_scenes(bench: ModuleType, tmp_path: Path) -> None:
    """The bench prints at least 0.95 and 0.90; a handful of clips may fall a little short of the mean."""
    detector = bench.YardDemo()
    found, truths = [], []
    for _, pairs in bench.held_out(tmp_path, scenes=6, seconds=2.5, step=6):
        found += [detector(frame) for frame, _ in pairs]
        truths += [truth for _, truth in pairs]
    result = score(found, truths)
    assert result.truths > 80
    assert result.recall >= 0.93, result
    assert result.precision >= 0.88, result
    for part in result.by_label.values():
        assert part.recall >= 0.90, result
        assert part.precision >= 0.85, result


def test_the_file_is_small_and_says_what_it_is(bench: ModuleType) -> None:
    assert bench.MODEL.stat().st_size < 1_300_000
    session = bench.YardDemo().session
    meta = session.get_modelmeta().custom_metadata_map
    assert ast.literal_eval(meta["names"]) == {0: "person", 1: "vehicle"}
    assert (meta["task"], meta["stride"], meta["license"]) == ("detect", "32", "Apache-2.0")
    assert ast.literal_eval(meta["imgsz"]) == [192, 320]
    for word in ("demo", "tests", "real", "yolox_nano", "fastestdet", "YOLO"):
        assert word in meta["description"]


def test_the_layout_is_yolov8s(bench: ModuleType) -> None:
    session = bench.YardDemo().session
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    cells = sum((192 // stride) * (320 // stride) for stride in (8, 16, 32))
    assert (given.name, given.shape) == ("images", [1, 3, 192, 320])
    assert (output.name, output.shape) == ("output0", [1, 6, cells])
    rows = session.run(None, {"images": np.full((1, 3, 192, 320), 114 / 255, np.float32)})[0]
    assert rows.shape == (1, 6, cells)
    assert np.all((rows[:, 4:] >= 0) & (rows[:, 4:] <= 1))
    assert np.all(rows[:, 2:4] >= 0)
    assert rows[:, 4:].max() < 0.4, "an empty picture must show nothing"
