"""WAV files: PCM of 8 to 32 bits as -1..1, and floats as they are. What the header claims is held against the file."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Final

import numpy as np

from meshinfer.errors import MediaError
from meshinfer.media.series_block import Block, Samples
from meshinfer.model.series import MAX_CHANNELS

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_CODECS: Final = {
    2: "ADPCM",
    6: "A-law",
    7: "mu-law",
    0x11: "IMA ADPCM",
    0x31: "GSM",
    0x55: "MP3",
}
_MAX_CHUNKS: Final = 64
_UNKNOWN: Final = (0, 0xFFFFFFFF)
"""Sizes that recorders write before they know: the data goes to the end of the file."""


class WavReader:
    """Channels are called ch1, ch2, ..."""

    captured: float | None = None

    def __init__(self, file: BinaryIO) -> None:
        """Raises MediaError for a codec that is not read, and for a header that makes no sense."""
        self._file = file
        codec, count, rate, align, bits, start, claimed = _header(file)
        if (codec, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
            name = _CODECS.get(codec) or {_PCM: "PCM", _FLOAT: "float"}.get(codec, f"codec {codec:#x}")
            raise MediaError(f"a WAV of {name}, {bits} bits: only PCM and float are read; convert it to 16-bit PCM")
        if not 1 <= count <= MAX_CHANNELS or rate < 1 or align != count * bits // 8:
            raise MediaError(f"its header makes no sense: {count} channels, {rate} samples/s, {align} bytes a sample")
        there = max(0, os.fstat(file.fileno()).st_size - start)
        size = there if claimed in _UNKNOWN else min(claimed, there)
        self.channels = tuple(f"ch{i}" for i in range(1, count + 1))
        self.rate = float(rate)
        self.promised = 0 if claimed in _UNKNOWN else claimed // align
        self._codec, self._bits, self._align = codec, bits, align
        self._left = size // align
        file.seek(start)

    def read(self, most: int) -> Block:
        data = self._file.read(min(most, self._left) * self._align)
        data = data[: len(data) // self._align * self._align]
        self._left -= len(data) // self._align
        return Block(self._numbers(data).reshape(-1, len(self.channels)), None)

    def skip(self, most: int) -> int:
        passed = min(most, self._left)
        self._file.seek(passed * self._align, os.SEEK_CUR)
        self._left -= passed
        return passed

    def close(self) -> None:
        self._file.close()

    def _numbers(self, data: bytes) -> Samples:
        if self._codec == _FLOAT:
            with np.errstate(over="ignore"):  # beyond float32 it is infinite, and taken for missing
                return _finite(np.frombuffer(data, f"<f{self._bits // 8}").astype(np.float32))
        if self._bits == 8:
            return ((np.frombuffer(data, np.uint8) - 128.0) / 128).astype(np.float32)
        if self._bits == 24:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return np.asarray(wide.reshape(-1).view("<i4") / 2**31, np.float32)
        return np.asarray(np.frombuffer(data, f"<i{self._bits // 8}") / 2 ** (self._bits - 1), np.float32)


def _finite(values: Samples) -> Samples:
    values[~np.isfinite(values)] = np.nan
    return values


def _header(file: BinaryIO) -> tuple[int, int, int, int, int, int, int]:
    """Codec, channels, samples a second, bytes a sample, bits a value; where the data begins, and its claimed size."""
    file.seek(12)
    what: tuple[int, int, int, int, int] | None = None
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            if what is None:
                raise MediaError("a WAV whose data comes before its format")
            return *what, file.tell(), size
        if name == b"fmt ":
            body = file.read(min(size, 40))
            if len(body) < 16:
                raise MediaError("a WAV whose format is cut off")
            codec, count, rate, _, align, bits = struct.unpack("<HHIIHH", body[:16])
            if codec == _EXTENSIBLE and len(body) >= 26:
                codec = int.from_bytes(body[24:26], "little")
            what = codec, count, rate, align, bits
            size -= len(body)
        file.seek(size + size % 2, os.SEEK_CUR)
    raise MediaError("a WAV without data")
