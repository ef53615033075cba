"""Virtual time: what happens next. Ties are broken by the order of asking, never by identity or hash."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass

A_BATCH = 1000
"""Lines of the trace that are hashed at a time."""


@dataclass(slots=True, eq=False)
class Process:
    """A peer's process as the agenda sees it: what it planned dies with it, and waits while it is stopped."""

    name: str
    life: int = 0
    alive: bool = False
    stopped_until: float = 0.0


_Event = tuple[float, int, str, Callable[[], None], Process | None, int]
"""(at, n, label, do, process, its life): compared by the first two, as no two have the same n. A plain tuple: runs are
made of thousands of them."""


class Agenda:
    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[_Event] = []
        self._n = 0
        self._trace: list[str] = []
        self._traced = hashlib.sha256()

    def after(self, delay: float, label: str, do: Callable[[], None], process: Process | None = None) -> None:
        """Do this in `delay` seconds, if `process` still lives the same life then."""
        self._n += 1
        at, life = self.now + max(0.0, delay), process.life if process is not None else 0
        heapq.heappush(self._heap, (at, self._n, label, do, process, life))

    def next(self) -> None:
        """Let the next event happen. What it raises comes from here."""
        at, n, label, do, process, life = heapq.heappop(self._heap)
        self.now = at
        if process is not None:
            if not process.alive or process.life != life:
                return
            if process.stopped_until > at:
                # Under its own number: what waits keeps its order, however often it is put off.
                heapq.heappush(self._heap, (process.stopped_until, n, label, do, process, life))
                return
        self.steps += 1
        self._trace.append(f"{at:.9f} {process.name if process is not None else '-'} {label}\n")
        if len(self._trace) >= A_BATCH:
            self._take_trace()
        do()

    def digest(self) -> str:
        """Of everything that has happened so far, and when."""
        self._take_trace()
        return self._traced.hexdigest()[:16]

    def _take_trace(self) -> None:
        self._traced.update("".join(self._trace).encode())
        self._trace.clear()
