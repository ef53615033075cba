"""Small videos and images for tests, whose frames tell their number by their brightness."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIZE = (64, 64)


def grey(number: int) -> int:
    return 20 + (7 * number) % 220


def write_video(path: Path, frames: int, fps: float = 10, codec: str = "FFV1") -> Path:
    """FFV1 loses nothing, so that a frame is known by its pixels."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, SIZE)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((SIZE[1], SIZE[0], 3), grey(number), np.uint8))
    writer.release()
    return path


def write_image(path: Path, level: int = 200) -> Path:
    assert cv2.imwrite(str(path), np.full((SIZE[1], SIZE[0], 3), level, np.uint8))
    return path
