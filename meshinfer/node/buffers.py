"""Workers of a detector: each is one thread's at a time, and is used again by the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from meshinfer.detect.detector import Detector, Worker
from meshinfer.model.job import Detect

Rules = tuple[Detector, Detect, int]


class Buffers:
    """Of one detector under one set of rules, made as they are needed: as many as threads use them at once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._idle: deque[Worker] = deque()

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """Raises ModelError for class names that the model does not know."""
        try:
            worker = self._idle.pop()
        except IndexError:
            detector, detect, most = self._rules
            worker = detector.worker(detect, most)
        yield worker  # one that failed is not used again
        self._idle.append(worker)


class AllBuffers:
    """Tasks that follow each other share theirs. Nothing is kept for a detector that no task refers to."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Rules, Buffers] = WeakValueDictionary()

    def of(self, detector: Detector, detect: Detect, most: int) -> Buffers:
        rules = detector, detect, most
        buffers = self._known.get(rules)
        if buffers is None:
            buffers = self._known[rules] = Buffers(rules)
        return buffers
