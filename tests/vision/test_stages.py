"""Two models in one pass, box for box, with models that look: red cells are boxes, a classifier says a crop's colours.

1. The second model sees exactly the grown, clipped box of each of the first one's detections that it is asked about.
2. What a classifier says has the very box; what a detector says lies where it is in the frame, and once.
3. What a frame costs is bounded, and what was left out is counted.
4. Both ways of running it (in this process, in two of their own) see the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meshinfer.detect import stages as module
from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.isolated import Isolated
from meshinfer.detect.pool import Lease
from meshinfer.detect.preprocess import Image
from meshinfer.detect.stages import TwoStage, grown
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect, Limits, Then
from meshinfer.node.engine import Engine, WorkItem
from tests.unit.engines import Sink
from tests.unit.footage import write_image
from tests.vision.tiny_onnx import bright_cells_model, constant_model, means_model

COLOURS = (
    'colour = "rgb"\nscale = 0.00392157\nmean = [0, 0, 0]\nstd = [1, 1, 1]\nactivation = "none"\nfit = "stretch"\n'
)
LOUD = Detect(min_score=0.6)
RED = (0, 0, 255)


def load(folder: Path, name: str, data: bytes, sidecar: str = "") -> Path:
    path = folder / f"{name}.onnx"
    path.write_bytes(data)
    if sidecar:
        path.with_suffix(".toml").write_text(sidecar)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def boxes(folder: Path) -> Path:
    """Two boxes of any picture, in 64x64 pixels: `a` at 8..24, `b` at 40..60."""
    out = np.zeros((1, 6, 84), np.float32)
    out[0, :, 0] = (16, 16, 16, 16, 0.9, 0)
    out[0, :, 1] = (50, 50, 20, 20, 0, 0.8)
    return load(folder, "boxes", constant_model(out, (64, 64), {"names": "{0: 'a', 1: 'b'}"}))


@pytest.fixture(scope="module")
def colours(folder: Path) -> Path:
    """How red, green and blue a picture is."""
    return load(folder, "colours", means_model(), COLOURS + 'names = ["red", "green", "blue"]')


@pytest.fixture(scope="module")
def cells(folder: Path) -> Path:
    """A box at every corner of a red cell."""
    return load(
        folder, "cells", bright_cells_model({"names": "{0: 'cell'}"}), 'fit = "stretch"\nwidth = 64\nheight = 64'
    )


def picture() -> Image:
    """64x64: red where the first box is, blue where the second is, black around."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[8:24, 8:24] = RED
    image[40:60, 40:60] = (255, 0, 0)
    return image


def two(first: Path, second: Path, **then: object) -> TwoStage:
    said = Then("second", **{"margin": 0.0, "min_score": 0.5, **then})  # type: ignore[arg-type]  # as a job file has it
    return TwoStage(load_detector(first), load_detector(second), said)


def test_a_classifier_s_word_has_the_box_of_what_it_is_about(boxes: Path, colours: Path) -> None:
    seen = two(boxes, colours).worker(Detect())(picture())
    a, b = (8.0, 8.0, 24.0, 24.0), (40.0, 40.0, 60.0, 60.0)
    assert seen == (
        Detection("red", 1.0, a),
        Detection("blue", 1.0, b),
        Detection("a", 0.9, a),
        Detection("b", 0.8, b),
    )


def test_only_what_was_asked_for(boxes: Path, colours: Path) -> None:
    image = picture()

    def labels(detect: Detect | None = None, **then: object) -> list[str]:
        return [d.label for d in two(boxes, colours, **then).worker(detect or Detect())(image)]

    assert labels(of=("b",)) == ["blue", "a", "b"]
    assert labels(keep="second") == ["red", "blue"]
    assert labels(classes=("blue", "green")) == ["blue", "a", "b"]
    assert labels(Detect(classes=("a",))) == ["red", "a"]
    assert labels(Detect(min_score=0.85)) == ["red", "a"]
    assert labels(min_score=1.0, margin=1.0) == ["a", "b"]
    assert labels(of=("b",), keep="second", min_score=0.0) == ["blue", "red", "green"]


def test_a_margin_lets_the_second_see_more(boxes: Path, colours: Path) -> None:
    """Half of 16 pixels more on either side: a quarter of 32x32 is red."""
    (red,) = two(boxes, colours, of=("a",), keep="second", margin=0.5, min_score=0.1).worker(Detect())(picture())
    assert red.score == pytest.approx(0.25, abs=0.01)
    assert red.box == (8.0, 8.0, 24.0, 24.0)


