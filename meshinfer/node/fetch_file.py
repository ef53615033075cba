"""A model on its way here: a file with holes. Everything in here reads, hashes or writes: worker threads only."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from meshinfer.errors import ProtocolError
from meshinfer.model.bundle import CHUNK, Bundle


class PartFile:
    """`<digest>.part` in `folder`. What lies in it survives breaks and restarts; what is missing is found by the
    hashes alone, so a crash that lost or tore a write costs the chunks it touched.

    Methods raise OSError for what the disk does.
    """

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.bundle = bundle
        self.path = folder / f"{bundle.digest}.part"
        self._fd = -1
        self._lock = threading.Lock()
        """What comes late must not be written once the file is closed: its number may be another file's by then."""

    def lacks(self) -> int:
        """Bytes of disk that it has not taken yet."""
        try:
            return self.bundle.size - min(self.bundle.size, self.path.stat().st_blocks * 512)
        except FileNotFoundError:
            return self.bundle.size

    def open(self) -> set[int]:
        """The chunks that are missing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        there = os.fstat(self._fd).st_size
        os.ftruncate(self._fd, self.bundle.size)
        chunks = range(len(self.bundle.chunks))
        return {n for n in chunks if n * CHUNK >= there or not self._is_good(n, os.pread(self._fd, CHUNK, n * CHUNK))}

    def put(self, index: int, data: bytes) -> None:
        """Raises ProtocolError for anything but that chunk: nothing is written then, or once it is closed."""
        if not self._is_good(index, data):
            raise ProtocolError(f"chunk {index} of a model is not what its signer vouched for")
        view = memoryview(data)
        with self._lock:
            while view and self._fd >= 0:
                written = os.pwrite(self._fd, view, index * CHUNK + len(data) - len(view))
                view = view[written:]

    def finish(self) -> None:
        """On the disk for good when this returns, and closed."""
        os.fsync(self._fd)
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _is_good(self, index: int, data: bytes) -> bool:
        return hashlib.sha256(data).digest() == self.bundle.chunks[index]
