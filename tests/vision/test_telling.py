"""Where a file leaves open how it is read: what is assumed is said, and a sidecar settles it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect
from tests.vision.planted import (
    NAMES,
    PLANTS,
    SIZE,
    detr,
    efficient_nms,
    nanodet_heads,
    ssd,
    tf_od,
    torchvision,
    yolov5_undecoded,
    yolov8,
)
from tests.vision.tiny_onnx import attribute_tensor, constant_model, declared, field, model, node

FRAME = np.zeros((SIZE, SIZE, 3), np.uint8)


def load(
    folder: Path,
    outputs: NDArray[np.float32] | list[NDArray[np.float32]],
    sidecar: str = "",
    named: tuple[str, ...] = NAMES,
    metadata: dict[str, str] | None = None,
    names: tuple[str, ...] = (),
    types: dict[str, str] | None = None,
    inputs: tuple[tuple[str, tuple[int | str, ...]], ...] = (),
) -> Detector:
    path = folder / "m.onnx"
    metadata = {**({"names": repr(list(named))} if named else {}), **(metadata or {})}
    path.write_bytes(constant_model(outputs, metadata=metadata, names=names, types=types, inputs=inputs))
    path.with_suffix(".toml").write_text(sidecar)
    return load_detector(path)


def seen(detector: Detector, least: float = 0.25) -> list[tuple[str, float]]:
    return [(d.label, d.score) for d in detector.worker(Detect(min_score=least))(FRAME)]


def boxes(found: tuple[Detection, ...]) -> list[tuple[float, ...]]:
    return [tuple(round(v, 1) for v in d.box) for d in found]


PLANTED = [tuple(p.xyxy) for p in PLANTS[:2]]


class TestClassifier:
    LOGITS = np.array([[1.0, 3.0, -2.0]], np.float32)
    SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum()

    @pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
    def test_logits_and_probabilities(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        for output, notice in ((self.LOGITS, "values before a softmax"), (self.SHARES, "probabilities")):
            detector = load(tmp_path, output.reshape(shape))
            assert detector.card.layout == "classifier"
            assert notice in detector.card.notices[-1]
            assert seen(detector, 0.05) == [("car", 0.8756), ("person", 0.1185)]
            (found,) = detector.worker(Detect(min_score=0.5))(np.zeros((30, 70, 3), np.uint8))
            assert found.box == (0, 0, 70, 30)

    def test_the_sidecar_says_sigmoid(self, tmp_path: Path) -> None:
        detector = load(tmp_path, self.LOGITS, 'activation = "sigmoid"\nmean = [0, 0, 0]')
        assert seen(detector) == [("car", 0.9526), ("person", 0.7311)]
        assert detector.card.notices == ()

    def test_one_score(self, tmp_path: Path) -> None:
        """A defect or none: logits that lie within 0 to 1 cannot be told from a score."""
        assert seen(load(tmp_path, np.array([[2.0]], np.float32), named=("defect",))) == [("defect", 0.8808)]
        detector = load(tmp_path, np.array([[0.7]], np.float32), named=("defect",))
        assert seen(detector) == [("defect", 0.7)]
        assert "probabilities: or else say `activation`" in detector.card.notices[-1]

    def test_seven_classes_are_no_row(self, tmp_path: Path) -> None:
        scores = np.array([[0, 0.2, 0.2, 0.3, 0.1, 0.1, 0.1]], np.float32)
        assert load(tmp_path, scores, named=()).card.layout == "classifier"
        row = np.array([[0, 1, 2, 30, 40, 1, 0.9]], np.float32)
        assert load(tmp_path, row, named=()).card.layout == "yolov7-end-to-end"
        assert load(tmp_path, row, named=tuple("abcdefg")).card.layout == "classifier"

    def test_several_labels_at_a_time(self, tmp_path: Path) -> None:
        """They have left a sigmoid, and do not sum to 1: a softmax over them would make all of them small."""
        scores = np.array([[0.9, 0.02, 0.6, 0.01, 0.3]], np.float32)
        detector = load(tmp_path, scores, named=tuple("abcde"))
        assert "probabilities" in detector.card.notices[-1]
        assert seen(detector) == [("a", 0.9), ("c", 0.6), ("e", 0.3)]

    def test_ultralytics_scales_in_its_own_way(self, tmp_path: Path) -> None:
        detector = load(tmp_path, self.SHARES, metadata={"task": "classify"})
        assert (detector.recipe.mean, detector.recipe.fit) == ((0, 0, 0), "stretch")


class TestDetr:
    @pytest.mark.parametrize("background", [False, True])
    def test_without_names_it_says_how_it_was_read(self, tmp_path: Path, background: bool) -> None:
        detector = load(tmp_path, detr(background), named=())
        assert len(detector.card.classes) == 3
        how = "activation softmax and background last" if background else "activation sigmoid and background none"
        assert how in detector.card.notices[1]
        assert boxes(detector.worker(Detect())(FRAME)) == PLANTED

    def test_a_spare_column(self, tmp_path: Path) -> None:
        """RF-DETR's: one more than there are classes, and a sigmoid all the same."""
        where, logits = detr(background=False)
        detector = load(tmp_path, [where, np.concatenate((logits, logits[..., :1] * 0 - 9), axis=2)])
        assert "activation sigmoid and background last" in detector.card.notices[1]
        assert boxes(detector.worker(Detect())(FRAME)) == PLANTED

    def test_the_sidecar_overrides(self, tmp_path: Path) -> None:
        detector = load(tmp_path, detr(background=True), 'activation = "sigmoid"\nbackground = "none"', named=())
        assert len(detector.card.classes) == 4
        assert not any("activation" in notice for notice in detector.card.notices)

    @pytest.mark.parametrize(("columns", "classes", "first"), [(92, 91, "unused0"), (81, 80, "person")])
    def test_columns_of_coco(self, tmp_path: Path, columns: int, classes: int, first: str) -> None:
        _, logits = detr(background=True)
        wide = np.full((1, logits.shape[1], columns), -8, np.float32)
        wide[..., -1] = 1
        detector = load(tmp_path, [detr(background=True)[0], wide], named=())
        assert (len(detector.card.classes), detector.card.classes[0]) == (classes, first)

    def test_corners_are_an_ssds(self, tmp_path: Path) -> None:
        scores, corners = (o[:, :500] for o in ssd(relative=False))
        assert load(tmp_path, [scores, corners]).card.layout == "ssd"