@pytest.mark.parametrize(
    ("box", "margin", "crop"),
    [
        ((8, 8, 24, 24), 0.0, (8, 8, 24, 24)),
        ((8, 8, 24, 24), 0.25, (4, 4, 28, 28)),
        ((8.5, 8.2, 23.1, 23.9), 0.0, (8, 8, 24, 24)),
        ((0, 0, 10, 10), 0.5, (0, 0, 15, 15)),
        ((90, 40, 100, 50), 1.0, (80, 30, 100, 50)),
        ((99.99, 49.99, 100, 50), 0.0, (99, 49, 100, 50)),
        ((100, 50, 100, 50), 0.0, (99, 49, 100, 50)),
        ((0, 0, 0, 0), 0.0, (0, 0, 1, 1)),
    ],
)
def test_a_crop_is_in_the_frame_and_never_empty(
    box: tuple[float, float, float, float], margin: float, crop: tuple[int, int, int, int]
) -> None:
    assert grown(box, margin, 100, 50) == crop


def test_a_detector_s_boxes_lie_in_the_frame_and_an_object_in_two_crops_is_one(
    folder: Path, boxes: Path, cells: Path
) -> None:
    """The crop 8..24 is blown up to 64x64: four cells of 8 there are 4 pixels here."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[12:16, 16:20] = RED
    there = load_detector(cells).worker(LOUD)(np.ascontiguousarray(image[8:24, 8:24]))
    assert len(there) >= 2
    stages = two(boxes, cells, of=("a",), keep="second", min_score=LOUD.min_score)
    here = stages.worker(Detect())(image)
    assert [d.box for d in here] == [tuple(round(v + 8, 2) for v in d.box) for d in there]
    assert [(d.label, d.score) for d in here] == [(d.label, d.score) for d in there]
    out = np.zeros((1, 6, 84), np.float32)
    out[0, :, 0] = (16, 16, 16, 16, 0.9, 0)
    out[0, :, 1] = (16, 16, 16, 16, 0, 0.8)
    twice = load(folder, "twice", constant_model(out, (64, 64), {"names": "{0: 'a', 1: 'b'}"}))
    assert two(twice, cells, keep="second", min_score=LOUD.min_score).worker(Detect())(image) == here


def test_a_frame_is_bounded_and_what_is_left_out_is_counted_and_said(
    tmp_path: Path, boxes: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CROPS", 1)
    stages = two(boxes, colours)
    worker = stages.worker(Detect())
    assert [d.label for d in worker(picture())] == ["red", "a", "b"]
    assert worker.left_out == 1  # type: ignore[attr-defined]  # of two stages
    assert [d.label for d in stages.worker(Detect(), 2)(picture())] == ["red", "a"]
    sink = Sink()
    write_image(tmp_path / "i.png", 102)
    item = WorkItem(TaskId("a" * 32), ModelDigest("0" * 64), tmp_path / "i.png", "image", limits=Limits(detections=2))
    with Engine(lambda _: Lease(stages), sink, workers=2) as engine:
        engine.submit(item)
        sink.finish(item.task)
    (batch,) = [batch for batch in sink.batches if batch.finished]
    assert batch.notice.endswith("boxes of a frame: 1 in 1 frames were left out")


def test_in_processes_of_their_own_they_see_the_same(boxes: Path, colours: Path) -> None:
    then = Then("second", min_score=0.1)
    here = TwoStage(load_detector(boxes), load_detector(colours), then)
    first, second = Isolated(boxes), Isolated(colours)
    try:
        assert TwoStage(first, second, then).worker(Detect())(picture()) == here.worker(Detect())(picture())
    finally:
        first.close()
        second.close()


def test_what_the_models_do_not_know_is_named(boxes: Path, colours: Path) -> None:
    stages = two(boxes, colours)
    assert stages.unknown_classes(("a", "b")) == ""
    assert "no class 'c'" in stages.unknown_classes(("c",))
    assert "no class 'red'" in two(boxes, colours, of=("red",)).unknown_classes(())
    assert "no class 'rot'" in two(boxes, colours, classes=("rot",)).unknown_classes(())
    with pytest.raises(ModelError, match="no class 'rot'"):
        two(boxes, colours, classes=("rot",)).worker(Detect())


def test_series_are_no_stage(boxes: Path) -> None:
    first: Detector = load_detector(boxes)
    listening: Detector = load_detector(boxes)
    listening.series = object()  # type: ignore[assignment]  # stands in for one
    for pair in ((first, listening), (listening, first)):
        with pytest.raises(ModelError, match="both models of a job with `then` look at pictures"):
            TwoStage(*pair, Then("second"))


def test_equal_ones_share_their_buffers(boxes: Path, colours: Path) -> None:
    first, second = load_detector(boxes), load_detector(colours)
    one, same, other = (TwoStage(first, second, Then("second", min_score=s)) for s in (0.1, 0.1, 0.2))
    assert (one == same, hash(one) == hash(same), one == other) == (True, True, False)
