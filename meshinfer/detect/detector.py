"""A model file as a detector: loaded once, shared by threads, each of which has a `Worker` of its own."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from meshinfer.detect.card import ModelCard
from meshinfer.detect.layouts import Layout, choose
from meshinfer.detect.layouts.layout import Candidates
from meshinfer.detect.names import clean, name_classes, read_names
from meshinfer.detect.onnx import Session
from meshinfer.detect.picture import PictureModel
from meshinfer.detect.preprocess import Canvas, Image, Recipe, snug
from meshinfer.detect.sidecar import read_sidecar, sidecar_bytes
from meshinfer.detect.suppress import best_first, suppress
from meshinfer.detect.wellknown import licence_of
from meshinfer.errors import ModelError
from meshinfer.model.bundle import MAX_MODEL_BYTES, model_digest
from meshinfer.model.detection import MAX_DETECTIONS, Detection
from meshinfer.model.ids import ModelDigest
from meshinfer.model.job import Detect
from meshinfer.model.series import SeriesInput
from meshinfer.model.typed import no_such_class


class View(NamedTuple):
    """How frames of one size are looked at."""

    width: int
    height: int
    """Of the model's input."""
    layout: Layout


class Detector:
    """A loaded model and how to feed and read it. May be used from many threads."""

    series: SeriesInput | None = None
    """What it wants where it looks at series (`detect/series.py`); None: it looks at pictures."""

    def __init__(self, card: ModelCard, model: PictureModel, layout: Layout, recipe: Recipe) -> None:
        self.card, self.model, self.recipe = card, model, recipe
        self._whole = View(card.width, card.height, layout)
        self._views: dict[tuple[int, int], View] = {(card.width, card.height): self._whole}
        self._lock = threading.Lock()

    def unknown_classes(self, names: Iterable[str]) -> str:
        """What is wrong with these class names: a sentence, or "" where the model knows them all."""
        wrong = [name for name in names if name not in self.card.classes]
        return no_such_class(self.card.reference, wrong[0], self.card.classes) if wrong else ""

    def worker(self, detect: Detect, max_detections: int = MAX_DETECTIONS) -> Worker:
        """Buffers for one thread. Raises ModelError for class names the model does not know."""
        if wrong := self.unknown_classes(detect.classes):
            raise ModelError(wrong)
        return Worker(self, detect, max_detections)

    def view(self, width: int, height: int) -> View:
        """For frames of this size. It depends on file and size alone, so that all peers get the same boxes."""
        if not self.card.rectangular:
            return self._whole
        size = snug(width, height, self.card.width, self.card.height)
        with self._lock:  # at most one view per multiple of 32 in either direction
            if size not in self._views:
                layout = self.model.at(*size, self._whole.layout)
                self._views[size] = View(*size, layout) if layout else self._whole
            return self._views[size]