class TestFinished:
    def test_no_names_are_coco_by_its_numbers(self, tmp_path: Path) -> None:
        detector = load(tmp_path, torchvision(), named=())
        assert len(detector.card.classes) == 90
        assert "taken for COCO's 90" in detector.card.notices[0]
        # Labels 2, 1 and 5: a number of COCO's, from 1.
        assert seen(detector) == [("bicycle", 0.9), ("airplane", 0.8), ("person", 0.6)]

    def test_labels_may_count_from_0(self, tmp_path: Path) -> None:
        names = ("nothing", "person", "car")
        assert seen(load(tmp_path, torchvision(), 'background = "none"', named=names)) == [
            ("car", 0.9),
            ("person", 0.6),
        ]
        with pytest.raises(ModelError, match='background = "last" cannot be'):
            load(tmp_path, torchvision(), 'background = "last"')

    def test_shares_of_the_picture(self, tmp_path: Path) -> None:
        where, labels, sure = (o[None] for o in torchvision())
        detector = load(tmp_path, [where / SIZE, labels, sure])
        assert detector.card.layout == "torchvision"
        assert 'or else background = "none"' in detector.card.notices[0]
        assert boxes(detector.worker(Detect())(FRAME)) == PLANTED

    def test_nothing_on_grey(self, tmp_path: Path) -> None:
        empty = [np.zeros_like(o) for o in tf_od()]
        with pytest.raises(
            ModelError, match=r"(?s)unknown layout.*\(and `outputs`: those that count, as boxes, scores"
        ):
            load(tmp_path, empty)  # nobody could tell labels from scores
        names = ("detection_boxes:0", "detection_classes:0", "num_detections:0", "detection_scores:0")
        detector = load(tmp_path, empty, names=names)
        assert detector.card.layout == "tf-od"
        assert 'layout = "efficient-nms"' in detector.card.notices[0]
        assert load(tmp_path, empty, 'layout = "efficient-nms"', names=names).card.notices == ()
        detector = load(tmp_path, [np.zeros_like(o) for o in efficient_nms()])
        assert detector.card.layout == "efficient-nms"
        assert 'layout = "tf-od"' in detector.card.notices[0]

    def test_tensorflows_eight_outputs(self, tmp_path: Path) -> None:
        where, labels, count, scores = tf_od()
        more = [scores * 0, where, labels, np.zeros((1, 10, 4), np.float32), scores, count, where * 0, labels * 0]
        names = (
            *("detection_anchor_indices", "detection_boxes", "detection_classes", "detection_multiclass_scores"),
            *("detection_scores", "num_detections", "raw_detection_boxes", "raw_detection_scores"),
        )
        picture = (("input_tensor", (1, SIZE, SIZE, 3)),)
        detector = load(tmp_path, more, names=names, types={"input_tensor": "uint8"}, inputs=picture)
        assert detector.card.layout == "tf-od"
        assert boxes(detector.worker(Detect())(FRAME)) == PLANTED

    def test_two_of_one_shape_need_names(self, tmp_path: Path) -> None:
        """Labels 0 and 1 as floats look like scores."""
        where = np.array([(1, 1, 9, 9), (2, 2, 8, 8)], np.float32)
        both = [where, np.array([1, 0], np.float32), np.array([1, 0.5], np.float32)]
        with pytest.raises(ModelError, match=r"unknown layout.*out0 \[2, 4\], out1 \[2\], out2 \[2\]"):
            load(tmp_path, both)
        sidecar = 'outputs = ["out0", "out2", "out1"]\nbackground = "none"'
        assert seen(load(tmp_path, both, sidecar)) == [("car", 1.0), ("person", 0.5)]
        assert load(tmp_path, both, names=("a", "labels", "b")).card.layout == "torchvision"

    def test_an_input_that_leaves_all_open(self, tmp_path: Path) -> None:
        """It could be a series' too: the sidecar's layout settles it."""
        where = np.array([(8, 8, 24, 24)], np.float32)
        outputs = [where, np.array([1], np.int64), np.array([0.9], np.float32)]
        taken = (("images", ("channels", "height", "width")),)
        with pytest.raises(ModelError, match=r'or, if it looks at pictures, write its layout.*"torchvision"'):
            load(tmp_path, outputs, inputs=taken)
        card = load(tmp_path, outputs, 'layout = "torchvision"\nwidth = 64\nheight = 64', inputs=taken).card
        assert (card.layout, card.width, card.height) == ("torchvision", 64, 64)


