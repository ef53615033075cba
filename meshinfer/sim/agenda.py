"""Virtual time: what happens next. Ties are broken by the order of asking, never by identity or hash."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(slots=True, eq=False)
class Process:
    """A peer's process as the agenda sees it: what it planned dies with it, and waits while it is stopped."""

    name: str
    life: int = 0
    alive: bool = False
    stopped_until: float = 0.0


class _Event(NamedTuple):
    """Compared by its first two fields: no two have the same n."""

    at: float
    n: int
    label: str
    do: Callable[[], None]
    process: Process | None
    life: int


class Agenda:
    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[_Event] = []
        self._n = 0
        self._trace = hashlib.sha256()

    def after(self, delay: float, label: str, do: Callable[[], None], process: Process | None = None) -> None:
        """Do this in `delay` seconds, if `process` still lives the same life then."""
        self._push(self.now + max(0.0, delay), label, do, process, process.life if process else 0)

    def _push(self, at: float, label: str, do: Callable[[], None], process: Process | None, life: int) -> None:
        self._n += 1
        heapq.heappush(self._heap, _Event(at, self._n, label, do, process, life))

    def next(self) -> None:
        """Let the next event happen. What it raises comes from here."""
        at, n, label, do, process, life = heapq.heappop(self._heap)
        self.now = at
        if process is not None:
            if not process.alive or process.life != life:
                return
            if process.stopped_until > at:
                # Under its own number: what waits keeps its order, however often it is put off.
                heapq.heappush(self._heap, _Event(process.stopped_until, n, label, do, process, life))
                return
        self.steps += 1
        self._trace.update(f"{at:.9f} {process.name if process else '-'} {label}\n".encode())
        do()

    def digest(self) -> str:
        """Of everything that has happened so far, and when."""
        return self._trace.hexdigest()[:16]
