"""Series: numbers over time out of CSV, WAV and Parquet files, read in pieces, the same from wherever one begins.

A sample is a row of a table or a frame of a WAV. What a row lacks (a value that is missing or is no finite number, a
row with too few or too many columns, a jump in its time column) is NaN in every channel concerned, so that the samples
after it keep their numbers; whoever cuts windows passes over those with NaN in them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

import numpy as np

from meshinfer.errors import MediaError
from meshinfer.media.series_block import PIECE, Reader, Samples, Times
from meshinfer.media.series_csv import CsvReader, is_table
from meshinfer.media.series_parquet import ParquetReader
from meshinfer.media.series_wav import WavReader
from meshinfer.media.video import Version, open_file, version_of

_SKIP: Final = 1 << 16
MAX_SAMPLES: Final = 1 << 40

Format = Literal["wav", "parquet", "csv"]


class Survey(NamedTuple):
    """A series as the catalog lists it."""

    channels: int
    samples: int
    rate: float
    seconds: float
    captured: float | None


def series_format(head: bytes) -> Format | None:
    """What the first bytes of a file look like. Text is a table where a line of it, or the next, holds numbers."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"PAR1":
        return "parquet"
    return "csv" if is_table(head) else None


class Series:
    """An open series, and how far it has been read: `media.video.Videos` keeps it between the spans of a file."""

    def __init__(self, path: Path) -> None:
        """Raises MediaError for what cannot be opened."""
        self.version: Version = version_of(path)
        self._reader = _open(path)
        self.channels, self.rate, self.captured = self._reader.channels, self._reader.rate, self._reader.captured
        self.next = 0
        """Index of the sample that comes next."""
        self._held: Samples = np.empty((0, len(self.channels)), np.float32)
        """Read, and not passed yet: the first is sample `next`."""
        self._times: Times = np.empty(0)
        self.is_over = False

    def close(self) -> None:
        self._reader.close()

    def skip(self, first: int, halt: Callable[[], bool]) -> None:
        """Go on until sample `first` is the next one, or the file ends; `halt` is asked now and then."""
        held = min(first - self.next, len(self._held))
        if held > 0:
            self._held, self._times, self.next = self._held[held:], self._times[held:], self.next + held
        while self.next < first and not self.is_over and not halt():
            passed = self._reader.skip(min(first - self.next, _SKIP))
            self.next += passed
            self.is_over = passed == 0

    def look(self, samples: int, rate: float) -> tuple[Samples, float] | None:
        """The next `samples`, which stay the next ones, and the seconds of the first; None: so many are not left.

        `rate`: samples a second, for files without a time column.
        """
        while len(self._held) < samples and not self.is_over:
            values, t = self._reader.read(PIECE)
            self.is_over = len(values) == 0
            self._held = np.concatenate((self._held, values))
            if t is not None:
                self._times = np.concatenate((self._times, t))
        if len(self._held) < samples:
            return None
        even = self.next / rate if rate else 0.0
        return self._held[:samples], float(self._times[0]) if len(self._times) else even

    def shortfall(self) -> str:
        """Why it ended sooner than it should have, or ""."""
        there, promised = self.next + len(self._held), self._reader.promised
        if self.is_over and there < promised:
            return f"only {there} of {promised} samples are there: the file is cut off or damaged"
        return ""


def survey(path: Path, check: Callable[[], object] = lambda: None) -> Survey:
    """Blocks: the lines of a table are counted. `check` is called now and then, and may raise to stop.

    Raises MediaError with the reason.
    """
    reader = _open(path)
    try:
        samples = len(reader.read(PIECE).values)
        if samples == 0:
            raise MediaError("no sample in it")
        while passed := reader.skip(_SKIP):
            samples += passed
            check()
            if samples > MAX_SAMPLES:
                raise MediaError(f"more than {MAX_SAMPLES} samples")
    finally:
        reader.close()
    seconds = samples / reader.rate if reader.rate else 0.0
    return Survey(len(reader.channels), samples, reader.rate, min(seconds, 1e10), reader.captured)


def _open(path: Path) -> Reader:
    file = open_file(path)
    try:
        return _reader(file)
    except MediaError as e:
        file.close()
        raise MediaError(f"{path.name}: {e}") from None
    except OSError as e:
        file.close()
        raise MediaError(f"{path.name}: cannot be read: {e.strerror}") from None


def _reader(file: BinaryIO) -> Reader:
    form = series_format(file.read(4096))
    file.seek(0)
    match form:
        case "wav":
            return WavReader(file)
        case "parquet":
            return ParquetReader(file)
        case "csv":
            return CsvReader(file)
    raise MediaError("no series of a known format: CSV, WAV and Parquet are read")
