"""Videos that stay open between the spans that are read of them, so that each frame is decoded once.

To begin at a frame, what lies before it is decoded and thrown away: seeking is not exact for every file, and whoever
reads a span, from wherever, must see the same frames.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from meshinfer.errors import MediaError
from meshinfer.media.sampling import is_sampled
from meshinfer.model.job import Sample

# OpenCV reads these when its decoder is first used. A damaged file is reported once, by us, not line by line to stderr;
# and a playlist that poses as a video must not make the decoder fetch from the network.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Image = NDArray[np.uint8]
"""Height x width x 3, BGR."""

KEPT: Final = 4
"""Videos open at a time: as many jobs whose spans alternate read on. A 4K decoder holds some 200 MB."""
_WHOLE = 0.9
"""A video that ends before this part of the frames its container promises was cut off. (The promise is an estimate.)"""


@dataclass(frozen=True, slots=True)
class Frame:
    index: int
    """From 0, in the order they are shown."""
    t: float
    """Seconds from the start of the video."""
    image: Image


class Version(NamedTuple):
    """Which bytes lay under a path."""

    path: Path
    device: int
    inode: int
    size: int
    modified: int


class Video:
    """An open video, and how far it has been read. Its frames are numbered and timed as from its start."""

    def __init__(self, path: Path) -> None:
        """Raises MediaError for what cannot be opened."""
        self.version = version_of(path)
        self.next = 0
        """Index of the frame that comes next."""
        self._capture = _capture(path)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._step = 1 / fps if 0 < fps < 1000 else 0.04
        self._t, self._before = -self._step, -self._step
        self._is_over = False
        self._failure = ""

    def close(self) -> None:
        self._capture.release()

    def skip(self, first: int, halt: Callable[[], bool]) -> None:
        """Go on until frame `first` is the next one; `halt` is asked before each, as it may take long."""
        while self.next < first and not halt() and self._grab():
            pass

    def frames(self, sample: Sample, stop: int | None, halt: Callable[[], bool]) -> Iterator[Frame]:
        """The frames before `stop` that `sample` takes, from the next one on."""
        while (stop is None or self.next < stop) and not halt() and self._grab():
            index = self.next - 1
            if is_sampled(sample, index, self._t, self._before) and (image := self._retrieve()) is not None:
                yield Frame(index, self._t, image)

    def shortfall(self) -> str:
        """Why it ended sooner than it should have, or "". Raises MediaError where it had no frame at all."""
        if not self._is_over:
            return ""
        if self.next == 0:
            raise MediaError(f"{self.version.path.name}: no frame in it can be decoded")
        promised = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if not self._failure and self.next < _WHOLE * promised:
            return f"only {self.next} of {promised} frames can be decoded: the file is cut off or damaged"
        return self._failure

    def _grab(self) -> bool:
        try:
            if self._is_over or not self._capture.grab():
                self._is_over = True
                return False
        except cv2.error as e:
            self._fail(e)
            return False
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        # Some containers have no time stamps: time must still go on.
        goes_on = stamp > self._t and (stamp > 0 or self.next == 0)
        self._before, self._t = self._t, stamp if goes_on else self._t + self._step
        self.next += 1
        return True

    def _retrieve(self) -> Image | None:
        try:
            ok, image = self._capture.retrieve()
        except cv2.error as e:
            self._fail(e)
            return None
        return image if ok else None

    def _fail(self, error: cv2.error) -> None:
        self._is_over, self._failure = True, f"the decoder failed after frame {self.next}: {error.err}"


class Footage(Protocol):
    """What stays open between spans."""

    version: Version
    next: int

    def __init__(self, path: Path) -> None: ...

    def close(self) -> None: ...


F = TypeVar("F", bound=Footage)


class Videos:
    """The videos (and series) that were read last, open still. For one thread at a time."""

    def __init__(self) -> None:
        self._kept: list[Footage] = []
        """The longest unused first."""

    def take(self, path: Path, first: int, kind: type[F]) -> F:
        """One that can be read from frame `first` on, the least way before it. Raises MediaError.

        `kind`: the class that opens it, `Video` or `media.series.Series`.
        """
        version = version_of(path)
        fit = [
            video
            for video in self._kept
            if isinstance(video, kind) and video.version == version and video.next <= first
        ]
        if not fit:
            return kind(path)
        video = max(fit, key=lambda video: video.next)
        self._kept.remove(video)
        return video

    def put(self, video: Footage) -> None:
        self._kept.append(video)
        while len(self._kept) > KEPT:
            self._kept.pop(0).close()

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        while self._kept:
            self._kept.pop().close()


def open_file(path: Path) -> BinaryIO:
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


def version_of(path: Path) -> Version:
    with open_file(path) as file:
        status = os.fstat(file.fileno())
    return Version(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _capture(path: Path) -> cv2.VideoCapture:
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
