"""A model in this process, without a mesh: pictures and frames in, detections out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from meshinfer.config import load
from meshinfer.detect.detector import load_detector
from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.shelf import Shelf
from meshinfer.errors import MediaError, ModelError
from meshinfer.home import IDENTITY, default_home
from meshinfer.media.draw import annotate
from meshinfer.media.frames import Frames, Image, open_frames, read_frame
from meshinfer.media.sniff import HEAD, sniff
from meshinfer.media.windows import Windows
from meshinfer.mesh.identity import ephemeral, load_or_create
from meshinfer.model.catalog import Kind
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.job import Detect, Sample
from meshinfer.model.typed import typed
from meshinfer.node.app import open_shelf
from meshinfer.paths import is_file

Picture = str | PathLike[str] | Image


class Detector:
    """An ONNX detector: `Detector("yolox_nano.onnx")("street.jpg")`. Threads may share one.

    `model` is a file, or the name of a model on the shelf of the peer in `home`. `classes`, `min_score` and `iou` mean
    what they mean in job files. Raises ModelError for what is no model that runs, ConfigError for values out of range.
    """

    def __init__(
        self,
        model: str | PathLike[str],
        *,
        home: str | PathLike[str] | None = None,
        classes: Sequence[str] = (),
        min_score: float = 0.25,
        iou: float = 0.6,
    ) -> None:
        path = Path(model).expanduser()
        if is_file(path):
            self._loaded: AnyDetector = load_detector(path)
        else:
            shelf = _shelf(Path(home).expanduser() if home else default_home())
            self._loaded = shelf.get(shelf.find(str(model)).digest)
        wanted = classes if isinstance(classes, str) else list(classes)  # of one name, its letters are no classes
        self._detect = typed({"classes": wanted, "min_score": min_score, "iou": iou}, Detect, where="Detector")
        self._mine = threading.local()
        self._worker()  # wrong classes are found here, not at the first picture

    @property
    def name(self) -> str:
        return self._loaded.card.reference

    @property
    def digest(self) -> str:
        """Names what it computes: the sha256 of its file, or of that and its sidecar (docs/MODELS.md)."""
        return self._loaded.card.digest

    @property
    def classes(self) -> tuple[str, ...]:
        """All that the model knows."""
        return self._loaded.card.classes

    def __call__(self, picture: Picture) -> tuple[Detection, ...]:
        """The detections in a picture: a file, or a BGR array [height, width, 3] of uint8. Best first, boxes xyxy in
        its pixels. Raises MediaError, ModelError.
        """
        if self._loaded.series is not None:
            raise ModelError(f"{self.name} looks at series, not at pictures: use `Detector.frames`, or a job")
        return self._worker()(_pixels(picture))

    def frames(
        self,
        file: str | PathLike[str],
        *,
        every: int | Literal["frame"] = "frame",
        fps: float | None = None,
        rate: float = 0.0,
    ) -> Iterator[FrameResult]:
        """What is seen in the frames of a video (or the one of a picture), or by a model of series in its windows;
        those without detections too. `every` and `fps` sample as in job files; `rate`: samples a second of a series,
        where its file does not say. Raises MediaError, ModelError.
        """
        path, worker = Path(file).expanduser(), self._worker()
        sample = typed({"every": every} | ({} if fps is None else {"fps": fps}), Sample, where="frames")
        series = self._loaded.series
        opened: Frames | Windows
        opened = open_frames(path, _kind(path), sample) if series is None else Windows(path, series, sample, rate=rate)
        with opened as frames:
            for frame in frames:
                image: Any = frame.image  # a worker takes what its model looks at: pictures, or windows
                height, width = image.shape[:2]
                yield FrameResult(frame.index, frame.t, width, height, worker(image))

    def draw(self, picture: Picture, detections: Sequence[Detection] | None = None) -> Image:
        """A copy of the picture with boxes, a BGR array; of what is seen in it, or of the `detections` given."""
        pixels = _pixels(picture)
        return annotate(pixels, self(pixels) if detections is None else detections)

    def _worker(self) -> Callable[[Any], tuple[Detection, ...]]:
        """Of this thread: its buffers are no other's."""
        worker: Callable[[Any], tuple[Detection, ...]] | None = getattr(self._mine, "worker", None)
        if worker is None:
            worker = self._mine.worker = self._loaded.worker(self._detect)
        return worker


def _shelf(home: Path) -> Shelf:
    """Only to read from: a home without a key gets none."""
    key = home / IDENTITY
    return open_shelf(load(home, check_paths=False), load_or_create(key) if key.exists() else ephemeral(), _unsaid)


def _unsaid(text: str) -> None:
    """The node of that home, or `meshinfer models`, says it to its owner."""


def _pixels(picture: Picture) -> Image:
    if isinstance(picture, str | PathLike):
        return read_frame(Path(picture).expanduser(), "image", 0)
    if not isinstance(picture, np.ndarray):
        raise MediaError(f"a picture is a file or a BGR array, not {type(picture).__name__}")
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype.name != "uint8" or not picture.size:
        raise MediaError(f"a picture is a BGR array [height, width, 3] of uint8, not {picture.shape} {picture.dtype}")
    return picture


def _kind(path: Path) -> Kind:
    try:
        with path.open("rb") as file:
            kind = sniff(file.read(HEAD), path.name)
    except OSError as e:
        raise MediaError(f"{path}: cannot be read: {e.strerror}") from None
    if kind is None:
        raise MediaError(f"{path.name}: neither a video nor a picture of a known format")
    return kind
