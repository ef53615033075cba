"""Frames out of the files that lie here, by one decoder (OpenCV's) and always from the start: the same each time."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.errors import MediaError
from meshinfer.media.picture import read_header
from meshinfer.media.sampling import is_sampled
from meshinfer.model.catalog import Kind
from meshinfer.model.job import Sample

# OpenCV reads these when its decoder is first used. A damaged file is reported once, by us, not line by line to stderr;
# and a playlist that poses as a video must not make the decoder fetch from the network.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Image = NDArray[np.uint8]
"""Height x width x 3, BGR."""

_MAX_IMAGE_BYTES = 256 * 1024 * 1024
_MAX_PIXELS = 1 << 27
"""400 MB once decoded: more than any camera gives."""
_WHOLE = 0.9
"""A video that ends before this part of the frames its container promises was cut off. (The promise is an estimate.)"""


@dataclass(frozen=True, slots=True)
class Frame:
    index: int
    """From 0, in the order they are shown."""
    t: float
    """Seconds from the start of the video."""
    image: Image


def _never() -> bool:
    return False


class Frames:
    """The analysed frames of one file, in order: a context manager and an iterator."""

    def __init__(
        self,
        path: Path,
        kind: Kind,
        sample: Sample,
        start: int = 0,
        max_frames: int | None = None,
        stop: Callable[[], bool] = _never,
    ) -> None:
        self._path, self._kind, self._sample = path, kind, sample
        self._start, self._max, self._stop = start, max_frames, stop
        self._capture: cv2.VideoCapture | None = None
        self.truncated = ""
        """After the last frame: why the file gave fewer than it should have, or ""."""

    def __enter__(self) -> Frames:
        if self._kind == "video":
            self._capture = _open_video(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._capture is not None:
            self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Raises MediaError for a file that gives no frame at all."""
        frames = self._image() if self._capture is None else self._video(self._capture)
        for given, frame in enumerate(frames, start=1):
            yield frame
            if given == self._max:
                return

    def _image(self) -> Iterator[Frame]:
        if self._start == 0:
            yield Frame(0, 0.0, _read_image(self._path))

    def _video(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        if self._max == 0:
            return
        fps = capture.get(cv2.CAP_PROP_FPS)
        step = 1 / fps if 0 < fps < 1000 else 0.04
        index, before = 0, -step
        try:
            while not self._stop() and capture.grab():
                stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                # Some containers have no time stamps: time must still go on.
                t = stamp if stamp > before and (stamp > 0 or index == 0) else before + step
                if index >= self._start and is_sampled(self._sample, index, t, before):
                    ok, image = capture.retrieve()
                    if ok:
                        yield Frame(index, t, image)
                index, before = index + 1, t
        except cv2.error as e:
            self.truncated = f"the decoder failed after frame {index}: {e.err}"
        if self._stop():
            return
        if index == 0:
            raise MediaError(f"{self._path.name}: no frame in it can be decoded")
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if not self.truncated and index < _WHOLE * promised:
            self.truncated = f"only {index} of {promised} frames can be decoded: the file is cut off or damaged"


def open_frames(
    path: Path,
    kind: Kind,
    sample: Sample,
    start: int = 0,
    max_frames: int | None = None,
    stop: Callable[[], bool] = _never,
) -> Frames:
    """The frames that `sample` takes, from frame `start` on, at most `max_frames` of them.

    Use as `with open_frames(...) as frames: for frame in frames`. Entering raises MediaError for what cannot be opened.
    A video that is cut off gives what can be decoded and ends; `truncated` then says so. To begin at `start`, what lies
    before is decoded and thrown away: seeking is not exact for every file, and a resumed task must see the same frames.
    As that may take long, `stop` is asked before each frame that is decoded; once it says so, the iteration ends.
    """
    return Frames(path, kind, sample, start, max_frames, stop)


def read_frame(path: Path, kind: Kind, index: int) -> Image:
    """One frame. Raises MediaError where the file has no such frame."""
    with open_frames(path, kind, Sample(), start=index, max_frames=1) as frames:
        for frame in frames:
            return frame.image
    raise MediaError(f"{path.name}: has no frame {index}")


def _open_video(path: Path) -> cv2.VideoCapture:
    _open(path).close()
    try:
        # An absolute path: one with a colon is no URL. Half of the cores: more threads cost a tenth more work in all,
        # and the cores are wanted for inference; one alone can't feed many cores.
        threads = [cv2.CAP_PROP_N_THREADS, max(1, (os.cpu_count() or 1) // 2)]
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, threads)
    except cv2.error as e:
        raise MediaError(f"{path.name}: cannot be opened as a video: {e.err}") from None
    if not capture.isOpened():
        raise MediaError(
            f"{path.name}: no video that can be decoded (damaged, cut off before its index, or not a video)"
        )
    return capture


def _read_image(path: Path) -> Image:
    with _open(path) as file:
        data = file.read(_MAX_IMAGE_BYTES + 1)
    if len(data) > _MAX_IMAGE_BYTES:
        raise MediaError(f"{path.name}: over {_MAX_IMAGE_BYTES // 2**20} MiB: larger images are not read")
    header = read_header(data)
    if not header.whole:
        raise MediaError(f"{path.name}: no image that can be decoded: its end is missing or damaged")
    if header.width * header.height > _MAX_PIXELS:
        raise MediaError(f"{path.name}: {header.width}x{header.height} pixels: larger images are not read")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as e:
        raise MediaError(f"{path.name}: cannot be read as an image: {e.err}") from None
    if image is None:
        raise MediaError(f"{path.name}: no image that can be decoded (damaged, cut off, or not an image)")
    pixels: Image = image
    return pixels


def _open(path: Path) -> BinaryIO:
    """OpenCV says nothing about why a file can't be read; the system does. A pipe is no file: opening it would wait."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"{path.name}: is no file")
        if status.st_size == 0:
            raise MediaError(f"{path.name}: is empty")
        return path.open("rb")
    except OSError as e:
        raise MediaError(f"{path.name}: cannot be read: {e.strerror}") from None
