"""Models that look at series: what they take and put out is told from their shapes and sidecars; scores are 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.errors import ModelError
from meshinfer.model.job import Detect
from meshinfer.model.series import SeriesInput
from tests.vision.tiny_onnx import attribute_tensor, constant_model, declared, field, model, node, tensor

WINDOW = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
ANY = Detect(min_score=0)


def graph(shape: Sequence[int | str], out: Sequence[int | str], *nodes: bytes) -> bytes:
    """A model of input `x` and output `y`."""
    parts = b"".join(field(1, n) for n in nodes) + field(2, "g")
    return model(parts + field(11, declared("x", shape)) + field(12, declared("y", out)))


def constant(name: str, value: Any) -> bytes:
    return node("Constant", (), (name,), attribute_tensor("value", tensor("", np.asarray(value, np.float32))))


def mean_of(shape: Sequence[int | str]) -> bytes:
    """Puts out the mean of what it sees: [1, 1, 1] or so."""
    return graph(shape, (1,) * len(shape), node("ReduceMean", ("x",), ("y",)))


def loaded(tmp_path: Path, data: bytes, sidecar: str = "") -> Detector:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    path.with_suffix(".toml").write_text(sidecar)
    return load_detector(path)


def found(detector: Detector, window: np.ndarray[Any, Any] = WINDOW, detect: Detect = ANY) -> list[tuple[str, float]]:
    return [(d.label, d.score) for d in detector.worker(detect)(window)]


def test_a_score_is_one_detection_of_the_whole_window(tmp_path: Path) -> None:
    text = "licence = 'CC0'\n[series]\nscale = 9\nlabel = 'hot'\nhop = 2\nrate = 50\nmean = [1, 5]\nstd = [1, 0.5]"
    detector = loaded(tmp_path, mean_of((1, 2, 4)), text)
    card = detector.card
    assert (card.layout, card.width, card.height, card.classes, card.licence) == ("series-score", 4, 2, ("hot",), "CC0")
    assert card.takes_series
    assert card.notices == ()
    assert detector.series == SeriesInput(4, 2, 2, (), 50.0)
    (hot,) = detector.worker(ANY)(WINDOW)
    assert (hot.label, hot.score, hot.box) == ("hot", 0.25, (0.0, 0.0, 4.0, 2.0))  # (1.5 + 3) / 2 / 9
    assert found(detector, detect=Detect(min_score=0.3)) == []
    assert found(detector, WINDOW * 100) == [("hot", 1.0)]
    assert found(detector, WINDOW * np.float32(np.nan)) == [("hot", 0.0)]
    with pytest.raises(ModelError, match="knows no class 'cold'"):
        detector.worker(Detect(classes=("cold",)))


def test_of_a_negative_scale_less_is_worse(tmp_path: Path) -> None:
    detector = loaded(tmp_path, mean_of((1, 2, 4)), "[series]\nscale = -9")
    assert found(detector, -WINDOW) == [("anomaly", 0.5)]
    assert found(detector) == [("anomaly", 0.0)]


@pytest.mark.parametrize(
    ("shape", "sidecar", "takes"),
    [
        ((1, 4), "", (1, 4)),
        ((1, "n"), "window = 4", (1, 4)),
        ((1, 2, 4), "", (2, 4)),
        ((1, 4, 2), "", (2, 4)),
        ((1, 4, 2), "channels = ['a', 'b', 'c', 'd']", (4, 2)),
        (("batch", 2, "n"), "window = 4", (2, 4)),
        ((1, "n", 2), "window = 4", (2, 4)),
        ((1, "c", "n"), "window = 4\nchannels = ['a', 'b']", (2, 4)),
        ((1, 1, "n"), "window = 16", (1, 16)),
    ],
)
def test_channels_and_samples_are_told_apart(
    tmp_path: Path, shape: tuple[int | str, ...], sidecar: str, takes: tuple[int, int]
) -> None:
    detector = loaded(tmp_path, mean_of(shape), f"[series]\nscale = 10\n{sidecar}")
    assert detector.series is not None
    assert (detector.series.channels, detector.series.window) == takes
    window = np.arange(takes[0] * takes[1], dtype=np.float32).reshape(takes)
    assert found(detector, window) == [("anomaly", min(1.0, float(window.mean()) / 10))]


@pytest.mark.parametrize("shape", [(1, 2, 4), (1, 4, 2)])
def test_of_a_reconstruction_the_error_is_the_score(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Channel by channel, whichever comes first: what it makes here lacks one of the second channel."""
    lacks = np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.float32)
    lacks = lacks if shape[1] == 2 else lacks.T
    data = graph(shape, shape, constant("c", lacks[None]), node("Sub", ("x", "c"), ("y",)))
    detector = loaded(tmp_path, data, "[series]\nscale = 2")
    assert detector.card.layout == "series-reconstruction"
    assert found(detector) == [("anomaly", 0.25)]


