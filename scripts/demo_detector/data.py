"""Training frames: drawn scenes as they look after they were a video.

Seeds: training 100000 and up; 900000 and up to choose recipe and threshold by; the bench and the detector's test
950000 and up; the demo's own footage 1 to 999. They never meet.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.demo.motion import PERIOD
from meshinfer.demo.truth import LABELS, Truth
from meshinfer.demo.world import Scene

FIRST_SEED: Final = 100_000
SEGMENTS: Final = 4
LENGTH: Final = 5
KEPT: Final = (1, 4)
SIZE: Final = (320, 180)
"""What the letterbox leaves of a 640 x 360 frame in the 320 x 192 input."""

Frames = NDArray[np.uint8]
Boxes = NDArray[np.float32]


def boxes(truths: list[Truth]) -> Boxes:
    """Rows (class, x0, y0, x1, y1, counted) in pixels of the frame."""
    rows = [(LABELS.index(truth.label), *truth.box, truth.counted) for truth in truths if truth.visible > 0.05]
    return np.array(rows, dtype=np.float32).reshape(-1, 6)


def through_video(frames: Iterable[NDArray[np.uint8]], fps: float = 10.0) -> list[NDArray[np.uint8]]:
    """`frames` written as mp4v and read back: the blocks and the blur that a detector of footage sees."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "clip.mp4")
        writer: cv2.VideoWriter | None = None
        for frame in frames:
            if writer is None:
                code = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(path, code, fps, (frame.shape[1], frame.shape[0]))
            writer.write(frame)
        if writer is not None:
            writer.release()
        reader = cv2.VideoCapture(path)
        back = []
        while (read := reader.read())[0]:
            back.append(np.asarray(read[1], dtype=np.uint8))
        reader.release()
    return back


def scene_frames(seed: int) -> tuple[list[NDArray[np.uint8]], list[Boxes]]:
    """A few moments of one scene (odd seeds by night), each after some frames of its own movement."""
    scene = Scene(seed, night=bool(seed % 2))
    rng = np.random.default_rng(seed)
    starts = (np.arange(SEGMENTS) + rng.uniform(0.0, 0.9, SEGMENTS)) * PERIOD / SEGMENTS
    drawn = [scene.frame(float(start + step / 10.0)) for start in starts for step in range(LENGTH)]
    kept = [part * LENGTH + step for part in range(SEGMENTS) for step in KEPT]
    decoded = through_video(frame for frame, _ in drawn)
    return [decoded[index] for index in kept], [boxes(drawn[index][1]) for index in kept]


def draw(seeds: Iterable[int]) -> tuple[Frames, list[Boxes]]:
    """Frames [N, 180, 320, 3] BGR and their boxes, both at the input's scale."""
    pictures: list[Frames] = []
    labels: list[Boxes] = []
    for seed in seeds:
        frames, rows = scene_frames(seed)
        for frame, row in zip(frames, rows, strict=True):
            pictures.append(np.asarray(cv2.resize(frame, SIZE, interpolation=cv2.INTER_LINEAR), dtype=np.uint8))
            row[:, 1:5] *= SIZE[0] / frame.shape[1]
            labels.append(row)
    return np.stack(pictures), labels
