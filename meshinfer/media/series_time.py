"""Time columns: which they are, what they tell of the rate, and where they jump."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

import numpy as np

from meshinfer.media.series_block import Block, Samples, Times
from meshinfer.model.series import MAX_RATE

_NAMES: Final = "t time timestamp datetime date date_time seconds unix epoch time_s time[s] time(s) zeit zeitstempel"
TIME_NAMES: Final = frozenset(_NAMES.split())

_OLDEST, _NEWEST = 631_152_000.0, 4_102_444_800.0
"""1990 to 2100: a first time between them is a moment, anything else seconds since some start."""
_UNITS: Final = (1.0, 1e3, 1e6, 1e9)
"""Unix times are written in s, ms, us or ns."""
_LOOSE: Final = 1.5
"""Of the usual step: a longer one is a gap."""
_FEW: Final = 1024
_FARTHEST: Final = 1e12


def parse_time(text: bytes) -> float:
    """Seconds, or a moment in ISO 8601 (UTC where it names no zone) as Unix seconds; NaN for anything else."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip(b' "\r\n').decode("ascii"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return float("nan")


class Clock:
    """The time column of a file, told from its first rows."""

    def __init__(self, first: Times) -> None:
        """`first`: what the column holds at the start of the file, NaN where that is no time."""
        first = first[:_FEW]
        start = next((float(stamp) for stamp in first if np.isfinite(stamp)), 0.0)
        self._unit = next((u for u in _UNITS if _OLDEST <= start / u < _NEWEST), 1.0)
        self._start = start / self._unit
        self.captured = self._start if _OLDEST <= self._start < _NEWEST else None
        steps = np.diff(first / self._unit)
        steps = steps[np.isfinite(steps) & (steps >= 0)]
        usual = float(np.median(steps)) if len(steps) else 0.0
        # A gap among the first rows must not slow the clock; coarse stamps repeat themselves and then jump.
        kept = steps[steps <= 2.5 * usual] if usual else steps
        # Exact and rounded: every holder must read the same rate, whatever its processor adds up in one go.
        mean = math.fsum(kept.tolist()) / len(kept) if len(kept) else 0.0
        rate = float(f"{1 / mean:.9g}") if mean > 0 else 0.0
        self.rate = rate if rate <= MAX_RATE else 0.0
        self._longest = _LOOSE * max(mean, float(kept.max())) if mean > 0 else np.inf
        self._last = self._start

    def check(self, values: Samples, stamps: Times) -> Block:
        """Rows and what their time column holds, in order: a row that does not follow the one before is missing."""
        if not len(values):
            return Block(values, np.empty(0))
        times = stamps / self._unit
        unknown = ~np.isfinite(times) | (np.abs(times) > _FARTHEST)
        for i in np.flatnonzero(unknown):
            times[i] = times[i - 1] if i else self._last
        steps = np.diff(times, prepend=self._last)
        jumps = unknown | (steps < 0) | (steps > self._longest)
        self._last = float(times[-1])
        values[jumps] = np.nan
        return Block(values, np.clip(times - self._start, 0, 1e10))

    def passed(self, stamp: float) -> bool:
        """A row was passed over that holds `stamp`; whether that is a time."""
        known = bool(np.isfinite(stamp)) and abs(stamp / self._unit) <= _FARTHEST
        if known:
            self._last = stamp / self._unit
        return known
