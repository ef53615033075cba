"""`python -m meshinfer.detect.variants.trial`: what models find in some frames and how fast they are, tried aside.

Several runs share a child and take turns, so that whatever else the machine does slows them alike.
"""

from __future__ import annotations

import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from meshinfer.detect.detector import Worker, load_detector
from meshinfer.detect.onnx import Session
from meshinfer.detect.preprocess import Image
from meshinfer.detect.providers import CPU, Provider, named
from meshinfer.detect.variants.aside import Tell, ask, quiet, serve
from meshinfer.detect.variants.wrapped import Timed
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect

PATIENCE: Final = 300.0
"""Seconds beyond those that are asked for: some providers compile a model for a minute or two."""
MEMORY_MB: Final = 8192
"""For models on the CPU. Providers of devices reserve address space as they like."""

Create = Callable[[bytes, Provider], Session]


class Run(Struct, frozen=True):
    model: str
    provider: str = CPU.short
    threads: int = 1


class Question(Struct, frozen=True):
    runs: tuple[Run, ...]
    frames: str
    """A file that `save_frames` wrote."""
    seconds: float
    """For each run, in all."""
    rounds: int = 1
    """Turns that each run takes."""
    min_score: float = 0.25
    """Of what is found; for the clock, a job's default holds."""


class Timing(Struct, frozen=True, omit_defaults=True):
    """Medians over the frames of one run."""

    run: Run
    error: str = ""
    """Why there is nothing else."""
    fps: float = 0.0
    """With all of its threads; the median over its rounds."""
    load_ms: float = 0.0
    before_ms: float = 0.0
    """Preparing the input."""
    run_ms: float = 0.0
    after_ms: float = 0.0
    """Decoding the output, and suppression."""
    cpu_ms: float = 0.0
    """Of the thread's CPU time, all stages together: what others do meanwhile hardly shows in it."""
    memory_mb: float = 0.0
    """By which the process grew, at its peak."""
    found: tuple[tuple[Detection, ...], ...] = ()


def save_frames(path: Path, frames: Iterable[Image]) -> None:
    """Raises OSError."""
    with path.open("wb") as file:
        np.savez(file, *frames)


def try_aside(question: Question, tell: Tell = quiet) -> tuple[Timing, ...]:
    """In the order of the runs. Raises ModelError where the child died, which one run's failure alone does not."""
    on_cpu = all(run.provider == CPU.short for run in question.runs)
    timeout = PATIENCE + 3 * question.seconds * len(question.runs)
    return ask(__name__, question, tuple[Timing, ...], timeout=timeout, memory_mb=MEMORY_MB if on_cpu else 0, tell=tell)


def answer(question: Question, tell: Tell, create: Create = Session) -> tuple[Timing, ...]:
    with np.load(question.frames) as kept:
        frames = [np.asarray(frame, np.uint8) for frame in kept.values()]
    steps = len(question.runs) * (1 + question.rounds)
    subjects: list[_Subject | Timing] = []
    for run in question.runs:
        tell("looking", len(subjects) / steps)
        try:
            subjects.append(_Subject(run, frames, question.min_score, create))
        except ModelError as e:
            subjects.append(Timing(run, error=str(e)))
    for turn in range(question.rounds):
        for place, subject in enumerate(subjects):
            tell("timing", ((1 + turn) * len(subjects) + place) / steps)
            if isinstance(subject, _Subject):
                subject.go(question.seconds / question.rounds)
    return tuple(s.timing() if isinstance(s, _Subject) else s for s in subjects)


class _Subject:
    """A loaded model with workers."""

    def __init__(self, run: Run, frames: Sequence[Image], min_score: float, create: Create) -> None:
        before, began = _peak_mb(), time.perf_counter()
        sessions: list[Timed] = []

        def open_session(model: bytes) -> Session:
            sessions.append(Timed(create(model, named(run.provider))))
            return sessions[0]

        detector = load_detector(Path(run.model), open_session=open_session)
        self._load_ms = 1000 * (time.perf_counter() - began)
        self._run, self._frames, self._session = run, frames, sessions[0]
        look = detector.worker(Detect(min_score=min_score))
        self._found = tuple(look(frame) for frame in frames)
        self._workers = [detector.worker(Detect()) for _ in range(run.threads)]
        self._rates: list[float] = []
        self._stages: list[tuple[float, ...]] = []
        self._failures: list[ModelError] = []
        self._before = before

    def go(self, seconds: float) -> None:
        """A round of all threads."""
        done = [0] * len(self._workers)
        began = time.perf_counter()
        threads = [
            threading.Thread(target=self._loop, args=(worker, place, began + seconds, done))
            for place, worker in enumerate(self._workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._rates.append(sum(done) / (time.perf_counter() - began))

    def _loop(self, worker: Worker, place: int, until: float, done: list[int]) -> None:
        try:
            while not done[place] or time.perf_counter() < until:
                frame = self._frames[(done[place] + place) % len(self._frames)]
                busy, began = time.thread_time(), time.perf_counter()
                worker(frame)
                ended, busy = time.perf_counter(), time.thread_time() - busy
                at, back = self._session.span
                self._stages.append((at - began, back - at, ended - back, busy))
                done[place] += 1
        except ModelError as e:
            self._failures.append(e)

    def timing(self) -> Timing:
        if self._failures:
            return Timing(self._run, error=str(self._failures[0]))
        before, run, after, busy = (
            round(1000 * statistics.median(stage), 3) for stage in zip(*self._stages, strict=True)
        )
        return Timing(
            self._run,
            fps=round(statistics.median(self._rates), 2),
            load_ms=round(self._load_ms, 1),
            before_ms=before,
            run_ms=run,
            after_ms=after,
            cpu_ms=busy,
            memory_mb=round(_peak_mb() - self._before, 1),
            found=self._found,
        )


def _peak_mb() -> float:
    """Of this process so far. Linux hands getrusage's figure down from the parent, so its own is read there."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


if __name__ == "__main__":
    serve(Question, answer)
