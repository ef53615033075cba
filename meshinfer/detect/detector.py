"""A model file as a detector: loaded once, shared by threads, each of which has a `Worker` of its own."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from meshinfer.detect.card import ModelCard
from meshinfer.detect.layouts import Layout, Probe, choose
from meshinfer.detect.layouts.layout import Candidates, Floats
from meshinfer.detect.names import clean, name_classes, read_names
from meshinfer.detect.onnx import DTYPES, Input, Session
from meshinfer.detect.preprocess import PADDING, Canvas, Image, Recipe
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

_DEFAULT_SIZE = 640
_SIZES = range(16, 4097)


class Detector:
    """A loaded model and how to feed and read it."""

    series: SeriesInput | None = None
    """What it wants where it looks at series (`detect/series.py`); None: it looks at pictures."""

    def __init__(self, card: ModelCard, session: Session, layout: Layout, recipe: Recipe) -> None:
        self.card = card
        self._session, self._layout, self._recipe = session, layout, recipe

    def unknown_classes(self, names: Iterable[str]) -> str:
        """What is wrong with these class names: a sentence, or "" where the model knows them all."""
        wrong = [name for name in names if name not in self.card.classes]
        return no_such_class(self.card.reference, wrong[0], self.card.classes) if wrong else ""

    def worker(self, detect: Detect, max_detections: int = MAX_DETECTIONS) -> Worker:
        """Buffers for one thread. Raises ModelError for class names the model does not know."""
        if wrong := self.unknown_classes(detect.classes):
            raise ModelError(wrong)
        return Worker(self.card, self._session, self._layout, self._recipe, detect, max_detections)


class Worker:
    """Frames to detections, for one thread: its buffers are overwritten by every call."""

    def __init__(
        self, card: ModelCard, session: Session, layout: Layout, recipe: Recipe, detect: Detect, max_detections: int
    ) -> None:
        self._session, self._layout, self._detect = session, layout, detect
        self._limit = min(max_detections, MAX_DETECTIONS)
        self._names = card.classes
        self._input = session.inputs[0]
        self._canvas = Canvas(card.width, card.height, recipe, DTYPES[self._input.type])
        self._wanted = np.array([not detect.classes or name in detect.classes for name in card.classes])

    def __call__(self, image: Image) -> tuple[Detection, ...]:
        """The detections in a BGR frame, best first; boxes in its pixels. Raises ModelError."""
        placement = self._canvas.draw(image)
        output = _only(self._session.run(self._input.name, self._canvas.blob))
        found = self._layout.decode(output, self._detect.min_score)
        if self._detect.classes:
            found = found.take(self._wanted[found.labels])
        # A hostile or broken model may put out NaN and infinity; they are in no picture.
        finite = np.isfinite(found.boxes).all(axis=1)
        if not finite.all():
            found = found.take(np.flatnonzero(finite))
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
    if sidecar.series is not None or [len(i.shape) in (2, 3) for i in session.inputs] == [True]:
        from meshinfer.detect.series import load_series  # it builds on this module

        return load_series(session, sidecar, name, version, digest, licence, len(data))
    source = _image_input(session)
    width, height, size_notices = _input_size(source, session.metadata)
    dtype = DTYPES[source.type]
    grey = np.full((1, 3, height, width), PADDING / 255, dtype)
    given = sidecar.names or (read_names(session.metadata["names"]) if "names" in session.metadata else None)
    probe = Probe(
        width,
        height,
        tuple(np.asarray(o) for o in session.run(source.name, grey)),
        session.metadata,
        len(given) if given else None,
    )
    layout = choose(probe, sidecar.layout)
    classes, notices = name_classes(tuple(map(clean, given)) if given else None, layout.classes)
    card = ModelCard(
        name=name,
        version=version,
        digest=digest,
        layout=layout.name,
        width=width,
        height=height,
        classes=classes,
        bytes=len(data),
        licence=licence,
        notices=size_notices + notices,
    )
    return Detector(card, session, layout, layout.recipe.overridden(sidecar))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MODEL_BYTES + 1)
    except OSError as e:
        raise ModelError(f"cannot be read: {e.strerror}") from None
    if len(data) > MAX_MODEL_BYTES:
        raise ModelError(f"over {MAX_MODEL_BYTES // 2**20} MiB: larger models are refused")
    return data


def _image_input(session: Session) -> Input:
    inputs = ", ".join(f"{i.name} {i.type} {[d or '?' for d in i.shape]}" for i in session.inputs)
    if len(session.inputs) != 1:
        raise ModelError(f"wants {len(session.inputs)} inputs ({inputs}); the layouts that run take one picture")
    (source,) = session.inputs
    shape = source.shape
    if source.type not in DTYPES or len(shape) != 4 or shape[0] not in (1, None) or shape[1] not in (3, None):
        raise ModelError(f"its input is {inputs}; the layouts that run take one picture: float [1, 3, height, width]")
    return source


def _input_size(source: Input, metadata: dict[str, str]) -> tuple[int, int, tuple[str, ...]]:
    """Width, height, and a notice where the file leaves them open."""
    height, width = source.shape[2:]
    notices: tuple[str, ...] = ()
    if height is None or width is None:
        exported = _imgsz(metadata.get("imgsz", ""))
        height, width = (height or exported[0], width or exported[1]) if exported else (_DEFAULT_SIZE, _DEFAULT_SIZE)
        if not exported:
            notices = (f"takes pictures of any size: run at {width}x{height}",)
    if height not in _SIZES or width not in _SIZES:
        raise ModelError(f"wants pictures of {width}x{height}; {_SIZES[0]} to {_SIZES[-1]} pixels can be run")
    return width, height, notices


def _imgsz(text: str) -> tuple[int, int] | None:
    """Height and width out of Ultralytics metadata, `[640, 640]`."""
    try:
        value = ast.literal_eval(text) if len(text) < 64 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    match value:
        case [int(height), int(width)]:
            return height, width
    return None


def _only(outputs: list[Floats]) -> Floats:
    (output,) = outputs
    return output if output.dtype == np.float32 else output.astype(np.float32)
