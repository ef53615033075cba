"""Which frames of a video are analysed. Pure: depends on the frame alone, so a video can be resumed anywhere."""

from __future__ import annotations

import math

from meshinfer.model.job import Sample

_SLACK = 1e-6
"""Seconds x fps: frame times are rounded by containers, and 0.3 x 10 is not 3."""


def is_sampled(sample: Sample, index: int, t: float, t_before: float) -> bool:
    """Whether frame `index` at `t` seconds is analysed; `t_before` is the time of the frame before it, if there is one.

    `every: N` takes 0, N, 2N, ...; `fps: R` the first frame at or after each multiple of 1/R seconds, so all of them
    where the video has fewer than R.
    """
    if sample.fps is not None:
        return index == 0 or _multiples(t, sample.fps) > _multiples(t_before, sample.fps)
    return sample.every == "frame" or index % sample.every == 0


def _multiples(t: float, fps: float) -> int:
    """How many multiples of 1/fps lie in (0, t]."""
    return math.floor(t * fps + _SLACK)
