"""What a model may take inside of this process: a share of the memory, and so long for one picture."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from meshinfer.errors import ModelError

RUN_SECONDS = 30.0
"""For one picture: the largest detectors take 15 s on one slow core."""
_LOOK_AGAIN = 0.5
_MIN_MEMORY = 512 * 1024 * 1024


def cap_memory(runtime: ModuleType) -> None:
    """All sessions with `session.use_env_allocators` share an arena of at most half of this machine's memory.

    A model that asks for more fails, instead of the peer. Measured: no difference in speed where the arena grows by
    what is asked for; by powers of two, 3 %.
    """
    info = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    as_requested = 1
    config = runtime.OrtArenaCfg({"max_mem": max(_MIN_MEMORY, _memory() // 2), "arena_extend_strategy": as_requested})
    runtime.create_and_register_allocator(info, config)


def _memory() -> int:
    """Of this machine, in bytes; 0 where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


class Watch:
    """Stops runs that take too long: one thread, which sleeps while nothing runs."""

    def __init__(self, make_options: Callable[[], Any], seconds: float = RUN_SECONDS) -> None:
        self._make_options, self._seconds = make_options, seconds
        self._runs: dict[int, tuple[float, Any]] = {}
        """By thread."""
        self._busy = threading.Event()
        threading.Thread(target=self._look_after, name="model-watch", daemon=True).start()

    @contextmanager
    def run(self) -> Iterator[Any]:
        """Options for one run of the calling thread. Raises ModelError for one that was stopped."""
        me = threading.get_ident()
        options = self._make_options()
        self._runs[me] = time.monotonic() + self._seconds, options
        self._busy.set()
        try:
            yield options
        except Exception:
            if options.terminate:
                raise ModelError(
                    f"took longer than {self._seconds:g} s for one picture: it is hostile, or too large to run here"
                ) from None
            raise
        finally:
            del self._runs[me]

    def _look_after(self) -> None:
        while self._busy.wait():
            time.sleep(_LOOK_AGAIN)
            now = time.monotonic()
            for until, options in list(self._runs.values()):
                if until < now:
                    options.terminate = True
            self._busy.clear()
            if self._runs:  # also one that came between the look and the clear
                self._busy.set()