class TestAnchors:
    def test_an_ssd_without_its_priors_is_refused(self, tmp_path: Path) -> None:
        outputs = ssd(relative=True)
        wide = np.concatenate((outputs[0], outputs[0][..., 1:2]), axis=2)
        with pytest.raises(ModelError, match=r"relative to anchors.*`strides` and `anchors`.*strides = \[16, 32\]"):
            load(tmp_path, [wide, outputs[1]])
        with pytest.raises(ModelError, match=r"1536 boxes; 1 `strides` with 1 lists of `anchors` make 64"):
            load(tmp_path, [wide, outputs[1]], "strides = [8]\nanchors = [[[9, 9]]]")

    def test_other_anchors_of_yolo(self, tmp_path: Path) -> None:
        twice = "[[[20, 26], [32, 60], [66, 46]], [[60, 122], [124, 90], [118, 238]], [[1, 1], [1, 1], [1, 1]]]"
        found = load(tmp_path, yolov5_undecoded(), f"anchors = {twice}").worker(Detect())(FRAME)
        (x0, y0, x1, y1), p = found[0].box, PLANTS[0]
        assert (x1 - x0, y1 - y0) == pytest.approx((2 * p.cxcywh[2], 2 * p.cxcywh[3]), abs=0.03)
        with pytest.raises(ModelError, match="252 rows; 3 strides with 1 lists of `anchors` make 64: say"):
            load(tmp_path, yolov5_undecoded(), 'layout = "yolov5-undecoded"\nanchors = [[[9, 9]]]')


