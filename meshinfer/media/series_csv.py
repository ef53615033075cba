"""Tables as text, a row a line: a header or none, a column of times or none, columns of numbers."""

from __future__ import annotations

import math
from typing import BinaryIO, Final

import numpy as np

from meshinfer.errors import MediaError
from meshinfer.media.series_block import Block
from meshinfer.media.series_time import TIME_NAMES, Clock, parse_time
from meshinfer.model.series import MAX_CHANNELS

MAX_LINE: Final = 1 << 14
"""Bytes of a line: 256 channels need a few thousand."""
MAX_COLUMNS: Final = 1024
_MAX_BYTES: Final = 1 << 22
"""Of the lines held at a time."""
_MAX_EMPTY: Final = 10_000
"""Lines without anything, in a row."""
_FIRST: Final = 1025
"""Rows from which columns and the rate are told."""
_MAX_COMMENTS: Final = 1000
_EMPTY: Final = b'\r\n\t ,;"'


def is_table(head: bytes) -> bool:
    """Whether a line of numbers is among the first few lines: `head` is the start of the file."""
    if b"\0" in head:
        return False
    lines = [line for line in head.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip(_EMPTY)]
    lines = [line for line in lines if not line.startswith(b"#")][:8]
    return any(any(_is_value(field) for field in _fields(line, _delimiter(line))) for line in lines)


class CsvReader:
    """Columns with a number somewhere in the first rows are channels; one without a name is called col1, ..."""

    promised = 0

    def __init__(self, file: BinaryIO) -> None:
        """Raises MediaError for a file without columns of numbers, and for lines that are too long."""
        self._file = file
        self._number = 0
        first = self._first_line()
        self._delimiter = _delimiter(first)
        names = [field.strip(b' "\r\n').decode("utf-8", "replace") for field in _fields(first, self._delimiter)]
        headed = not any(_is_value(field) for field in _fields(first, self._delimiter))
        self._columns = len(names)
        if self._columns > MAX_COLUMNS:
            raise MediaError(f"has {self._columns} columns; at most {MAX_COLUMNS} can be read")
        self._ahead: list[bytes] = [] if headed else [first]
        """Lines that were looked at and are yet to be read."""
        self._ahead += self._lines(_FIRST)
        ahead = [_fields(line, self._delimiter) for line in self._ahead]
        rows = [row for row in ahead if len(row) == self._columns]
        if not rows:
            raise MediaError(f"no row has the {self._columns} columns of its first line")
        self._time = self._time_column([name.lower() for name in names] if headed else [], rows)
        self._picked = [i for i in range(self._columns) if i != self._time and any(_is_number(row[i]) for row in rows)]
        if not 1 <= len(self._picked) <= MAX_CHANNELS:
            raise MediaError(f"has {len(self._picked)} columns of numbers; 1 to {MAX_CHANNELS} can be read")
        self.channels = _unique([names[i] if headed else "" for i in self._picked], self._picked)
        time = self._time
        stamps = [] if time is None else [parse_time(r[time]) if len(r) == self._columns else math.nan for r in ahead]
        self._clock = Clock(np.array(stamps)) if stamps else None
        self.rate = self._clock.rate if self._clock else 0.0
        self.captured = self._clock.captured if self._clock else None

    def read(self, most: int) -> Block:
        lines = self._next(most)
        values = np.full((len(lines), len(self._picked)), np.nan)
        stamps = np.full(len(lines), np.nan)
        for i, line in enumerate(lines):
            row = _fields(line, self._delimiter)
            if len(row) == self._columns:
                try:
                    values[i] = [float(row[c]) for c in self._picked]
                except ValueError:
                    values[i] = [_number(row[c]) for c in self._picked]
                if self._time is not None:
                    stamps[i] = parse_time(row[self._time])
        with np.errstate(over="ignore"):  # beyond float32 it is infinite, and taken for missing
            numbers = values.astype(np.float32)
        numbers[~np.isfinite(numbers)] = np.nan
        return self._clock.check(numbers, stamps) if self._clock else Block(numbers, None)

    def skip(self, most: int) -> int:
        lines = self._next(most)
        if self._clock is not None and self._time is not None:
            for line in reversed(lines):  # the last that has a time is what the next one follows, as in `read`
                row = _fields(line, self._delimiter)
                if len(row) == self._columns and self._clock.passed(parse_time(row[self._time])):
                    break
        return len(lines)

    def close(self) -> None:
        self._file.close()

    def _next(self, most: int) -> list[bytes]:
        if not self._ahead:
            return self._lines(most)
        lines, self._ahead = self._ahead[:most], self._ahead[most:]
        return lines

    def _lines(self, most: int) -> list[bytes]:
        """Lines that hold something, at least one but at the end: no more than `most`, and than memory is for."""
        lines: list[bytes] = []
        held = empty = 0
        while len(lines) < most and held < _MAX_BYTES and (line := self._line()):
            empty = 0 if line.strip() else empty + 1
            if not empty:
                lines.append(line)
                held += len(line)
            elif empty > _MAX_EMPTY:
                raise MediaError(f"{_MAX_EMPTY} empty lines before line {self._number}: no table of samples")
        return lines

    def _line(self) -> bytes:
        line = self._file.readline(MAX_LINE + 1)
        self._number += 1
        if len(line) > MAX_LINE:
            raise MediaError(f"line {self._number} is longer than {MAX_LINE} bytes: no table of samples")
        return line

    def _first_line(self) -> bytes:
        for _ in range(_MAX_COMMENTS):
            line = self._line()
            if not line:
                break
            line = line.removeprefix(b"\xef\xbb\xbf") if self._number == 1 else line
            if line.strip() and not line.startswith(b"#"):
                return line
        raise MediaError("no row in it")

    def _time_column(self, names: list[str], rows: list[list[bytes]]) -> int | None:
        """The first that is called like one, else the first that holds moments instead of numbers."""
        for i, name in enumerate(names):
            if name in TIME_NAMES and any(math.isfinite(parse_time(row[i])) for row in rows):
                return i
        first = rows[0]
        return next((i for i, f in enumerate(first) if not _is_number(f) and math.isfinite(parse_time(f))), None)


def _delimiter(line: bytes) -> bytes:
    return next((d for d in (b";", b"\t") if d in line), b",")


def _fields(line: bytes, delimiter: bytes) -> list[bytes]:
    """Semicolons or tabs between columns leave the comma to decimals."""
    return (line if delimiter == b"," else line.replace(b",", b".")).split(delimiter)


def _number(field: bytes) -> float:
    try:
        return float(field.strip(b' "\r\n'))
    except ValueError:
        return math.nan


def _is_number(field: bytes) -> bool:
    return math.isfinite(_number(field))


def _is_value(field: bytes) -> bool:
    """A number or a moment: not a column's name."""
    return _is_number(field) or (any(c in b"0123456789" for c in field) and math.isfinite(parse_time(field)))


def _unique(names: list[str], numbers: list[int]) -> tuple[str, ...]:
    """At most 64 printable characters each, none empty, no two alike."""
    taken: dict[str, None] = {}
    for name, number in zip(names, numbers, strict=True):
        plain = "".join(c for c in name if c.isprintable())[:64].strip() or f"col{number + 1}"
        taken[plain if plain not in taken else f"{plain[:50]}#{number + 1}"] = None
    return tuple(taken)
