"""Finished boxes, scores and labels in outputs of their own: RT-DETR, torchvision, TF-OD, EfficientNMS."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from meshinfer.detect.layouts.layout import Candidates, Layout
from meshinfer.detect.layouts.probe import Array, Floats, Probe
from meshinfer.detect.layouts.roles import find_rows
from meshinfer.detect.preprocess import Recipe
from meshinfer.errors import ModelError


class Finished(Layout):
    overlaps = False
    reads = frozenset({"background"})
    first = 0
    """The number of the first class: 1 where 0 is the background."""

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return find_rows(probe) is not None

    def __init__(self, probe: Probe) -> None:
        places = find_rows(probe)
        assert places is not None
        self._places = places
        if probe.said.background == "last":
            raise ModelError(
                'background = "last" cannot be: labels are numbers, counted from 0 ("none") or 1 ("first")'
            )
        if probe.said.background:
            self.first = int(probe.said.background == "first")
        super().__init__(probe)
        shapes: list[tuple[int | None, ...]] = [*self.expects]
        for place, dimension in ((places.boxes, -2), (places.scores, -1), (places.labels, -1)):
            shape = list(shapes[place])
            shape[dimension] = None
            shapes[place] = tuple(shape)
        self.expects = tuple(shapes)
        if probe.names is None:
            text = f"holds no number of classes: taken for COCO's {self.classes}; write `names` in its sidecar"
            self.notices = (*self.notices, text)

    def count_classes(self, probe: Probe) -> int:
        """The file holds no number of classes: the names say it, or else it is taken for COCO's."""
        return probe.names or (90 if self.first else 80)

    def decode(self, outputs: Sequence[Array], min_score: float) -> Candidates:
        places = self._places
        boxes = outputs[places.boxes].reshape(-1, 4)
        scores, labels = outputs[places.scores].ravel(), outputs[places.labels].ravel()
        count = min(len(boxes), len(scores), len(labels))
        if places.valid is not None:
            count = min(count, int(np.nan_to_num(outputs[places.valid].ravel()[0], nan=0, posinf=count, neginf=0)))
        kept = np.flatnonzero(scores[: max(count, 0)] >= min_score)
        labels = labels[kept]
        known = (labels >= self.first) & (labels < self.first + self.classes)
        kept = kept[known]
        return Candidates(self.pixels(boxes[kept]), scores[kept], labels[known].astype(np.int64) - self.first)

    @abstractmethod
    def pixels(self, boxes: Floats) -> Floats:
        """xyxy in pixels of the input."""


class RtDetr(Finished):
    name = "rt-detr"
    shape = "labels, boxes [1, rows, 4], scores; input orig_target_sizes"
    recipe = Recipe(fit="stretch")
    extra = frozenset({"orig_target_sizes"})

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        places = find_rows(probe)
        return cls.extra <= probe.extra and places is not None and places.valid is None

    def pixels(self, boxes: Floats) -> Floats:
        """The model was told that the picture is as large as its input."""
        return boxes


class TorchVision(Finished):
    """And what is exported like it: the ONNX zoo's SSDs have a first dimension for pictures, and shares of 0 to 1."""

    name = "torchvision"
    shape = "boxes [rows, 4] or [1, rows, 4], labels from 1, scores"
    first = 1

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        places = find_rows(probe)
        return places is not None and places.valid is None

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        shares = _in_pixels(probe) is False
        self._size = np.array((probe.width, probe.height) * 2 if shares else (1,) * 4, np.float32)
        if probe.outputs[self._places.boxes].ndim == 3 and not (probe.said.layout or probe.said.background):
            self.notices = (*self.notices, 'its labels are taken to begin with 1: or else background = "none"')

    def pixels(self, boxes: Floats) -> Floats:
        return boxes * self._size


class TensorFlow(Finished):
    """TensorFlow's object detection API."""

    name = "tf-od"
    shape = "num_detections, boxes [1, rows, 4] as yxyx of 0 to 1, scores, classes from 1"
    recipe = Recipe(scale=1.0, fit="stretch")
    first = 1

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        places = find_rows(probe)
        return places is not None and places.valid is not None

    @classmethod
    def shows(cls, probe: Probe) -> bool:
        return _in_pixels(probe) is False or (_in_pixels(probe) is None and _tensorflowish(probe))

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        self._size = np.array((probe.width, probe.height) * 2, np.float32)
        if probe.free:
            # Its graph resizes: a frame goes in nearly as it is, with its proportions.
            self.recipe = Recipe(scale=1.0)
        self.notices = _unsure(probe, self.name, self.notices)

    def pixels(self, boxes: Floats) -> Floats:
        return boxes[:, (1, 0, 3, 2)] * self._size


class EfficientNms(Finished):
    """The plug-in's outputs, as YOLO exports for TensorRT have them."""

    name = "efficient-nms"
    shape = "num_dets, boxes [1, rows, 4] as xyxy in pixels, scores, classes from 0"

    @classmethod
    def fits(cls, probe: Probe) -> bool:
        return TensorFlow.fits(probe)

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        self.notices = _unsure(probe, self.name, self.notices)

    def pixels(self, boxes: Floats) -> Floats:
        return boxes


def _in_pixels(probe: Probe) -> bool | None:
    """Whether the boxes over a grey picture are larger than 0 to 1; None where there are none."""
    places = find_rows(probe)
    assert places is not None
    boxes = probe.outputs[places.boxes]
    return bool(boxes.max() > 2) if boxes.size and boxes.any() else None


def _tensorflowish(probe: Probe) -> bool:
    places = find_rows(probe)
    assert places is not None
    return probe.uint8 or probe.outputs[places.labels].dtype == np.float32


def _unsure(probe: Probe, name: str, notices: tuple[str, ...]) -> tuple[str, ...]:
    if probe.said.layout or _in_pixels(probe) is not None:
        return notices
    other = EfficientNms.name if name == TensorFlow.name else TensorFlow.name
    return (*notices, f'sees nothing on grey, so its boxes are taken for those of {name}: or else layout = "{other}"')
