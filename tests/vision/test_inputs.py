"""What goes into a model: channels, types and sizes, seen by models that say what they were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.preprocess import snug
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect
from tests.vision.planted import PLANTS, SIZE
from tests.vision.tiny_onnx import bright_cells_model, constant_model, means_model, sized_model

BLUE, GREEN, RED = 51, 102, 204
FRAME = np.full((48, 64, 3), (BLUE, GREEN, RED), np.uint8)


def load(folder: Path, data: bytes, sidecar: str = "") -> Detector:
    path = folder / "m.onnx"
    path.write_bytes(data)
    path.with_suffix(".toml").write_text(sidecar)
    return load_detector(path)


def scores(detector: Detector) -> dict[str, float]:
    found = detector.worker(Detect(min_score=0))(FRAME)
    assert {d.box for d in found} == {(0.0, 0.0, 64.0, 48.0)}, "the whole frame"
    return {d.label: d.score for d in found}


PLAIN = 'activation = "none"\nscale = 0.00392157\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n'


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("fit", ["stretch", "top-left"])
def test_channels_in_their_order(tmp_path: Path, kind: str, channels_last: bool, fit: str) -> None:
    data = means_model(kind, channels_last)
    rgb = scores(load(tmp_path, data, f'{PLAIN}fit = "{fit}"'))
    assert rgb == pytest.approx({"a": 0.8, "b": 0.4, "c": 0.2}, abs=2e-3)
    bgr = scores(load(tmp_path, data, f'{PLAIN}fit = "{fit}"\ncolour = "bgr"'))
    assert bgr == pytest.approx({"a": 0.2, "b": 0.4, "c": 0.8}, abs=2e-3)


def test_scaled_as_the_sidecar_says(tmp_path: Path) -> None:
    sidecar = 'activation = "none"\nscale = 0.00392157\nmean = [0.5, 0.25, 0.0]\nstd = [0.5, 0.5, 0.25]'
    found = scores(load(tmp_path, means_model(), sidecar))
    assert found == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.8}, abs=1e-3)


@pytest.mark.parametrize("channels_last", [False, True])
def test_bytes_go_in_as_they_are(tmp_path: Path, channels_last: bool) -> None:
    data = means_model("uint8", channels_last)
    detector = load(tmp_path, data, 'activation = "softmax"\ncolour = "bgr"')
    assert scores(detector)["c"] == 1.0  # e^204 beside e^102 and e^51
    with pytest.raises(ModelError, match=r"its input is uint8.*take `scale`, `mean` and `std` out"):
        load(tmp_path, data, "scale = 0.5")


def test_one_picture_alone(tmp_path: Path) -> None:
    """[3, height, width], as torchvision exports it: no window of a series."""
    where = [np.array([(8, 4, 32, 40)], np.float32), np.array([1], np.int64), np.array([0.9], np.float32)]
    detector = load(tmp_path, constant_model(where, inputs=[("image", (3, "h", "w"))]), "width = 96\nheight = 96")
    assert (detector.card.layout, detector.card.rectangular) == ("torchvision", True)
    (found,) = detector.worker(Detect())(FRAME)
    assert found.box == pytest.approx((8 / 1.5, 0, 32 / 1.5, (40 - 12) / 1.5), abs=0.01)  # 12 of padding above


def test_letterboxed_by_channel(tmp_path: Path) -> None:
    """Half of the input is padding: 114 in every channel."""
    data = means_model("uint8", channels_last=True, size=(128, 48))
    blob = []
    detector = load(tmp_path, data, 'fit = "letterbox"\ncolour = "bgr"')
    model, run = detector.model, detector.model.run
    model.run = lambda feeds: blob.append(feeds["picture"].copy()) or run(feeds)  # type: ignore[func-returns-value, method-assign]  # append returns None, so what ran is returned
    detector.worker(Detect())(FRAME)
    assert (blob[0][0, :, 32:96] == (BLUE, GREEN, RED)).all()
    assert (blob[0][0, :, :32] == 114).all()
    assert (blob[0][0, :, 96:] == 114).all()


def test_a_model_is_told_how_large_the_picture_is(tmp_path: Path) -> None:
    """RT-DETR in 128x64 pixels: width first."""
    shares = np.array([[(*p.xyxy[:1], *p.xyxy[1:]) for p in PLANTS[:2]]], np.float32) / SIZE
    labels = np.array([[p.label for p in PLANTS[:2]]], np.int64)
    sure = np.array([[p.score for p in PLANTS[:2]]], np.float32)
    detector = load(tmp_path, sized_model(shares, sure, labels, (128, 64)))
    assert (detector.card.layout, detector.card.notices) == ("rt-detr", ())
    found = detector.worker(Detect())(np.zeros((200, 300, 3), np.uint8))
    for d, p in zip(found, PLANTS, strict=False):
        x0, y0, x1, y1 = p.xyxy
        box = (x0 / SIZE * 300, y0 / SIZE * 200, x1 / SIZE * 300, y1 / SIZE * 200)
        assert d == Detection(detector.card.classes[p.label], p.score, pytest.approx(box, abs=0.02))
    assert len(found) == 2


def test_labels_may_be_floats(tmp_path: Path) -> None:
    shares = np.array([[(0.1, 0.1, 0.5, 0.5), (0.2, 0.2, 0.4, 0.4)]], np.float32)
    data = sized_model(shares, np.array([[0.9, 0.4]], np.float32), np.array([[2.0, 0.0]], np.float32), (64, 64))
    found = load(tmp_path, data).worker(Detect())(np.zeros((64, 64, 3), np.uint8))
    assert [(d.label, d.score) for d in found] == [("dog", 0.9), ("person", 0.4)]


class TestRectangular:
    """A 16:9 frame goes into 640x384 where the model takes that, and into the whole square where it does not."""

    WIDE = np.zeros((720, 1280, 3), np.uint8)
    WIDE[256:272, 640:656] = 255  # a cell of 8 pixels, at half the size

    def test_fewer_pixels_the_same_boxes(self, tmp_path: Path) -> None:
        free = load(tmp_path, bright_cells_model(), 'fit = "letterbox"')
        whole = load(tmp_path, bright_cells_model(), 'fit = "letterbox"\nrectangular = false')
        assert (free.card.layout, free.card.rectangular, whole.card.rectangular) == ("yolox", True, False)
        assert (free.card.width, free.card.height) == (640, 640)
        assert free.view(1280, 720)[:2] == (640, 384)
        assert whole.view(1280, 720)[:2] == (640, 640)
        # The padding above is 12 and 140 pixels: the bright square lies across cells in the one and the other.
        found = free.worker(Detect(min_score=0.45))(self.WIDE)
        assert len(found) == 2
        for d in found:
            assert d.box[0] == 640 - 8
            assert abs(d.box[1] - 256) <= 16
        assert [d.box for d in whole.worker(Detect(min_score=0.45))(self.WIDE)] == [d.box for d in found]

    def test_sizes_change_between_frames(self, tmp_path: Path) -> None:
        run = load(tmp_path, bright_cells_model(), "width = 320\nheight = 320").worker(Detect(min_score=0.9))
        for _ in range(2):
            for height, width in ((320, 320), (160, 320), (320, 96), (640, 640)):
                frame = np.zeros((height, width, 3), np.uint8)
                scale = max(height, width) // 320
                frame[64 * scale : 72 * scale, 32 * scale : 40 * scale] = 255
                (found,) = run(frame)
                assert found.box == tuple(v * scale for v in (28, 60, 36, 68))

    @pytest.mark.parametrize("sidecar", ['fit = "stretch"', "width = 100\nheight = 100", "height = 64\nwidth = 64"])
    def test_not_where_it_makes_no_sense(self, tmp_path: Path, sidecar: str) -> None:
        assert not load(tmp_path, bright_cells_model(), sidecar).card.rectangular

    def test_a_size_that_fails_is_run_in_the_square(self, tmp_path: Path) -> None:
        detector = load(tmp_path, bright_cells_model(), "width = 320\nheight = 320")
        detector.model.at = lambda *_: None  # type: ignore[method-assign]  # as of a model that takes no other size
        assert detector.view(640, 320)[:2] == (320, 320)

    def test_not_where_the_size_is_built_in(self, tmp_path: Path) -> None:
        data = constant_model(np.zeros((1, 6, 8400), np.float32), size=("w", "h"))
        detector = load(tmp_path, data)
        assert not detector.card.rectangular
        assert detector.view(1280, 720)[:2] == (640, 640)

    @pytest.mark.parametrize(
        ("frame", "most", "size"),
        [
            ((1920, 1080), (640, 640), (640, 384)),
            ((1080, 1920), (640, 640), (384, 640)),
            ((500, 500), (640, 640), (640, 640)),
            ((4000, 1), (640, 640), (640, 32)),
            ((640, 352), (640, 640), (640, 352)),
            ((768, 432), (416, 416), (416, 256)),
            ((100, 90), (640, 384), (448, 384)),
        ],
    )
    def test_how_large(self, frame: tuple[int, int], most: tuple[int, int], size: tuple[int, int]) -> None:
        assert snug(*frame, *most) == size
