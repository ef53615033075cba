"""Outputs that say three planted boxes, for every layout: the published formulas, solved for what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 64
CELLS = 64 + 16 + 4
"""Of 64x64 pixels with strides 8, 16 and 32."""
NAMES = ("person", "car", "dog")

Output = NDArray[Any]


class Plant:
    """What a model says it sees, in pixels of its input: centre, size, class, score."""

    def __init__(self, x: float, y: float, w: float, h: float, label: int, score: float) -> None:
        self.cxcywh = (x, y, w, h)
        self.xyxy = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        self.label, self.score = label, score

    def cell(self, stride: int) -> int:
        """The number, in a grid of its own, of the cell that its centre lies in."""
        return int(self.cxcywh[1] // stride) * (SIZE // stride) + int(self.cxcywh[0] // stride)


PLANTS = (Plant(36, 20, 12, 16, 1, 0.9), Plant(30, 44, 8, 8, 0, 0.6), Plant(36, 20.5, 12, 16, 1, 0.5))
"""The third is the first again: suppression takes it, but for a layout that has none."""
PLACES = tuple(zip((8, 8, 16), PLANTS, strict=True))
"""Each with the stride of the grid that says it."""


def yolov8() -> Output:
    out = np.zeros((1, 4 + 3, CELLS), np.float32)
    for column, p in zip((3, 40, 70), PLANTS, strict=True):
        out[0, :4, column] = p.cxcywh
        out[0, 4 + p.label, column] = p.score
    return out


def yolov8_transposed() -> Output:
    return np.ascontiguousarray(yolov8().transpose(0, 2, 1))


def objectness_rows(count: int) -> Output:
    """A background as detectors write it: boxes across the picture, low objectness."""
    out = np.zeros((1, count, 5 + 3), np.float32)
    out[0, :, 0] = np.linspace(4, 60, count)
    out[0, :, 1:4] = 10
    out[0, :, 4] = 0.01
    out[0, :, 5:] = 0.3
    return out


def decoded(count: int) -> Output:
    out = objectness_rows(count)
    for row, p in zip((3, 70, 80), PLANTS, strict=True):
        out[0, row] = (*p.cxcywh, p.score / 0.95, 0, 0, 0)
        out[0, row, 5 + p.label] = 0.95
    return out


def yolov5_undecoded() -> Output:
    """x = (2v - 0.5 + cell) * stride, w = (2v)^2 * anchor, three anchors per cell, one after the other."""
    out = np.full((1, 3 * CELLS, 5 + 3), 0.5, np.float32)
    out[0, :, 4] = 0.01
    anchors = {8: ((10, 13), (16, 30), (33, 23)), 16: ((30, 61), (62, 45), (59, 119))}
    for (stride, p), anchor in zip(PLACES, (0, 2, 0), strict=True):
        x, y, w, h = p.cxcywh
        side = SIZE // stride
        first = {8: 0, 16: 3 * 64}[stride]
        aw, ah = anchors[stride][anchor]
        out[0, first + anchor * side * side + p.cell(stride)] = (
            (x / stride - x // stride + 0.5) / 2,
            (y / stride - y // stride + 0.5) / 2,
            (w / aw) ** 0.5 / 2,
            (h / ah) ** 0.5 / 2,
            p.score / 0.95,
            *(0.95 if p.label == c else 0 for c in range(3)),
        )
    return out


def yolox() -> Output:
    """x = (v + cell) * stride, w = e^v * stride."""
    out = objectness_rows(CELLS)
    out[0, :, :4] = 0.1
    for stride, p in zip((8, 16, 16), PLANTS, strict=True):
        x, y, w, h = p.cxcywh
        column, row = int(x // stride), int(y // stride) + (p is PLANTS[2])  # its own cell
        index = {8: 0, 16: 64}[stride] + row * (SIZE // stride) + column
        out[0, index, :4] = (x / stride - column, y / stride - row, np.log(w / stride), np.log(h / stride))
        out[0, index, 4:] = (p.score / 0.95, 0, 0, 0)
        out[0, index, 5 + p.label] = 0.95
    return out


def end_to_end() -> Output:
    out = np.zeros((1, 20, 6), np.float32)
    for row, p in enumerate(PLANTS[:2]):
        out[0, row] = (*p.xyxy, p.score, p.label)
    out[0, 5] = (1, 1, 9, 9, 0.8, 5)  # a class that the model does not have
    return out


def yolov7_end_to_end() -> Output:
    rows = [(0, *p.xyxy, p.label, p.score) for p in PLANTS[:2]]
    return np.array([*rows, (0, 1, 1, 9, 9, 5, 0.8)], np.float32)


def fastestdet() -> Output:
    """x = tanh(v) + cell in cells of 16, w = sigmoid(v) of the picture, score = objectness^0.6 class^0.4."""
    out = np.full((1, 5 + 3, 4, 4), 0.01, np.float32)
    for (row, column), p in zip(((1, 2), (2, 1), (2, 2)), PLANTS, strict=True):
        x, y, w, h = p.cxcywh
        out[0, 0, row, column] = p.score
        out[0, 1:3, row, column] = np.arctanh((x / 16 - column, y / 16 - row))
        out[0, 3:5, row, column] = (-np.log(SIZE / w - 1), -np.log(SIZE / h - 1))
        out[0, 5:, row, column] = 0.001
        out[0, 5 + p.label, row, column] = p.score
    return out


def spread(distance: float) -> list[float]:
    """Logarithms of eight shares whose mean step is `distance`: two neighbours share it."""
    low = int(distance)
    shares = [1e-9] * 8
    shares[low] += 1 - (distance - low)
    if distance > low:
        shares[low + 1] += distance - low
    return [float(np.log(s)) for s in shares]


def nanodet_heads(strides: tuple[int, ...], centre: float) -> tuple[list[Output], list[Output]]:
    """Per stride scores [1, n, 3] and distances [1, n, 32] in cells, left, top, right, bottom of the cell's centre."""
    scores = [np.full((1, (SIZE // s) ** 2, 3), 0.01, np.float32) for s in strides]
    sides = [np.full((1, (SIZE // s) ** 2, 32), -3, np.float32) for s in strides]
    for stride, p in PLACES:
        level = strides.index(stride)
        column, row = (round(v / stride - centre) for v in p.cxcywh[:2])  # whose centre lies in the box
        cell, x, y = row * (SIZE // stride) + column, (column + centre) * stride, (row + centre) * stride
        x0, y0, x1, y1 = p.xyxy
        scores[level][0, cell, p.label] = p.score
        distances = ((x - x0) / stride, (y - y0) / stride, (x1 - x) / stride, (y1 - y) / stride)
        sides[level][0, cell] = [value for d in distances for value in spread(d)]
    return scores, sides


def nanodet() -> list[Output]:
    """In an order of their own: names and order of exports differ."""
    scores, sides = nanodet_heads((8, 16, 32), 0.5)
    return [sides[1], scores[0], scores[2], sides[0], sides[2], scores[1]]


def picodet() -> list[Output]:
    scores, sides = nanodet_heads((8, 16, 32, 64), 0.5)
    return scores + sides


def nanodet_plus() -> Output:
    scores, sides = nanodet_heads((8, 16, 32, 64), 0.0)
    return np.concatenate([np.concatenate(pair, axis=2) for pair in zip(scores, sides, strict=True)], axis=1)


def torchvision() -> list[Output]:
    """boxes, labels, scores: labels from 1."""
    boxes = [*(p.xyxy for p in PLANTS[:2]), (1, 1, 9, 9)]
    labels = [*(p.label + 1 for p in PLANTS[:2]), 5]
    scores = [*(p.score for p in PLANTS[:2]), 0.8]
    return [np.array(boxes, np.float32), np.array(labels, np.int64), np.array(scores, np.float32)]


def tf_od() -> list[Output]:
    """boxes as yxyx of 0 to 1, classes from 1 as floats, the number of rows that count, scores."""
    boxes, labels, scores = np.zeros((1, 10, 4)), np.ones((1, 10)), np.zeros((1, 10))
    for row, p in enumerate(PLANTS[:2]):
        x0, y0, x1, y1 = p.xyxy
        boxes[0, row] = (y0 / SIZE, x0 / SIZE, y1 / SIZE, x1 / SIZE)
        labels[0, row], scores[0, row] = p.label + 1, p.score
    boxes[0, 2], scores[0, 2] = (0, 0, 1, 1), 0.99  # beyond the number that counts
    return [np.asarray(o, np.float32) for o in (boxes, labels, np.array([2.0]), scores)]


def efficient_nms() -> list[Output]:
    boxes, labels, scores = np.zeros((1, 10, 4), np.float32), np.zeros((1, 10), np.int32), np.zeros((1, 10), np.float32)
    for row, p in enumerate(PLANTS[:2]):
        boxes[0, row], labels[0, row], scores[0, row] = p.xyxy, p.label, p.score
    boxes[0, 2], scores[0, 2] = (0, 0, 50, 50), 0.99
    return [np.array([[2]], np.int32), boxes, scores, labels]


def detr(background: bool) -> list[Output]:
    """Raw scores before a sigmoid, or before a softmax whose last column is nothing; cxcywh of 0 to 1."""
    logits = np.full((1, 30, 3 + background), -5, np.float32)
    boxes = np.full((1, 30, 4), 0.4, np.float32)
    boxes[0, :, 2] = 0.2
    if background:
        logits[0, :, 3] = 2
    for row, p in zip((4, 17), PLANTS[:2], strict=True):
        if background:
            logits[0, row] = np.log([p.score if c == p.label else (1 - p.score) / 3 for c in range(4)])
        else:
            logits[0, row, p.label] = np.log(p.score / (1 - p.score))
        boxes[0, row] = np.array(p.cxcywh) / SIZE
    return [boxes, logits]


SSD_STRIDES = (2, 4)
SSD_ANCHORS = (((10.0, 12.0),), ((20.0, 20.0), (14.0, 30.0)))
SSD_ROWS = 32 * 32 + 2 * 16 * 16


def ssd(relative: bool) -> list[Output]:
    """Scores after a softmax whose first column is nothing, or before it; boxes as xyxy of 0 to 1, or from priors."""
    scores = np.full((1, SSD_ROWS, 4), 0.0, np.float32)
    boxes = np.full((1, SSD_ROWS, 4), -0.5 if relative else 0.1, np.float32)
    boxes[0, :, 2] = -1.0 if relative else 0.2
    scores[0, :, 0] = 1
    for (stride, anchor, first, each), p in zip(((2, 0, 0, 1), (4, 0, 1024, 2), (4, 1, 1024, 2)), PLANTS, strict=True):
        cell = p.cell(stride)
        row = first + each * cell + anchor
        x, y, w, h = p.cxcywh
        scores[0, row] = [p.score if c == p.label + 1 else (1 - p.score) / 3 for c in range(4)]
        px, py = (cell % (SIZE // stride) + 0.5) * stride, (cell // (SIZE // stride) + 0.5) * stride
        aw, ah = SSD_ANCHORS[SSD_STRIDES.index(stride)][anchor]
        if relative:
            boxes[0, row] = ((x - px) / aw / 0.1, (y - py) / ah / 0.1, np.log(w / aw) / 0.2, np.log(h / ah) / 0.2)
        else:
            boxes[0, row] = np.array(p.xyxy) / SIZE
    return [np.log(scores + 1e-9) if relative else scores, boxes]


def yunet() -> list[Output]:
    """score = sqrt(cls obj), x = (v + cell) * stride, w = e^v * stride; cls, obj, box and points, each by stride."""
    heads = {s: [np.zeros((1, (SIZE // s) ** 2, c), np.float32) for c in (1, 1, 4, 10)] for s in (8, 16, 32)}
    for stride, p in PLACES:
        cell, (x, y, w, h) = p.cell(stride), p.cxcywh
        cls, obj, box, _ = heads[stride]
        cls[0, cell], obj[0, cell] = p.score, p.score
        column, row = cell % (SIZE // stride), cell // (SIZE // stride)
        box[0, cell] = (x / stride - column, y / stride - row, np.log(w / stride), np.log(h / stride))
    return [heads[s][kind] for kind in range(4) for s in (8, 16, 32)]


class Case(NamedTuple):
    """What a model of a layout puts out, and how frames are fitted into its input."""

    make: Callable[[], Output | list[Output]]
    fit: str = "letterbox"
    sidecar: str = ""
    """What the file cannot say."""
    notice: str = ""
    """Part of what is said about what was assumed."""


_SSD_PRIORS = f"""
outputs = ["out1", "out0"]
strides = {list(SSD_STRIDES)}
anchors = {[[list(anchor) for anchor in level] for level in SSD_ANCHORS]}
"""

CASES: dict[str, Case] = {
    "yolov8": Case(yolov8),
    "yolov8-transposed": Case(yolov8_transposed),
    "yolov5": Case(lambda: decoded(3 * CELLS)),
    "yolov5-undecoded": Case(yolov5_undecoded, notice="taken for YOLOv5's"),
    "yolox": Case(yolox, "top-left"),
    "yolox-decoded": Case(lambda: decoded(CELLS), "top-left"),
    "end-to-end": Case(end_to_end),
    "yolov7-end-to-end": Case(yolov7_end_to_end),
    "fastestdet": Case(fastestdet, "stretch"),
    "nanodet": Case(nanodet, "stretch"),
    "nanodet-plus": Case(nanodet_plus, "stretch"),
    "picodet": Case(picodet, "stretch", notice='layout = "nanodet-plus"'),
    "torchvision": Case(torchvision),
    "tf-od": Case(tf_od, "stretch"),
    "efficient-nms": Case(efficient_nms),
    "detr": Case(lambda: detr(background=False), "stretch", notice="taken as ImageNet's"),
    "detr softmax": Case(lambda: detr(background=True), "stretch", notice="taken as ImageNet's"),
    "ssd": Case(lambda: ssd(relative=False), "stretch", notice="(pixel - 127) / 128"),
    "ssd priors": Case(lambda: ssd(relative=True), "stretch", sidecar=_SSD_PRIORS, notice="(pixel - 127) / 128"),
    "yunet": Case(yunet, "top-left"),
}
"""By layout, and a word for its variant."""
