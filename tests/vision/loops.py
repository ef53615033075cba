"""Every layout decoded once more, one row after the other, from the published formulas: for tests to compare with.

On purpose not like `meshinfer.detect.layouts`: no shared helper, plain numbers, loops in place of array tricks. Each
takes the outputs of a 64x64 model in the order of `planted.CASES`, and yields every row: label, score, xyxy in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.vision.planted import SIZE, SSD_ANCHORS, SSD_STRIDES

Values = Any
"""Outputs as nested lists."""


class Row(NamedTuple):
    label: int
    score: float
    box: tuple[float, float, float, float]


def around(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
    return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def best(scores: list[float]) -> tuple[int, float]:
    return scores.index(max(scores)), max(scores)


def cells(*strides: int) -> Iterator[tuple[int, int, int]]:
    """Stride, column and row of one cell after the other."""
    for stride in strides:
        for row in range(SIZE // stride):
            for column in range(SIZE // stride):
                yield stride, column, row


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    total = sum(math.exp(v - top) for v in values)
    return [math.exp(v - top) / total for v in values]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def yolov8(outputs: Values) -> Iterator[Row]:
    for column in zip(*outputs[0][0], strict=True):
        label, score = best(list(column[4:]))
        yield Row(label, score, around(*column[:4]))


def yolov8_transposed(outputs: Values) -> Iterator[Row]:
    for x, y, w, h, *scores in outputs[0][0]:
        yield Row(*best(scores), around(x, y, w, h))


def with_objectness(outputs: Values) -> Iterator[Row]:
    for x, y, w, h, objectness, *scores in outputs[0][0]:
        label, score = best(scores)
        yield Row(label, score * objectness, around(x, y, w, h))


def yolov5_undecoded(outputs: Values) -> Iterator[Row]:
    anchors = {
        8: ((10, 13), (16, 30), (33, 23)),
        16: ((30, 61), (62, 45), (59, 119)),
        32: ((116, 90), (156, 198), (373, 326)),
    }
    rows = iter(outputs[0][0])
    for own_stride, own in anchors.items():
        for width, height in own:
            for stride, column, row in cells(own_stride):
                x, y, w, h, objectness, *scores = next(rows)
                label, score = best(scores)
                centre = ((2 * x - 0.5 + column) * stride, (2 * y - 0.5 + row) * stride)
                yield Row(label, score * objectness, around(*centre, (2 * w) ** 2 * width, (2 * h) ** 2 * height))


def yolox(outputs: Values) -> Iterator[Row]:
    for (stride, column, row), (x, y, w, h, objectness, *scores) in zip(cells(8, 16, 32), outputs[0][0], strict=True):
        label, score = best(scores)
        box = around((x + column) * stride, (y + row) * stride, math.exp(w) * stride, math.exp(h) * stride)
        yield Row(label, score * objectness, box)


def end_to_end(outputs: Values) -> Iterator[Row]:
    for x0, y0, x1, y1, score, label in outputs[0][0]:
        yield Row(int(label), score, (x0, y0, x1, y1))


def yolov7_end_to_end(outputs: Values) -> Iterator[Row]:
    for _, x0, y0, x1, y1, label, score in outputs[0]:
        yield Row(int(label), score, (x0, y0, x1, y1))


def fastestdet(outputs: Values) -> Iterator[Row]:
    planes = outputs[0][0]
    for _, column, row in cells(16):
        objectness, x, y, w, h, *scores = (plane[row][column] for plane in planes)
        label, score = best(scores)
        centre = ((math.tanh(x) + column) * 16, (math.tanh(y) + row) * 16)
        yield Row(label, objectness**0.6 * score**0.4, around(*centre, sigmoid(w) * SIZE, sigmoid(h) * SIZE))


def distances(scores: list[float], sides: list[float], x: float, y: float, stride: int) -> Row:
    steps = [sum(i * p for i, p in enumerate(softmax(sides[8 * k : 8 * k + 8]))) * stride for k in range(4)]
    inside = [min(max(v, 0), SIZE) for v in (x - steps[0], y - steps[1], x + steps[2], y + steps[3])]
    return Row(*best(scores), (inside[0], inside[1], inside[2], inside[3]))


def split_heads(levels: list[tuple[int, Values, Values]]) -> Iterator[Row]:
    for level, all_scores, all_sides in levels:
        for (stride, column, row), scores, sides in zip(cells(level), all_scores[0], all_sides[0], strict=True):
            yield distances(scores, sides, (column + 0.5) * stride, (row + 0.5) * stride, stride)


def nanodet(outputs: Values) -> Iterator[Row]:
    sides16, scores8, scores32, sides8, sides32, scores16 = outputs
    return split_heads([(8, scores8, sides8), (16, scores16, sides16), (32, scores32, sides32)])


def picodet(outputs: Values) -> Iterator[Row]:
    return split_heads([(stride, outputs[i], outputs[4 + i]) for i, stride in enumerate((8, 16, 32, 64))])


def nanodet_plus(outputs: Values) -> Iterator[Row]:
    for (stride, column, row), values in zip(cells(8, 16, 32, 64), outputs[0][0], strict=True):
        yield distances(values[:3], values[3:], column * stride, row * stride, stride)


def torchvision(outputs: Values) -> Iterator[Row]:
    for box, label, score in zip(*outputs, strict=True):
        yield Row(label - 1, score, tuple(box))


def tf_od(outputs: Values) -> Iterator[Row]:
    boxes, labels, (count,), scores = outputs
    for i in range(int(count)):
        y0, x0, y1, x1 = (v * SIZE for v in boxes[0][i])
        yield Row(int(labels[0][i]) - 1, scores[0][i], (x0, y0, x1, y1))


def efficient_nms(outputs: Values) -> Iterator[Row]:
    ((count,),), boxes, scores, labels = outputs
    for i in range(count):
        yield Row(labels[0][i], scores[0][i], tuple(boxes[0][i]))


def detr_sigmoid(outputs: Values) -> Iterator[Row]:
    for box, logits in zip(outputs[0][0], outputs[1][0], strict=True):
        yield Row(*best([sigmoid(v) for v in logits]), around(*(v * SIZE for v in box)))


def detr_softmax(outputs: Values) -> Iterator[Row]:
    for box, logits in zip(outputs[0][0], outputs[1][0], strict=True):
        yield Row(*best(softmax(logits)[:-1]), around(*(v * SIZE for v in box)))


def ssd(outputs: Values) -> Iterator[Row]:
    for scores, box in zip(outputs[0][0], outputs[1][0], strict=True):
        x0, y0, x1, y1 = (v * SIZE for v in box)
        yield Row(*best(scores[1:]), (x0, y0, x1, y1))


def ssd_priors(outputs: Values) -> Iterator[Row]:
    rows = zip(outputs[0][0], outputs[1][0], strict=True)
    for level, anchors in zip(SSD_STRIDES, SSD_ANCHORS, strict=True):
        for stride, column, row in cells(level):
            for width, height in anchors:
                logits, (dx, dy, dw, dh) = next(rows)
                x, y = (column + 0.5) * stride + 0.1 * dx * width, (row + 0.5) * stride + 0.1 * dy * height
                box = around(x, y, math.exp(0.2 * dw) * width, math.exp(0.2 * dh) * height)
                yield Row(*best(softmax(logits)[1:]), box)


def yunet(outputs: Values) -> Iterator[Row]:
    for i, level in enumerate((8, 16, 32)):
        parts = (outputs[i][0], outputs[3 + i][0], outputs[6 + i][0])
        for (stride, column, row), (cls,), (obj,), (x, y, w, h) in zip(cells(level), *parts, strict=True):
            score = math.sqrt(min(max(cls, 0), 1) * min(max(obj, 0), 1))
            box = around((x + column) * stride, (y + row) * stride, math.exp(w) * stride, math.exp(h) * stride)
            yield Row(0, score, box)


LOOPS: dict[str, Callable[[Values], Iterator[Row]]] = {
    "yolov8": yolov8,
    "yolov8-transposed": yolov8_transposed,
    "yolov5": with_objectness,
    "yolov5-undecoded": yolov5_undecoded,
    "yolox": yolox,
    "yolox-decoded": with_objectness,
    "end-to-end": end_to_end,
    "yolov7-end-to-end": yolov7_end_to_end,
    "fastestdet": fastestdet,
    "nanodet": nanodet,
    "nanodet-plus": nanodet_plus,
    "picodet": picodet,
    "torchvision": torchvision,
    "tf-od": tf_od,
    "efficient-nms": efficient_nms,
    "detr": detr_sigmoid,
    "detr softmax": detr_softmax,
    "ssd": ssd,
    "ssd priors": ssd_priors,
    "yunet": yunet,
}
