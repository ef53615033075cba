"""An independent reading of four public detectors, for tests to compare with: slow, plain, one box after the other.

Written from the models' own documentation, on purpose not like `meshinfer.detect`: no shared helper, no OpenCV but for
reading and resizing pictures, loops in place of array tricks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class Found(NamedTuple):
    label: int
    score: float
    box: tuple[float, float, float, float]


class Reference:
    """A model's detections by class number: at least `min_score`, suppressed at `iou`."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # several would spin while they wait for each other: slower, where all is busy
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._read: Callable[[Image, float], list[Found]] = {
            "yolox_nano": self._yolox,
            "fastestdet": self._fastestdet,
            "yolov8n_int8": self._yolov8,
            "yunet_n_320": self._yunet,
        }[model.stem]

    def __call__(self, image: Image, min_score: float = 0.25, iou: float = 0.6, limit: int = 300) -> list[Found]:
        height, width = image.shape[:2]
        kept: list[Found] = []
        for found in sorted(self._read(image, min_score), key=lambda f: -f.score):
            if all(k.label != found.label or overlap(k.box, found.box) <= iou for k in kept):
                kept.append(found)
        clipped = []
        for f in kept[:limit]:
            x0, y0, x1, y1 = f.box
            box = (max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1))
            if box[2] - box[0] > 0.005 and box[3] - box[1] > 0.005:
                clipped.append(Found(f.label, f.score, box))
        return clipped

    def _run(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        (source,) = self._session.get_inputs()
        output: Any = self._session.run(None, {source.name: planes[None]})[0]
        return np.asarray(output[0], np.float32)

    def _yolov8(self, image: Image, min_score: float) -> list[Found]:
        height, width = image.shape[:2]
        ratio = min(640 / width, 640 / height)
        inner = cv2.resize(image, (round(width * ratio), round(height * ratio)), interpolation=cv2.INTER_LINEAR)
        left, top = (640 - inner.shape[1]) // 2, (640 - inner.shape[0]) // 2
        square = np.full((640, 640, 3), 114, np.uint8)
        square[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        rgb = cv2.cvtColor(square, cv2.COLOR_BGR2RGB)
        # Multiplied, as OpenCV does it: a division differs in the last bit, and an int8 model rounds that to a step.
        output = self._run((rgb.astype(np.float32) * np.float32(1 / 255)).transpose(2, 0, 1).copy())
        found = []
        for column in output.T[(output[4:] >= min_score).any(axis=0)]:
            x, y, w, h = (float(v) for v in column[:4])
            label = int(np.argmax(column[4:]))
            x0, y0 = (x - w / 2 - left) / ratio, (y - h / 2 - top) / ratio
            x1, y1 = (x + w / 2 - left) / ratio, (y + h / 2 - top) / ratio
            found.append(Found(label, float(column[4 + label]), (x0, y0, x1, y1)))
        return found

    def _yolox(self, image: Image, min_score: float) -> list[Found]:
        height, width = image.shape[:2]
        ratio = min(416 / width, 416 / height)
        inner = cv2.resize(image, (round(width * ratio), round(height * ratio)), interpolation=cv2.INTER_LINEAR)
        square = np.full((416, 416, 3), 114, np.uint8)
        square[: inner.shape[0], : inner.shape[1]] = inner
        output = self._run(square.astype(np.float32).transpose(2, 0, 1).copy())
        found, row = [], 0
        for stride in (8, 16, 32):
            for cell_y in range(416 // stride):
                for cell_x in range(416 // stride):
                    dx, dy, log_w, log_h, objectness, *classes = output[row].tolist()
                    row += 1
                    label = classes.index(max(classes))
                    if (score := objectness * classes[label]) < min_score:
                        continue
                    x, y = (dx + cell_x) * stride, (dy + cell_y) * stride
                    w, h = math.exp(log_w) * stride, math.exp(log_h) * stride
                    corners = ((x - w / 2) / ratio, (y - h / 2) / ratio, (x + w / 2) / ratio, (y + h / 2) / ratio)
                    found.append(Found(label, score, corners))
        return found

    def _fastestdet(self, image: Image, min_score: float) -> list[Found]:
        height, width = image.shape[:2]
        square = cv2.resize(image, (352, 352), interpolation=cv2.INTER_LINEAR)
        output = self._run((square.astype(np.float32) / 255).transpose(2, 0, 1).copy())
        found = []
        for cell_y in range(22):
            for cell_x in range(22):
                objectness, dx, dy, w, h, *classes = output[:, cell_y, cell_x].tolist()
                label = classes.index(max(classes))
                if (score := objectness**0.6 * classes[label] ** 0.4) < min_score:
                    continue
                x, y = (math.tanh(dx) + cell_x) / 22 * width, (math.tanh(dy) + cell_y) / 22 * height
                w, h = width / (1 + math.exp(-w)), height / (1 + math.exp(-h))
                found.append(Found(label, score, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
        return found

    def _yunet(self, image: Image, min_score: float) -> list[Found]:
        height, width = image.shape[:2]
        ratio = min(320 / width, 320 / height)
        inner = cv2.resize(image, (round(width * ratio), round(height * ratio)), interpolation=cv2.INTER_LINEAR)
        square = np.full((320, 320, 3), 114, np.uint8)
        square[: inner.shape[0], : inner.shape[1]] = inner
        (source,) = self._session.get_inputs()
        planes = square.astype(np.float32).transpose(2, 0, 1)[None]
        values: list[Any] = self._session.run(
            [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox") for stride in (8, 16, 32)], {source.name: planes}
        )
        found = []
        for level, stride in enumerate((8, 16, 32)):
            side = 320 // stride
            for cell in range(side * side):
                cls, obj = (min(max(float(values[3 * kind + level][0][cell][0]), 0.0), 1.0) for kind in (0, 1))
                if (score := math.sqrt(cls * obj)) < min_score:
                    continue
                dx, dy, log_w, log_h = (float(v) for v in values[6 + level][0][cell])
                x, y = (dx + cell % side) * stride, (dy + cell // side) * stride
                w, h = math.exp(log_w) * stride, math.exp(log_h) * stride
                corners = ((x - w / 2) / ratio, (y - h / 2) / ratio, (x + w / 2) / ratio, (y + h / 2) / ratio)
                found.append(Found(0, score, corners))
        return found


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two xyxy boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