def test_picodet_or_nanodet_plus(tmp_path: Path) -> None:
    scores, sides = nanodet_heads((8, 16, 32, 64), 0.0)
    found = load(tmp_path, scores + sides, 'layout = "nanodet-plus"').worker(Detect())(FRAME)
    assert boxes(found) == PLANTED
    shifted = load(tmp_path, scores + sides).worker(Detect())(FRAME)
    assert boxes(shifted)[0] == tuple(v + 4 for v in PLANTED[0])


def test_boxes_in_shares_are_not_taken_for_pixels(tmp_path: Path) -> None:
    """Ultralytics' RT-DETR: 300 rows that look like YOLOv8's on its side, and would all be a pixel wide."""
    rows = np.full((1, 300, 4 + 3), 0.4, np.float32)
    with pytest.raises(ModelError, match=r"unknown layout.*\[1, 300, 7\]"):
        load(tmp_path, rows)
    with pytest.raises(ModelError, match=r"no box goes beyond 0\.4: those of yolov8-transposed are in pixels"):
        load(tmp_path, rows, 'layout = "yolov8-transposed"')


def test_nanodet_plus_of_other_strides(tmp_path: Path) -> None:
    """Its shape is also that of YOLOX with more classes; `strides`, which that has none of, settle it."""
    scores, sides = nanodet_heads((8, 16, 32), 0.0)
    joint = np.concatenate([np.concatenate(pair, axis=2) for pair in zip(scores, sides, strict=True)], axis=1)
    with pytest.raises(ModelError, match=r"layout nanodet-plus.*other `strides`\? Say them"):
        load(tmp_path, joint, 'layout = "nanodet-plus"')
    detector = load(tmp_path, joint, "strides = [8, 16, 32]")
    assert detector.card.layout == "nanodet-plus"
    assert boxes(detector.worker(Detect())(FRAME)) == PLANTED


def test_one_of_several_outputs(tmp_path: Path) -> None:
    """As of exports that leave their raw heads in."""
    heads = [np.zeros((1, 3, 8, 8, 8), np.float32), yolov8(), np.zeros((1, 3, 4, 4, 8), np.float32)]
    with pytest.raises(ModelError, match="unknown layout"):
        load(tmp_path, heads)
    assert boxes(load(tmp_path, heads, 'outputs = ["out1"]').worker(Detect())(FRAME)) == PLANTED
    with pytest.raises(ModelError, match="names the output 'out7', but the file has: out0, out1, out2"):
        load(tmp_path, heads, 'outputs = ["out7"]')


@pytest.mark.parametrize(
    ("sidecar", "says"),
    [
        ('activation = "softmax"', "says `activation`, which the layout yolov8 has none of"),
        ("strides = [8]", "says `strides`, which the layout yolov8 has none of"),
        ("width = 32", "says width = 32, but the file fixes 64"),
        ('layout = "rt-detr"', "layout rt-detr, which is labels, boxes"),
        ("strides = [0]", r"\$\.strides"),
        ("anchors = [[[1]]]", r"\$\.anchors"),
        ('activation = "relu"', r"'relu'.*\$\.activation"),
        ("mean = [nan, 0, 0]", r"\$\.mean"),
        ("std = [inf, 1, 1]", r"\$\.std"),
        ("rectangular = 1", r"\$\.rectangular"),
        ("# " + "x" * 70_000, "over 64 KiB"),
        ("a = " + "[" * 3000, "no TOML"),
    ],
)
def test_what_a_sidecar_cannot_say(tmp_path: Path, sidecar: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        load(tmp_path, yolov8(), sidecar)


def test_text_is_no_detection(tmp_path: Path) -> None:
    words = field(1, 1) + field(2, 8) + field(6, "cat")
    graph = field(1, node("Constant", (), ("out",), attribute_tensor("value", words))) + field(2, "words")
    graph += field(11, declared("images", (1, 3, SIZE, SIZE))) + field(12, declared("out", (1,), 8))
    (tmp_path / "m.onnx").write_bytes(model(graph))
    with pytest.raises(ModelError, match="one is object: the layouts that run are numbers"):
        load_detector(tmp_path / "m.onnx")
