"""What a loaded model takes of this machine's memory: an estimate."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from meshinfer.detect.isolated import AnyDetector, Isolated
from meshinfer.detect.onnx import make_ready

D = TypeVar("D", bound=AnyDetector)

PER_BYTE = 2
"""Of its file at least: the weights, and once more as the kernels want them. Measured after one picture: files of 38
and 96 MB take twice their size, YOLOX-Nano (3.5 MB) 26 MB, YOLOv8n in int8 (3.3 MB) 44 MB."""
MOST = 512 * 2**20, 6
"""At most so much, and so many times its file: what other threads took meanwhile is none of it."""
SHARE = 4
"""A quarter of the machine's memory is for models unless the settings say otherwise."""
LEAST = 256 * 2**20


def floor(size: int) -> int:
    """Bytes that a model file of `size` bytes counts for at least."""
    return PER_BYTE * size


def measured(load: Callable[[], D]) -> tuple[D, int]:
    """What `load` gives, and by how many bytes this process grew meanwhile, within what its size allows; of one in a
    process of its own what that takes.

    A model is tried on one picture while it loads. More threads make it grow further, and what others allocate or free
    in that moment counts too: that is what the bounds are for.
    """
    make_ready()  # the runtime itself is no model's
    give_back()
    before = resident()
    detector = load()
    took = resident(detector.pid) if isinstance(detector, Isolated) else resident() - before
    size = detector.card.bytes
    return detector, max(floor(size), min(took, MOST[0] + MOST[1] * size))


def give_back() -> None:
    """What was freed goes back to the system: glibc keeps it, so that a model would seem to take nothing where another
    has gone, and one that has gone to take all it had (measured: YOLOX-Nano 26 MB, without this 4 and 30). Other
    allocators are left alone.
    """
    with suppress(OSError, AttributeError):
        _trim()(0)


@functools.cache
def _trim() -> Callable[[int], int]:
    trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    return trim


def resident(process: int | None = None) -> int:
    """Bytes of memory that a process, else this one, takes up; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{process or 'self'}/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def budget(megabytes: int | None) -> int:
    """Bytes for models: as the settings say, or a share of the machine's memory."""
    if megabytes is not None:
        return megabytes * 2**20
    return max(LEAST, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE)
