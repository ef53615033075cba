#!/usr/bin/env python3
"""Recall and precision of yard-demo on scenes it has never seen, decoded from rendered video.

    python scripts/bench_demo_detector.py [--scenes 24] [--seconds 6] [--model FILE]

The decoding is written out here, apart from meshinfer's own: an independent reading of the file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from meshinfer.demo import Found, Scene, Score, Truth, read_truth, render_video, score, truth_path

MODEL: Final = ROOT / "meshinfer" / "demo" / "yard-demo.onnx"
HELD_OUT: Final = 950_000
"""The first seed of scenes that nothing was trained on, and nothing (recipe, threshold) was chosen by."""
THRESHOLD: Final = 0.4
NMS_IOU: Final = 0.6
NAMES: Final = ("person", "vehicle")


class YardDemo:
    """The detector, one thread: frames BGR [H, W, 3] in, boxes in pixels of the frame out."""

    def __init__(self, model: Path = MODEL) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        _, _, self.height, self.width = self.session.get_inputs()[0].shape
        self.spent = 0.0

    def __call__(self, frame: NDArray[np.uint8], threshold: float = THRESHOLD) -> list[Found]:
        tall, wide = frame.shape[:2]
        scale = min(self.width / wide, self.height / tall)
        fit = (round(wide * scale), round(tall * scale))
        left, top = (self.width - fit[0]) // 2, (self.height - fit[1]) // 2
        canvas = np.full((self.height, self.width, 3), 114, np.uint8)
        canvas[top : top + fit[1], left : left + fit[0]] = cv2.resize(frame, fit, interpolation=cv2.INTER_LINEAR)
        images = np.ascontiguousarray(canvas[None, ..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
        began = time.perf_counter()
        output = np.asarray(self.session.run(None, {"images": images})[0])[0].T
        self.spent += time.perf_counter() - began
        classes, scores = output[:, 4:].argmax(axis=1), output[:, 4:].max(axis=1)
        found: list[Found] = []
        for index, name in enumerate(NAMES):
            rows = np.flatnonzero((classes == index) & (scores >= threshold))
            corner = output[rows, :2] - output[rows, 2:4] / 2 - (left, top)
            boxes = np.concatenate([corner, corner + output[rows, 2:4]], axis=1) / scale
            boxes = np.clip(boxes, 0, (wide, tall, wide, tall))
            for kept in _suppress(boxes, scores[rows]):
                x0, y0, x1, y1 = (float(value) for value in boxes[kept])
                found.append(Found(name, float(scores[rows][kept]), (x0, y0, x1, y1)))
        return found


def _suppress(boxes: NDArray[np.float64], scores: NDArray[np.float32]) -> list[int]:
    """Greedy suppression of boxes xyxy [N, 4]: the surest first, without those that overlap one kept before."""
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for index in np.argsort(-scores):
        low = np.maximum(boxes[index, :2], boxes[kept, :2])
        high = np.minimum(boxes[index, 2:], boxes[kept, 2:])
        inner = np.clip(high - low, 0, None).prod(axis=1)
        if not np.any(inner > NMS_IOU * (areas[index] + areas[kept] - inner)):
            kept.append(int(index))
    return kept


def frames(video: Path) -> Iterator[NDArray[np.uint8]]:
    """The decoded frames of a video."""
    reader = cv2.VideoCapture(str(video))
    try:
        while True:
            there, frame = reader.read()
            if not there:
                return
            yield np.asarray(frame, dtype=np.uint8)
    finally:
        reader.release()


def held_out(
    folder: Path, scenes: int, seconds: float, step: int = 1
) -> Iterator[tuple[Scene, list[tuple[NDArray[np.uint8], list[Truth]]]]]:
    """Render held-out scenes (day and night by turns), read them back and give every `step`-th frame with its truth."""
    for index in range(scenes):
        scene = Scene(HELD_OUT + index, night=bool(index % 2))
        video = folder / f"{index}.mp4"
        render_video(video, scene, seconds, start=(index * 7.3) % 40)
        pairs = list(zip(frames(video), read_truth(truth_path(video)), strict=True))
        yield scene, pairs[::step]


def line(name: str, result: Score) -> str:
    """One row of the table."""
    return f"{name:<16}{result.truths:>8}{result.recall:>9.3f}{result.precision:>11.3f}"


def main() -> None:
    """Render, detect, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=24)
    options.add_argument("--seconds", type=float, default=6.0)
    options.add_argument("--model", type=Path, default=MODEL)
    options.add_argument("--threshold", type=float, default=THRESHOLD)
    chosen = options.parse_args()
    cv2.setNumThreads(1)
    detector, count = YardDemo(chosen.model), 0
    groups: dict[str, tuple[list[list[Found]], list[list[Truth]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for scene, pairs in held_out(Path(folder), chosen.scenes, chosen.seconds, step=3):
            found = [detector(frame, chosen.threshold) for frame, _ in pairs]
            truths = [truth for _, truth in pairs]
            count += len(pairs)
            for group in ("overall", "night" if scene.night else "day", scene.view):
                predicted, there = groups.setdefault(group, ([], []))
                predicted += found
                there += truths
    print(f"yard-demo on {chosen.scenes} held-out scenes, {count} frames, score >= {chosen.threshold}, IoU 0.5")
    print(f"{'':<16}{'truths':>8}{'recall':>9}{'precision':>11}")
    results = {group: score(*parts) for group, parts in groups.items()}
    for group in ("overall", "day", "night", "dock", "lot", "gate"):
        if group in results:
            print(line(group, results[group]))
            if group == "overall":
                for label, part in results[group].by_label.items():
                    print(line(f"  {label}", part))
    print(f"{detector.spent / max(1, count) * 1000:.1f} ms a frame in session.run, one thread")


if __name__ == "__main__":
    main()
