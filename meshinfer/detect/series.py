"""Models that look at series: a window of samples in, a score or classes out, each a detection of the whole window.

The input is float [1, channels, samples], [1, samples, channels] or, of one channel, [1, samples]. What the output is,
its shape tells; the sidecar's table `[series]` decides (docs/SERIES.md).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.card import ModelCard
from meshinfer.detect.detector import Detector, Worker
from meshinfer.detect.names import clean, read_names
from meshinfer.detect.onnx import DTYPES, Input, Session
from meshinfer.detect.sidecar import Sidecar
from meshinfer.errors import ModelError
from meshinfer.model.detection import MAX_DETECTIONS, Detection
from meshinfer.model.ids import ModelDigest
from meshinfer.model.job import Detect
from meshinfer.model.series import MAX_CHANNELS, MAX_VALUES, MAX_WINDOW, Output, SeriesInput, SeriesTable

_MAX_CLASSES = 10_000
_SLACK = 1e-3
"""By how much a class score may leave 0..1: half floats round."""

Values = NDArray[np.float64]


class _Input(NamedTuple):
    channels: int
    window: int
    order: Literal["channels", "samples", "flat"]
    """Which dimension comes first, after the batch."""

    @property
    def shape(self) -> tuple[int, ...]:
        return {
            "channels": (1, self.channels, self.window),
            "samples": (1, self.window, self.channels),
            "flat": (1, self.window),
        }[self.order]


class SeriesDetector(Detector):
    """A loaded model that looks at series."""

    series: SeriesInput

    def __init__(self, card: ModelCard, session: Session, table: SeriesTable, takes: _Input, output: _Output) -> None:
        self.card = card
        self._session, self._table, self._takes, self._output = session, table, takes, output
        window = takes.window + output.ahead
        self.series = SeriesInput(window, table.hop or window, takes.channels, table.channels, table.rate or 0.0)

    def worker(self, detect: Detect, max_detections: int = MAX_DETECTIONS) -> SeriesWorker:
        """Raises ModelError for class names the model does not know."""
        if wrong := self.unknown_classes(detect.classes):
            raise ModelError(wrong)
        return SeriesWorker(self.card, self._session, self._table, self._takes, self._output, detect, max_detections)


class SeriesWorker(Worker):
    """Windows to detections. It keeps nothing between calls."""

    def __init__(
        self,
        card: ModelCard,
        session: Session,
        table: SeriesTable,
        takes: _Input,
        output: _Output,
        detect: Detect,
        max_detections: int,
    ) -> None:
        self._session, self._table, self._takes, self._output = session, table, takes, output
        self._detect, self._limit, self._names = detect, min(max_detections, MAX_DETECTIONS), card.classes
        self._input = session.inputs[0]
        self._mean = np.array(table.mean or (0.0,))[:, None]
        self._std = np.array(table.std or (1.0,))[:, None]

    def __call__(self, image: NDArray[Any]) -> tuple[Detection, ...]:
        """The detections in a window [channels, samples], best first. Raises ModelError.

        Their box is the window: 0, 0, its samples, its channels.
        """
        takes, form = self._takes, DTYPES[self._input.type]
        with np.errstate(all="ignore"):  # whatever overflows becomes NaN or infinite: no finding, or a sure one
            seen = (image - self._mean) / self._std
            part = seen[:, : takes.window]
            blob = (part.T if takes.order == "samples" else part).reshape(takes.shape)
            (out,) = self._session.run({self._input.name: np.ascontiguousarray(blob, form)})
            if out.size != self._output.size:
                raise ModelError(f"puts out {out.size} values, and put out {self._output.size} when it was loaded")
            scores = self._scores(out.astype(np.float64), seen)
        order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= self._detect.min_score]
        box = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
        wanted = self._detect.classes
        found = [Detection(self._names[i], round(float(scores[i]), 4), box) for i in order]
        return tuple(d for d in found if not wanted or d.label in wanted)[: self._limit]

    def _scores(self, out: Values, seen: Values) -> Values:
        """0..1, one for each class."""
        if self._output.kind == "classes":
            return self._classes(out.reshape(-1))
        raw = float(out.reshape(-1)[0])
        if self._output.kind != "score":
            first = self._takes.window if self._output.kind == "forecast" else 0
            real = seen[:, first : first + out.size // len(seen)]
            made = out.reshape(-1, len(seen)).T if self._takes.order == "samples" else out.reshape(len(seen), -1)
            raw = float(np.mean((made - real) ** 2))
        score = np.clip(raw / self._table.scale, 0, 1)
        return np.array([0.0 if np.isnan(score) else score])  # a broken model may put out NaN: that is no finding

    def _classes(self, out: Values) -> Values:
        if self._table.activation == "softmax":
            grown = np.exp(out - out.max())
            out = grown / grown.sum()
        elif self._table.activation == "sigmoid":
            out = 1 / (1 + np.exp(-np.clip(out, -500, 500)))
        elif ((out < -_SLACK) | (out > 1 + _SLACK)).any():
            worst = float(out[np.nanargmax(np.abs(out))])
            raise ModelError(
                f"puts out {worst:.4g} where a class score from 0 to 1 was expected: write activation = "
                '"softmax" (or "sigmoid") in [series] of its sidecar'
            )
        return np.where(np.isnan(out), 0.0, np.clip(out, 0, 1))


class _Output(NamedTuple):
    kind: Output
    size: int
    """Values it puts out."""
    ahead: int
    """Samples that a forecast is of, behind those that it was made from."""
    classes: tuple[str, ...]


def load_series(
    session: Session, sidecar: Sidecar, name: str, version: str, digest: ModelDigest, licence: str, size: int
) -> Detector:
    """Tell what a model takes and puts out by one run over silence. Raises ModelError."""
    table = sidecar.series or SeriesTable()
    takes = _takes(session, table)
    for key, given in (("mean", table.mean), ("std", table.std), ("channels", table.channels)):
        if given and len(given) != takes.channels:
            raise ModelError(f"its sidecar gives {len(given)} values of `{key}` for {takes.channels} channels")
    source = session.inputs[0]
    outs = session.run({source.name: np.zeros(takes.shape, DTYPES[source.type])})
    names = sidecar.names or read_names(session.metadata.get("names", ""))
    output = _output(outs, source, takes, table, tuple(map(clean, names or ())))
    notices = []
    if not table.rate:
        notices.append("says no rate, so series of any are given to it: write `rate` in [series] of its sidecar")
    if output.kind != "classes" and table.scale == 1:
        notices.append("its score counts as it is, 1 at most: write `scale` in [series] of its sidecar")
    card = ModelCard(
        name=name,
        version=version,
        digest=digest,
        layout=f"series-{output.kind}",
        width=takes.window + output.ahead,
        height=takes.channels,
        classes=output.classes,
        bytes=size,
        licence=licence,
        notices=tuple(notices),
    )
    return SeriesDetector(card, session, table, takes, output)


def _takes(session: Session, table: SeriesTable) -> _Input:
    shown = ", ".join(map(_shown, session.inputs))
    shape = session.inputs[0].shape if session.inputs else ()
    if (
        len(session.inputs) != 1
        or session.inputs[0].type not in DTYPES
        or len(shape) not in (2, 3)
        or shape[0] not in (1, None)
    ):
        raise ModelError(
            f"its input is {shown}; what looks at series takes one float [1, channels, samples], [1, samples, "
            "channels] or [1, samples]"
        )
    if len(shape) == 2:
        return _Input(1, _window(shape[1], table, shown), "flat")
    first, second = shape[1:]
    count = len(table.channels) or _fewer(first, second, shown)
    if count == first or (first is None and count != second):
        takes = _Input(count, _window(second, table, shown), "channels")
    elif second in (count, None):
        takes = _Input(count, _window(first, table, shown), "samples")
    else:
        raise ModelError(f"its sidecar names {count} channels, and its input is {shown}")
    if takes.channels > MAX_CHANNELS or takes.channels * takes.window > MAX_VALUES:
        raise ModelError(f"takes windows of {takes.channels} x {takes.window} values: more than are given to a model")
    return takes


def _shown(source: Input) -> str:
    return f"{source.name} {source.type} {[d or '?' for d in source.shape]}"


def _fewer(first: int | None, second: int | None, shown: str) -> int:
    """The channels of an unnamed input: there are fewer of them than samples."""
    known = [d for d in (first, second) if d is not None and d <= MAX_CHANNELS]
    if not known:
        raise ModelError(
            f"its input is {shown}, which leaves open how many channels it takes: name them in "
            '[series]; or, if it looks at pictures, write its layout in the sidecar, e.g. layout = "torchvision"'
        )
    return min(known)


def _window(fixed: int | None, table: SeriesTable, shown: str) -> int:
    window = fixed or table.window
    if window is None:
        raise ModelError(f"its input is {shown}: say how long its windows are, e.g. window = 1024, in [series]")
    if table.window not in (None, window):
        raise ModelError(f"its sidecar says window = {table.window}, and its input is {shown}")
    if not 2 <= window <= MAX_WINDOW:
        raise ModelError(f"takes windows of {window} samples; 2 to {MAX_WINDOW} can be run")
    return window


def _output(
    outs: list[NDArray[Any]], source: Input, takes: _Input, table: SeriesTable, names: tuple[str, ...]
) -> _Output:
    shapes = ", ".join(str(list(o.shape)) for o in outs)
    kind = table.output
    if len(outs) == 1:
        (out,) = outs
        ahead = out.size // takes.channels
        if kind is None:
            kind = "score" if out.size == 1 else "reconstruction" if out.shape == takes.shape else None
            if kind is None and out.shape in ((1, out.size), (out.size,)):
                kind = "classes"
        if kind == "score" and out.size == 1:
            return _Output("score", 1, 0, (table.label,))
        if kind == "reconstruction" and out.size == takes.channels * takes.window:
            return _Output("reconstruction", out.size, 0, (table.label,))
        if kind == "forecast" and out.size % takes.channels == 0 and 1 <= ahead <= MAX_WINDOW - takes.window:
            return _Output("forecast", out.size, ahead, (table.label,))
        if kind == "classes" and 1 <= out.size <= _MAX_CLASSES:
            given = names if len(names) == out.size else tuple(f"class{i}" for i in range(out.size))
            return _Output("classes", out.size, 0, given)
    said = f"its sidecar says output = {table.output!r}, but " if table.output else ""
    raise ModelError(
        f"{said}its input is {_shown(source)}, a window of a series, and it makes {shapes}. What looks at series puts "
        'out one of: a score, the window anew (output = "reconstruction"), samples that follow it ("forecast"), or a '
        'score for each class ("classes"); say which in [series] of its sidecar'
    )
