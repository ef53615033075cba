"""Windows of a series, as `media/frames.py` gives the frames of a video.

Rules
 1. Windows begin at samples 0, hop, 2 hop, ... of the file, wherever one begins to read: a span has those that begin
    in it, and reads on behind its end for the last one.
 2. A window in which a value is missing is passed over and counted. What is left at the end of the file and is no whole
    window is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from meshinfer.errors import MediaError
from meshinfer.media.series import Series
from meshinfer.media.series_block import Samples
from meshinfer.media.video import Videos
from meshinfer.model.job import Sample
from meshinfer.model.series import RATE_SLACK, SeriesInput


@dataclass(frozen=True, slots=True)
class Window:
    index: int
    """Its first sample."""
    t: float
    """Seconds of that from the start of the series."""
    image: Samples
    """Channels x samples: as high as there are channels."""


class Windows:
    """The windows of one span, in order: a context manager and an iterator."""

    def __init__(
        self,
        path: Path,
        want: SeriesInput,
        sample: Sample = Sample(),  # noqa: B008  it is frozen
        first: int = 0,
        stop: int | None = None,
        *,
        rate: float = 0.0,
        most: int | None = None,
        halt: Callable[[], bool] = lambda: False,
        videos: Videos | None = None,
    ) -> None:
        """Those that begin in [first, stop), at most `most`.

        `rate`: samples a second as the catalog has it, 0: unknown. `sample` sets the hop in place of the model:
        `every: N` samples, or `fps` windows a second at most.
        """
        self._path, self._want, self._sample = path, want, sample
        self._first, self._stop, self._most, self._halt = first, stop, most, halt
        self._rate, self._videos = rate, videos
        self._series: Series | None = None
        self.truncated = ""
        """After the last window: what was missing, or ""."""

    def __enter__(self) -> Windows:
        """Raises MediaError for what cannot be opened, and for a series that is not what the model wants."""
        path = self._path
        series = Series(path) if self._videos is None else self._videos.take(path, self._first, Series)
        self._series = series
        try:
            self._rate = _rate(self._rate or series.rate, self._want, path.name)
            self._columns = _columns(series.channels, self._want, path.name)
            self._hop = _hop(self._want, self._sample, self._rate, path.name)
            series.skip(self._first, self._halt)
        except MediaError:
            series.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._series is None:
            return
        if self._videos is None or error is not None:
            self._series.close()
        else:
            self._videos.put(self._series)

    def __iter__(self) -> Iterator[Window]:
        series, size = self._series, self._want.window
        assert series is not None  # entered
        given = missing = 0
        start = -(-self._first // self._hop) * self._hop
        while (self._stop is None or start < self._stop) and given != self._most and not self._halt():
            series.skip(start, self._halt)
            found = series.look(size, self._rate) if series.next == start else None
            if found is None:
                break
            values, t = found
            picked = values[:, self._columns]
            if np.isfinite(picked).all():
                given += 1
                yield Window(start, t, np.ascontiguousarray(picked.T))
            else:
                missing += 1
            start += self._hop
        if self._halt():
            return
        notices = [f"{missing} windows passed over: values are missing in them, or time jumps"] if missing else []
        if series.is_over and start == 0:
            notices.append(f"shorter than a window of {size} samples")
        self.truncated = "; ".join([*notices, *filter(None, [series.shortfall()])])


def read_window(path: Path, first: int, samples: int, *, videos: Videos | None = None) -> Samples:
    """All channels of the window at sample `first` [samples, channels]. Raises MediaError for one beyond the end."""
    series = Series(path) if videos is None else videos.take(path, first, Series)
    try:
        series.skip(first, lambda: False)
        found = series.look(samples, 0.0) if series.next == first else None
    except MediaError:
        series.close()
        raise
    window = None if found is None else found[0].copy()
    if videos is None:
        series.close()
    else:
        videos.put(series)
    if window is None:
        raise MediaError(f"{path.name}: has no {samples} samples from {first} on")
    return window


def _rate(rate: float, want: SeriesInput, name: str) -> float:
    """Samples a second: the file's, else the model's."""
    if rate and want.rate and abs(rate - want.rate) > RATE_SLACK * want.rate:
        raise MediaError(
            f"{name}: sampled {rate:.6g} times a second, and the model wants {want.rate:.6g}: resample the file, or "
            "take a model that was trained at this rate"
        )
    return rate or want.rate


def _columns(channels: tuple[str, ...], want: SeriesInput, name: str) -> list[int]:
    """Where the model's channels lie. A WAV's have no names: as many as the model has are taken in their order."""
    if want.names and all(column in channels for column in want.names):
        return [channels.index(column) for column in want.names]
    unnamed = all(channel in (f"ch{i}", f"col{i}") for i, channel in enumerate(channels, 1))
    if want.names and not unnamed:
        lacking = next(column for column in want.names if column not in channels)
        raise MediaError(
            f"{name}: has no column {lacking!r} that the model looks at; it has {', '.join(channels[:20])}"
        )
    if len(channels) != want.channels:
        raise MediaError(
            f"{name}: has {len(channels)} channels and the model looks at {want.channels}: name them in the model's "
            "sidecar, [series] channels = [...]"
        )
    return list(range(len(channels)))


def _hop(want: SeriesInput, sample: Sample, rate: float, name: str) -> int:
    if sample.fps is not None:
        if not rate:
            raise MediaError(
                f"{name}: `sample.fps` needs its rate, which is not known: give its source a label rate=N (samples a "
                "second), or use `sample.every`"
            )
        return max(1, math.ceil(rate / sample.fps - 1e-9))
    return want.hop if sample.every == "frame" else sample.every
