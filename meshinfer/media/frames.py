"""Frames out of the files that lie here, by one decoder (OpenCV's): the same each time, from wherever one begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from meshinfer.errors import MediaError
from meshinfer.media.picture import read_header
from meshinfer.media.video import Frame, Image, Video, Videos, open_file
from meshinfer.model.catalog import Kind
from meshinfer.model.job import Sample

__all__ = ["Frame", "Frames", "Image", "Videos", "decode_image", "open_frames", "read_frame"]

_MAX_IMAGE_BYTES = 256 * 1024 * 1024
_MAX_PIXELS = 1 << 27
"""400 MB once decoded: more than any camera gives."""


def _never() -> bool:
    return False


class Frames:
    """The analysed frames of one span, in order: a context manager and an iterator."""

    def __init__(
        self,
        path: Path,
        kind: Kind,
        sample: Sample,
        first: int,
        stop: int | None,
        most: int | None,
        halt: Callable[[], bool],
        videos: Videos | None,
    ) -> None:
        self._path, self._kind, self._sample = path, kind, sample
        self._first, self._stop, self._most, self._halt = first, stop, most, halt
        self._videos = videos
        self._video: Video | None = None
        self.truncated = ""
        """After the last frame: why the file gave fewer than it should have, or ""."""

    def __enter__(self) -> Frames:
        if self._kind == "video":
            video = Video(self._path) if self._videos is None else self._videos.take(self._path, self._first, Video)
            video.skip(self._first, self._halt)
            self._video = video
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is None:
            return
        if self._videos is None or error is not None:
            self._video.close()
        else:
            self._videos.put(self._video)

    def __iter__(self) -> Iterator[Frame]:
        """Raises MediaError for a file that gives no frame at all."""
        if self._most == 0:
            return
        frames = self._image() if self._video is None else self._span(self._video)
        for given, frame in enumerate(frames, start=1):
            yield frame
            if given == self._most:
                return

    def _image(self) -> Iterator[Frame]:
        if self._first == 0:
            yield Frame(0, 0.0, _read_image(self._path))

    def _span(self, video: Video) -> Iterator[Frame]:
        yield from video.frames(self._sample, self._stop, self._halt)
        if not self._halt():
            self.truncated = video.shortfall()


def open_frames(
    path: Path,
    kind: Kind,
    sample: Sample,
    first: int = 0,
    stop: int | None = None,
    *,
    most: int | None = None,
    halt: Callable[[], bool] = _never,
    videos: Videos | None = None,
) -> Frames:
    """The frames in [first, stop) that `sample` takes of the whole file, at most `most` of them. No `stop`: to the end.

    Use as `with open_frames(...) as frames: for frame in frames`. Entering goes to `first`, which may take as long as
    decoding what lies before, but for what one of `videos` has passed already; it raises MediaError for what cannot be
    opened. A video that is cut off gives what can be decoded and ends; `truncated` then says so. `halt` is asked before
    each frame that is decoded; once it says so, the iteration ends.
    """
    return Frames(path, kind, sample, first, stop, most, halt, videos)


def read_frame(path: Path, kind: Kind, index: int, *, videos: Videos | None = None) -> Image:
    """One frame. Raises MediaError where the file has no such frame, and for a series, which is no picture."""
    if kind == "series":
        raise MediaError(f"{path.name}: is a series")
    with open_frames(path, kind, Sample(), index, index + 1, videos=videos) as frames:
        for frame in frames:
            return frame.image
    raise MediaError(f"{path.name}: has no frame {index}")


def _read_image(path: Path) -> Image:
    with open_file(path) as file:
        data = file.read(_MAX_IMAGE_BYTES + 1)
    if len(data) > _MAX_IMAGE_BYTES:
        raise MediaError(f"{path.name}: over {_MAX_IMAGE_BYTES // 2**20} MiB: larger images are not read")
    return decode_image(data, path.name)


def decode_image(data: bytes, name: str) -> Image:
    """The pixels of an image file's bytes, turned upright. Raises MediaError that begins with `name`."""
    header = read_header(data)
    if not header.whole:
        raise MediaError(f"{name}: no image that can be decoded: its end is missing or damaged")
    if header.width * header.height > _MAX_PIXELS:
        raise MediaError(f"{name}: {header.width}x{header.height} pixels: larger images are not read")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as e:
        if "MAX_IMAGE_PIXELS" in e.err:
            raise MediaError(f"{name}: over {_MAX_PIXELS} pixels: larger images are not read") from None
        raise MediaError(f"{name}: cannot be read as an image: {e.err}") from None
    if image is None:
        raise MediaError(f"{name}: no image that can be decoded (damaged, cut off, or not an image)")
    pixels: Image = image
    return pixels
