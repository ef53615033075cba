"""An engine with a real model on real files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.pool import Lease
from meshinfer.model.ids import TaskId
from meshinfer.node.engine import Engine, WorkItem
from tests.unit.engines import ALL, FRAMES, MODEL, Sink
from tests.unit.footage import write_image, write_video
from tests.vision.tiny_onnx import brightness_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    (folder / "model.onnx").write_bytes(brightness_model())
    write_video(folder / "v.avi", FRAMES)
    write_image(folder / "i.png", 102)
    (folder / "bad.mp4").write_text("no video\n" * 50)
    return folder


@pytest.fixture(scope="module")
def detector(folder: Path) -> Detector:
    return load_detector(folder / "model.onnx")


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def engine(detector: Detector, sink: Sink) -> Iterator[Engine]:
    with Engine(lambda _: Lease(detector), sink, workers=3) as engine:
        yield engine
    assert not [t for t in threading.enumerate() if t.name.startswith("engine")]


@pytest.fixture
def item(folder: Path) -> Callable[..., WorkItem]:
    def make(task: TaskId, name: str = "v.avi", **more: Any) -> WorkItem:
        kind = "image" if name.endswith(".png") else "video"
        return WorkItem(task, MODEL, folder / name, kind, **{"detect": ALL, **more})  # type: ignore[arg-type]  # a Kind

    return make
