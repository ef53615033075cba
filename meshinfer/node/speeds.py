"""How fast each model is here: measured at work, kept over restarts, and told to the mesh as a class."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import trio

from meshinfer.detect.variants.tuning import Book
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest
from meshinfer.model.speed import fps_class

EVERY: Final = 10.0
ENOUGH: Final = 32
"""Frames before a speed is spoken of."""
RECENT: Final = 64
MODELS: Final = 128


class Meter:
    """Takes down how long frames take; for worker threads, and cheap."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._recent: dict[ModelDigest, deque[float]] = {}
        self._lock = threading.Lock()

    def note(self, model: ModelDigest, seconds: float) -> None:
        """One frame, from picture to detections, in one worker."""
        with self._lock:
            if model not in self._recent and len(self._recent) == MODELS:
                del self._recent[next(iter(self._recent))]
            self._recent.setdefault(model, deque(maxlen=RECENT)).append(seconds)

    def fps(self) -> dict[ModelDigest, float]:
        """With all workers, by the median of the frames last seen."""
        with self._lock:
            enough = {model: list(recent) for model, recent in self._recent.items() if len(recent) >= ENOUGH}
        return {model: self._workers / max(statistics.median(recent), 1e-6) for model, recent in enough.items()}


class Speeds:
    def __init__(self, book: Book, meter: Meter, on_change: Callable[[], None]) -> None:
        self._book, self._meter, self._on_change = book, meter, on_change
        self.classes: dict[ModelDigest, int] = {}
        """Of the models that were ever measured here."""

    async def load(self, models: Iterable[ModelDigest]) -> None:
        """What is known from before."""
        known = await trio.to_thread.run_sync(lambda: {model: self._book.get(model) for model in models})
        for model, tuned in known.items():
            if tuned is not None and tuned.fps:
                self.classes[model] = fps_class(tuned.fps)

    async def serve(self) -> None:
        while True:
            await trio.sleep(EVERY)
            await self.look()

    async def look(self) -> None:
        """Take over what the meter says where it is another class."""
        for model, fps in self._meter.fps().items():
            before = self.classes.get(model, 0)
            if (now := fps_class(fps, before)) == before:
                continue
            self.classes[model] = now
            with suppress(ModelError):  # it is measured again after the next start
                await trio.to_thread.run_sync(self._book.note_fps, model, fps)
            self._on_change()