def test_of_a_forecast_what_follows_is_compared(tmp_path: Path) -> None:
    """The model sees two samples and says that two more like them follow: two each off, in both channels."""
    data = graph((1, 2, 2), (1, 2, 2), node("Identity", ("x",), ("y",)))
    detector = loaded(tmp_path, data, "[series]\noutput = 'forecast'\nscale = 16")
    assert (detector.card.layout, detector.series) == ("series-forecast", SeriesInput(4, 4, 2))
    assert found(detector) == [("anomaly", 0.25)]


def test_classes(tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.7, 0.2]], np.float32)
    plain = loaded(tmp_path, constant_model(scores, inputs=[("x", (1, 2, 4))]), "names = ['ok', 'gear', 'bearing']")
    assert plain.card.layout == "series-classes"
    assert found(plain) == [("gear", 0.7), ("bearing", 0.2), ("ok", 0.1)]
    assert found(plain, detect=Detect(classes=("bearing", "ok"), min_score=0.15)) == [("bearing", 0.2)]
    assert [d.label for d in plain.worker(ANY, 2)(WINDOW)] == ["gear", "bearing"]
    unnamed = loaded(tmp_path, constant_model(scores, inputs=[("x", (1, 4))]))
    assert unnamed.card.classes == ("class0", "class1", "class2")
    logits = constant_model(np.log(scores) + 3, inputs=[("x", (1, 4))])
    soft = loaded(tmp_path, logits, "[series]\nactivation = 'softmax'")
    assert found(soft, WINDOW[:1]) == [("class1", 0.7), ("class2", 0.2), ("class0", 0.1)]
    with pytest.raises(ModelError, match=r'write activation = "softmax"'):
        found(loaded(tmp_path, logits), WINDOW[:1])


def test_a_model_that_puts_out_something_else_every_time_is_stopped(tmp_path: Path) -> None:
    """The size of what it puts out depends on what it sees: one value of silence, none of anything else."""
    zero = constant("zero", [0.0])
    data = graph(
        (1, 4),
        ("n",),
        zero,
        node("ReduceMean", ("x",), ("m",), field(5, field(1, "keepdims") + field(3, 0) + field(20, 2))),
        node("Equal", ("m", "zero"), ("still",)),
        node("Compress", ("zero", "still"), ("y",)),
    )
    detector = loaded(tmp_path, data)
    assert found(detector, np.zeros((1, 4), np.float32)) == [("anomaly", 0.0)]
    with pytest.raises(ModelError, match="puts out 0 values, and put out 1 when it was loaded"):
        found(detector, WINDOW[:1])


def test_numbers_beyond_bounds_are_no_trouble(tmp_path: Path) -> None:
    shape = (1, 2, 4)
    data = graph(shape, shape, node("Neg", ("x",), ("y",)))
    detector = loaded(tmp_path, data, "[series]\nstd = [1e-300, 1]")
    assert found(detector, WINDOW * np.float32(1e37)) == [("anomaly", 1.0)]


@pytest.mark.parametrize(
    ("data", "sidecar", "says"),
    [
        (mean_of((1, 2, "n")), "", "say how long its windows are, e.g. window = 1024"),
        (mean_of((1, "c", "n")), "window = 4", "leaves open how many channels it takes"),
        (mean_of((1, 2, 4)), "window = 5", "its sidecar says window = 5"),
        (mean_of((1, 2, 4)), "channels = ['a', 'b', 'c']", "its sidecar names 3 channels"),
        (mean_of((1, 2, 4)), "mean = [1.0]", "gives 1 values of `mean` for 2 channels"),
        (mean_of((1, 2, 4)), "output = 'reconstruction'", r"its sidecar says output = 'reconstruction', but its input"),
        (mean_of((1, 2, 4)), "scale = 0", "scale must not be 0"),
        (mean_of((1, 2, 4)), "scales = 1", r"m.toml: .*`scales`"),
        (mean_of((1, 1, 100_000)), "", "windows of 100000 samples; 2 to 65536 can be run"),
        (mean_of((1, 256, 65_536)), "", "more than are given to a model"),
        (mean_of((1, 3, 8, 8)), "", r"\[1, 3, 8, 8\]; what looks at series takes one float"),
        (constant_model(np.zeros((1, 3, 5), np.float32), inputs=[("x", (1, 8))]), "", r"it makes \[1, 3, 5\]\. What"),
    ],
)
def test_what_cannot_run_says_what_would_settle_it(tmp_path: Path, data: bytes, sidecar: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        loaded(tmp_path, data, f"[series]\n{sidecar}\n")


def test_what_was_assumed_is_said(tmp_path: Path) -> None:
    notices = loaded(tmp_path, mean_of((1, 8))).card.notices
    assert ["`rate`" in n or "`scale`" in n for n in notices] == [True, True]
