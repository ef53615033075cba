"""What a file holds: size, frames, duration, capture time. Its first frame must decode; what it claims is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import cv2

import meshinfer.media.frames  # noqa: F401  (it sets the decoder up: silent, and without network)
from meshinfer.errors import MediaError
from meshinfer.media import captured
from meshinfer.media.picture import read_header
from meshinfer.media.series import survey
from meshinfer.model.catalog import Kind

MAX_SIDE: Final = 65535
MAX_PIXELS: Final = 1 << 27
"""Of one frame: 400 MB once decoded, more than any camera gives."""
MAX_IMAGE_BYTES: Final = 1 << 29
MAX_FRAMES: Final = 1 << 40
MAX_FPS: Final = 1000.0

_OPEN: Final = (
    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
    10_000,
    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
    10_000,
    # One frame is decoded: starting a thread per core for it costs more than it gains.
    cv2.CAP_PROP_N_THREADS,
    1,
)


class Probed(NamedTuple):
    """As the fields of `model.catalog.Entry`."""

    width: int
    height: int
    frames: int
    fps: float
    duration: float
    captured: float | None


def probe(path: Path, kind: Kind, name: str, check: Callable[[], object] = lambda: None) -> Probed:
    """Blocks. `name` is the entry's: it may hold the capture time. `check` is called now and then where it takes long.

    Raises MediaError with the reason, OSError, and what `check` raises.
    """
    try:
        if kind == "series":
            found = survey(path, check)
            at = found.captured or captured.from_name(name)
            return Probed(1, found.channels, found.samples, found.rate, found.seconds, at)
        return _probe_image(path, name) if kind == "image" else _probe_video(path, name)
    except cv2.error as e:
        raise MediaError(f"the decoder failed: {str(e.err)[:200]}") from None


def _probe_image(path: Path, name: str) -> Probed:
    if path.stat().st_size > MAX_IMAGE_BYTES:
        raise MediaError(f"too big for an image (over {MAX_IMAGE_BYTES >> 20} MiB)")
    header = read_header(path.read_bytes())
    _check_size(header.width, header.height)
    if not header.whole:
        raise MediaError("cut off or damaged: the end of the image is missing")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise MediaError("no image that can be decoded")
    height, width = image.shape[:2]
    _check_size(width, height)
    return Probed(width, height, 1, 0.0, 0.0, captured.from_exif(header.exif) or captured.from_name(name))


def _probe_video(path: Path, name: str) -> Probed:
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, _OPEN)
    try:
        if not capture.isOpened():
            raise MediaError("no video that can be decoded: damaged, cut off before its index, or of an unknown codec")
        _check_size(*(int(_number(capture.get(p))) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)))
        ok, image = capture.read()
        if not ok or image is None:
            raise MediaError("its first frame cannot be decoded")
        height, width = image.shape[:2]
        fps = _number(capture.get(cv2.CAP_PROP_FPS))
        frames = int(_number(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        capture.release()
    fps = fps if fps <= MAX_FPS else 0.0
    frames = frames if frames <= MAX_FRAMES else 0
    duration = frames / fps if fps else 0.0
    with path.open("rb") as file:
        at = captured.from_mp4(file, path.stat().st_size)
    return Probed(width, height, frames, fps, duration, at or captured.from_name(name))


def _number(value: float) -> float:
    """What a container claims, or 0 where it is no number."""
    return value if math.isfinite(value) and value > 0 else 0.0


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise MediaError(f"{width}x{height} pixels are more than this peer decodes")
