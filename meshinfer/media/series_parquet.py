"""Parquet files, where pyarrow is installed: their columns of numbers, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from meshinfer.errors import MediaError
from meshinfer.media.series_block import PIECE, Block, Samples
from meshinfer.media.series_time import TIME_NAMES, Clock
from meshinfer.model.series import MAX_CHANNELS


class ParquetReader:
    captured: float | None

    def __init__(self, file: BinaryIO) -> None:
        """Raises MediaError without pyarrow, and for a file that it does not read."""
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise MediaError("is Parquet, which needs pyarrow: pip install 'meshinfer[parquet]'") from None
        self._failures = (pyarrow.ArrowException, OSError)
        self._file = file
        try:
            self._table = pyarrow.parquet.ParquetFile(file)
            schema = self._table.schema_arrow
        except self._failures as e:
            raise MediaError(f"no Parquet that can be read: {str(e)[:200]}") from None
        types = pyarrow.types
        timed = [f.name for f in schema if f.name.lower() in TIME_NAMES or types.is_timestamp(f.type)]
        self._time = timed[0] if timed else None
        numbers = [f.name for f in schema if types.is_floating(f.type) or types.is_integer(f.type)]
        self.channels = tuple(name for name in numbers if name != self._time)
        if not 1 <= len(self.channels) <= MAX_CHANNELS:
            raise MediaError(f"has {len(self.channels)} columns of numbers; 1 to {MAX_CHANNELS} can be read")
        self.promised = int(self._table.metadata.num_rows)
        self._batches: Iterator[Any] = self._table.iter_batches(
            batch_size=PIECE, columns=[*self.channels, *([self._time] if self._time else [])]
        )
        self._held: Samples = np.empty((0, len(self.channels)), np.float32)
        self._stamps = np.empty(0)
        self._fill()
        self._clock = Clock(self._stamps) if self._time else None
        self.rate = self._clock.rate if self._clock else 0.0
        self.captured = self._clock.captured if self._clock else None

    def read(self, most: int) -> Block:
        if not len(self._held):
            self._fill()
        values, self._held = self._held[:most], self._held[most:]
        stamps, self._stamps = self._stamps[:most], self._stamps[most:]
        return self._clock.check(values, stamps) if self._clock else Block(values, None)

    def skip(self, most: int) -> int:
        return len(self.read(most).values)

    def close(self) -> None:
        self._file.close()

    def _fill(self) -> None:
        try:
            batch = next((batch for batch in self._batches if batch.num_rows), None)
        except self._failures as e:
            raise MediaError(f"damaged: {str(e)[:200]}") from None
        if batch is None:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            columns = [np.asarray(batch.column(name).to_numpy(zero_copy_only=False)) for name in self.channels]
            values = np.stack([c.astype(np.float64).astype(np.float32) for c in columns], axis=1)
        values[~np.isfinite(values)] = np.nan
        self._held = values
        if self._time is not None:
            stamps = np.asarray(batch.column(self._time).to_numpy(zero_copy_only=False))
            dated = stamps.dtype.kind == "M"
            self._stamps = (stamps.astype("datetime64[ns]").astype(np.int64) / 1e9) if dated else stamps.astype(float)
