"""Sessions around a session: one that is timed, one that is overheard, and one with a spare."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.onnx import Session
from meshinfer.errors import ModelError


class Wrapped(Session):
    """Does what `inner` does."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner  # Session's own __init__ would load a model: this one is loaded
        self.metadata, self.inputs, self.outputs = inner.metadata, inner.inputs, inner.outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return self._inner.run(feeds)


class Timed(Wrapped):
    """Knows when the calling thread's last run began and ended."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._local = threading.local()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        began = time.perf_counter()
        outputs = super().run(feeds)
        self._local.span = began, time.perf_counter()
        return outputs

    @property
    def span(self) -> tuple[float, float]:
        span: tuple[float, float] = self._local.span
        return span


class Overheard(Wrapped):
    """Keeps a copy of every input."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self.heard: list[dict[str, NDArray[Any]]] = []

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.heard.append({name: np.array(value) for name, value in feeds.items()})
        return super().run(feeds)


class Spared(Wrapped):
    """A session on a device that may fail at any time, such as a GPU whose memory others take: from the first failure
    on the spare one runs, beginning with the very frame that failed.
    """

    def __init__(self, inner: Session, spare: Callable[[], Session], on_failure: Callable[[str], None]) -> None:
        """`on_failure` hears the reason, once, in the thread that ran into it."""
        super().__init__(inner)
        self._spare, self._on_failure = spare, on_failure
        self._lock = threading.Lock()
        self._has_failed = False

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        inner = self._inner
        try:
            return inner.run(feeds)
        except ModelError as e:
            if self._has_failed and inner is self._inner:
                raise  # the spare one's failure is the model's own
            self._fail(str(e))
        return self._inner.run(feeds)

    def _fail(self, why: str) -> None:
        with self._lock:
            if not self._has_failed:
                self._inner = self._spare()
                self._has_failed = True
                self._on_failure(why)
