"""Workers of a detector: each is one thread's at a time, and is used again by the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from numpy.typing import NDArray

from meshinfer.detect.isolated import AnyDetector
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect

Look = Callable[[NDArray[Any]], tuple[Detection, ...]]
"""What looks at pictures, or windows: a detector's worker."""

Rules = tuple[AnyDetector, Detect, int]


class Buffers:
    """Of one detector under one set of rules, made as they are needed: as many as threads use them at once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._idle: deque[Look] = deque()

    @contextmanager
    def worker(self) -> Iterator[Look]:
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

    def of(self, detector: AnyDetector, detect: Detect, most: int) -> Buffers:
        rules = detector, detect, most
        buffers = self._known.get(rules)
        if buffers is None:
            buffers = self._known[rules] = Buffers(rules)
        return buffers