class Worker:
    """Frames to detections, for one thread: its buffers are overwritten by every call."""

    def __init__(self, detector: Detector, detect: Detect, max_detections: int) -> None:
        self._detector, self._detect = detector, detect
        self._limit = min(max_detections, MAX_DETECTIONS)
        self._names = detector.card.classes
        self._wanted = np.array([not detect.classes or name in detect.classes for name in self._names])
        self._frame: tuple[int, ...] = ()
        self._canvas: Canvas | None = None

    def __call__(self, image: Image) -> tuple[Detection, ...]:
        """The detections in a BGR frame, best first; boxes in its pixels. Raises ModelError."""
        if self._canvas is None or image.shape != self._frame:
            self._canvas = self._prepare(image)
        placement = self._canvas.draw(image)
        outputs = self._detector.model.run(self._feeds)
        self._layout.check(outputs)
        with np.errstate(all="ignore"):
            found = self._layout.decode(outputs, self._detect.min_score)
        if self._detect.classes:
            found = found.take(self._wanted[found.labels])
        # A hostile or broken model may put out anything: NaN and infinity are in no picture, nor is a box without area.
        (x0, y0, x1, y1), finite = found.boxes.T, np.isfinite(found.boxes).all(axis=1)
        sound = np.flatnonzero(finite & (x0 < x1) & (y0 < y1))
        if len(sound) < len(found.boxes):
            found = found.take(sound)
        found = self._without_overlaps(found)
        boxes = placement.to_frame(found.boxes.astype(np.float64))
        scores = np.round(np.clip(found.scores.astype(np.float64), 0, 1), 4)
        return tuple(
            Detection(self._names[label], score, (x0, y0, x1, y1))
            for label, score, (x0, y0, x1, y1) in zip(
                found.labels.tolist(), scores.tolist(), boxes.tolist(), strict=True
            )
            if x0 < x1 and y0 < y1  # what lies in the padding has no area left
        )

    def _prepare(self, image: Image) -> Canvas:
        """For frames of another size: frames of one video all have the same."""
        feed = self._detector.model.feed
        width, height, self._layout = self._detector.view(image.shape[1], image.shape[0])
        self._frame = image.shape
        canvas = self._canvas
        if canvas is None or canvas.size != (width, height):
            canvas = Canvas(width, height, self._detector.recipe, feed.dtype, feed.channels_last)
            self._feeds = feed.feeds(canvas.blob, width, height)
        return canvas

    def _without_overlaps(self, found: Candidates) -> Candidates:
        if self._layout.overlaps:
            return suppress(found, self._detect.iou, self._limit)
        return best_first(found, self._limit)


def load_detector(
    path: Path, *, name: str | None = None, version: str = "", open_session: Callable[[bytes], Session] = Session
) -> Detector:
    """Load a model file, tell its layout by one run over a grey picture, and make its card.

    `open_session` decides what it runs on, and may put a session of its own around the runtime's.

    Raises ModelError: unreadable, no ONNX file, refused, unknown layout, a wrong sidecar.
    """
    try:
        return _load(path, path.stem if name is None else name, version, open_session)
    except ModelError as e:
        raise ModelError(f"{path.name}: {e}") from None


def _load(path: Path, name: str, version: str, open_session: Callable[[bytes], Session]) -> Detector:
    data = _read(path)
    sidecar, sha256 = read_sidecar(path), ModelDigest(hashlib.sha256(data).hexdigest())
    session = open_session(data)
    digest = model_digest(sha256, sidecar_bytes(path))
    licence = sidecar.licence or clean(session.metadata.get("license", "")) or licence_of(sha256)
    if sidecar.series is not None or (sidecar.layout is None and _are_series(session)):
        from meshinfer.detect.series import load_series  # it builds on this module

        return load_series(session, sidecar, name, version, digest, licence, len(data))
    given = sidecar.names or (read_names(session.metadata["names"]) if "names" in session.metadata else None)
    model = PictureModel(session, sidecar, len(given) if given else None)
    with np.errstate(all="ignore"):
        layout = choose(model.probe())
    recipe = model.recipe(layout)
    classes, notices = name_classes(tuple(map(clean, given)) if given else None, layout.classes, layout.usual)
    card = ModelCard(
        name=name,
        version=version,
        digest=digest,
        layout=layout.name,
        width=model.feed.width,
        height=model.feed.height,
        classes=classes,
        bytes=len(data),
        licence=licence,
        notices=model.feed.notices + layout.notices + notices,
        rectangular=model.is_rectangular(layout, recipe),
    )
    return Detector(card, model, layout, recipe)


def _are_series(session: Session) -> bool:
    """Pictures have four dimensions, or three of which the first is their colours."""
    return [len(i.shape) in (2, 3) and i.shape[0] != 3 for i in session.inputs] == [True]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Python takes memory for as much as may be read: no more than the file has.
            data = file.read(min(os.fstat(file.fileno()).st_size, MAX_MODEL_BYTES) + 1)
    except OSError as e:
        raise ModelError(f"cannot be read: {e.strerror}") from None
    if len(data) > MAX_MODEL_BYTES:
        raise ModelError(f"over {MAX_MODEL_BYTES // 2**20} MiB: larger models are refused")
    return data
