"""A detector whose model lives in a process of its own (`isolate: true`): what it breaks is not the peer."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from meshinfer.detect.detector import Detector
from meshinfer.detect.process import ModelProcess
from meshinfer.errors import ModelError
from meshinfer.model.detection import MAX_DETECTIONS, Detection
from meshinfer.model.job import Detect
from meshinfer.model.typed import no_such_class


class Isolated:
    """As a `Detector`, with the same detections. May be used from many threads.

    A process that crashed, or was stopped because it took too long, costs those whose pictures were in it a ModelError;
    the next picture gets a new one.
    """

    def __init__(self, path: Path, *, name: str | None = None, version: str = "") -> None:
        """Blocks until the model is loaded. Raises ModelError, as `load_detector` does, and where its process broke."""
        self._start: Callable[[], ModelProcess] = lambda: ModelProcess(
            path, name=name, version=version, lanes=os.cpu_count() or 1
        )
        self._process = self._start()
        self._lock = threading.Lock()
        self.card = self._process.card
        self.series = self._process.series

    @property
    def pid(self) -> int:
        return self._process.pid

    def unknown_classes(self, names: Iterable[str]) -> str:
        """What is wrong with these class names: a sentence, or "" where the model knows them all."""
        wrong = [name for name in names if name not in self.card.classes]
        return no_such_class(self.card.reference, wrong[0], self.card.classes) if wrong else ""

    def worker(
        self, detect: Detect, max_detections: int = MAX_DETECTIONS
    ) -> Callable[[NDArray[Any]], tuple[Detection, ...]]:
        """For one thread, as `Detector.worker`. Raises ModelError for class names the model does not know."""
        if wrong := self.unknown_classes(detect.classes):
            raise ModelError(wrong)
        return lambda image: self._running().look(image, detect, max_detections)

    def close(self) -> None:
        """End the process. It ends by itself when nothing refers to this any more, and with the peer."""
        self._process.close()

    def _running(self) -> ModelProcess:
        with self._lock:
            if not self._process.is_alive:
                self._process = self._start()
                if self._process.card.digest != self.card.digest:
                    self._process.close()
                    raise ModelError(f"{self.card.reference}: its file has changed on disk: add it again")
            return self._process


AnyDetector = Detector | Isolated
