"""A task on its way through the engine: what goes in, what comes out, and the order between."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple

from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.pool import Lease
from meshinfer.detect.stages import MAX_CROPS
from meshinfer.model.catalog import Kind
from meshinfer.model.detection import FrameResult
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect, Limits, Sample, Then
from meshinfer.node.buffers import Buffers

FLUSH_SECONDS = 0.05
"""Detections wait at most so long before they are handed over: a third of the delay that subscribers are promised."""
PROGRESS_SECONDS = 0.5
"""News without detections: what is done again after a crash at most, and how often a store is written for nothing."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One task, or what is left of it."""

    task: TaskId
    model: ModelDigest
    path: Path
    kind: Kind
    sample: Sample = field(default_factory=Sample)
    detect: Detect = field(default_factory=Detect)
    limits: Limits = field(default_factory=Limits)
    first: int = 0
    """The first frame of its span, or where to resume: the last batch's `next_frame`."""
    stop: int | None = None
    """The first frame after its span; None: it goes to the end of the file."""
    analysed: int = 0
    """Frames analysed before `first`: they count towards `limits.frames`."""
    run: int = 0
    """Number of the submission: the task may have been here before, and what is left of that be under way."""
    rate: float = 0.0
    """Samples a second of a series, 0 where its catalog does not know."""
    job: str = ""
    """Tasks of several jobs take turns."""
    then: Then | None = None
    """A second model, which looks at what the first one finds."""
    isolate: bool = False
    """The model runs in a process of its own."""
    alone: bool = False
    """Nothing else is decoded or computed meanwhile, and the first frame is told of at once: if the process dies, it is
    known of what."""

    @property
    def models(self) -> tuple[ModelDigest, ...]:
        """One, or two."""
        second = self.then.digest if self.then is not None else None
        return (self.model,) if second is None else (self.model, second)


class TaskError(NamedTuple):
    """Why a task failed, and whose matter it is: the model's, the file's, or this machine's (another may succeed); or
    that it has not begun, for its model was lost to damage and must come again.
    """

    kind: Literal["model", "input", "host", "lost"]
    message: str


@dataclass(frozen=True, slots=True)
class Batch:
    """News of one task. Counts are of this batch alone: add them up."""

    task: TaskId
    run: int
    results: tuple[FrameResult, ...]
    """Frames with detections, in order."""
    next_frame: int
    """Every frame before it has been dealt with."""
    analysed_frames: int
    detections: int
    seconds: float
    """Wall time since the batch before, or since the task was taken up."""
    started: bool
    """Its first inference has begun: true once per submission that gets so far."""
    finished: bool
    """Nothing follows. Without an error: it is complete."""
    error: TaskError | None = None
    notice: str = ""
    """With the last batch: what the user should know of a task that succeeded, such as a video that was cut off."""


class Sign(Enum):
    STARTED = "a worker has begun the first frame"
    SKIPPED = "the run was dropped before this frame"


@dataclass(slots=True)
class End:
    """What the decoder knows when it has passed a task's last frame."""

    count: int = 0
    error: TaskError | None = None
    notice: str = ""


News = FrameResult | TaskError | End | Sign


class Run:
    """A submission on its way. `dropped` may be set by any thread; what is below the line is the collector's alone."""

    def __init__(self, item: WorkItem) -> None:
        self.item = item
        self.dropped = False
        self.lease: Lease[AnyDetector] | None = None
        self.buffers: Buffers | None = None
        self.since = 0.0
        self._lock = threading.Lock()
        self._left_out: list[int] = [0, 0]
        """Frames of which something was left out, and how much in all."""
        # ----
        self._said_at = 0.0
        self._pending: dict[int, News] = {}
        self._ordered = 0
        self._end: End | None = None
        self._error: TaskError | None = None
        self._started: bool | None = False
        """None once it has been said."""
        self._is_eager = item.alone
        self._clear()
        self._next_frame = item.first

    def _clear(self) -> None:
        self._results: list[FrameResult] = []
        self.analysed = 0

    @property
    def detector(self) -> AnyDetector:
        assert self.lease is not None  # taken before the first frame is decoded
        return self.lease.value

    def note_left_out(self, count: int) -> None:
        if count:
            with self._lock:
                self._left_out[0] += 1
                self._left_out[1] += count

    def let_go(self) -> None:
        """No frame of it is on its way any more: its model may leave the memory."""
        self.buffers = None
        if self.lease is not None:
            self.lease.end()

    @property
    def is_through(self) -> bool:
        """Whether everything of it, dropped or not, has come by here."""
        return self._end is not None and self._ordered == self._end.count

    @property
    def is_over(self) -> bool:
        return self._error is not None or self.is_through

    @property
    def has_news(self) -> bool:
        return self.analysed > 0 or bool(self._started) or self.is_over

    @property
    def flush_at(self) -> float:
        """When its news should be handed over, in monotonic seconds."""
        if self._started or self.is_over or (self._is_eager and self.analysed):
            return 0.0
        return self._said_at + (FLUSH_SECONDS if self._results else PROGRESS_SECONDS)

    def take(self, number: int, news: News) -> int:
        """Returns how many frames have left the window: those that are next in order now."""
        if isinstance(news, End):
            self._end = news
            return 0
        if news is Sign.STARTED:
            self._started = True
            return 0
        self._pending[number] = news
        before = self._ordered
        while (news := self._pending.pop(self._ordered, Sign.STARTED)) is not Sign.STARTED:
            self._ordered += 1
            if isinstance(news, TaskError):
                self._error = self._error or news
            elif isinstance(news, FrameResult) and self._error is None:
                self._add(news)
        return self._ordered - before

    def _add(self, result: FrameResult) -> None:
        self.analysed += 1
        self._next_frame = result.frame + 1
        if result.detections:
            self._results.append(result)
        if self._started is False:
            self._started = True

    def batch(self, now: float) -> Batch:
        """All news since the last batch."""
        error = self._error or (self._end.error if self._end and self.is_over else None)
        batch = Batch(
            task=self.item.task,
            run=self.item.run,
            results=tuple(self._results),
            next_frame=self._next_frame,
            analysed_frames=self.analysed,
            detections=sum(len(r.detections) for r in self._results),
            seconds=max(0.0, now - self.since) if self.since else 0.0,
            started=bool(self._started),
            finished=self.is_over,
            error=error,
            notice=self._notice(),
        )
        self._is_eager = self._is_eager and not self.analysed
        self._clear()
        self._started = None if self._started else self._started
        self.since = self._said_at = now
        return batch

    def _notice(self) -> str:
        if self._end is None or not self.is_over:
            return ""
        frames, boxes = self._left_out
        crowded = (
            f"the second model gets the best {MAX_CROPS} boxes of a frame: {boxes} in {frames} frames were left out"
        )
        return "; ".join(filter(None, (self._end.notice, crowded if frames else "")))
