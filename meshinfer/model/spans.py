"""Where a video is cut into tasks: progress survives in pieces, and work can move from one holder to another.

Every holder of a content must cut alike, so the cut depends on nothing but the job and on what the container says of
the video. What the container says is part of the tasks' ids (`JobInfo.unit`): holders whose decoders read it
differently share no tasks, rather than spans that mean different frames.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from meshinfer.model.catalog import Entry
from meshinfer.model.job import JobSpec

SPAN_SECONDS = 30.0
"""Of video in a span, where every frame is analysed: half a minute is lost at most when work moves."""

FEWEST_SAMPLED = 64
"""Frames that a span analyses at least: with one frame a minute, a span of 30 s would be all overhead."""

MAX_SPANS = 10_000
"""Of one entry: 83 hours. What is longer has longer spans."""

FEWEST_SAMPLES = 1 << 18
"""Of a series in a span: with one sample a minute, 30 s would hold none, and a window of a fast one takes thousands."""

USUAL_FPS = 25.0
"""Where the container gives no sensible rate."""


class Cut(NamedTuple):
    """How an entry is cut."""

    spans: int
    length: int
    """Frames in each span but the last, which takes all that is left; 0: it is not cut."""

    def bounds(self, span: int) -> tuple[int, int | None]:
        """The first frame of a span, and the first one after it (None: to the end)."""
        last = span + 1 >= self.spans
        return span * self.length, None if last else (span + 1) * self.length


WHOLE = Cut(1, 0)


def cut(spec: JobSpec, entry: Entry) -> Cut:
    """Images, and videos whose container does not say how long they are, are one span; so is an entry of which only so
    many frames are wanted: nobody but who counts from its start knows where they end.
    """
    if entry.kind == "image" or entry.frames < 2 or spec.limits.frames is not None:
        return WHOLE
    if entry.kind == "series":  # whatever the windows: those that begin in a span are its own
        return _pieces(entry.frames, max(SPAN_SECONDS * entry.fps, FEWEST_SAMPLES, entry.frames / MAX_SPANS))
    fps = entry.fps if 1 <= entry.fps <= 240 else USUAL_FPS
    stride = 1.0 if spec.sample.every == "frame" else float(spec.sample.every)
    if spec.sample.fps is not None:
        stride = max(1.0, fps / spec.sample.fps)
    return _pieces(entry.frames, max(SPAN_SECONDS * fps, FEWEST_SAMPLED * stride, entry.frames / MAX_SPANS))


def _pieces(frames: int, least: float) -> Cut:
    length = math.ceil(least)
    spans = (frames + length // 2) // length  # the last has half a length at least, and less than one and a half
    return WHOLE if spans <= 1 else Cut(spans, length)


def frames_expected(spec: JobSpec, entry: Entry, first: int = 0, stop: int | None = None) -> int:
    """Frames that the job's sampling picks in [first, stop), as far as the container tells.

    How many windows of a series are looked at is the model's matter: none are promised.
    """
    if entry.kind == "series":
        return 0
    stop = entry.frames if stop is None else min(stop, entry.frames)
    n = _sampled_before(spec, entry, stop) - _sampled_before(spec, entry, first)
    return max(0, n if spec.limits.frames is None else min(n, spec.limits.frames))


def _sampled_before(spec: JobSpec, entry: Entry, frame: int) -> int:
    """As `media/sampling.py` picks them of frames that come at even intervals."""
    if frame and spec.sample.fps is not None and entry.fps > 0:
        return min(frame, math.floor((frame - 1) / entry.fps * spec.sample.fps + 1e-6) + 1)
    if spec.sample.every != "frame":
        return -(-frame // spec.sample.every)
    return frame
