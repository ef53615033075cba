"""A window of a series as a picture for people: a lane for each channel, and what was found in it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from meshinfer.media.draw import Image, annotate, colour_of
from meshinfer.media.series_block import Samples
from meshinfer.model.detection import Detection

WIDTH, LANE = 960, 150
MAX_LANES = 6
"""Channels that are drawn, the first ones."""
_PAPER, _AXIS = (34, 30, 28), (70, 64, 60)


def plot(window: Samples, detections: Sequence[Detection]) -> Image:
    """`window` [samples, channels], NaN where a value is missing: each channel between its least and greatest value."""
    lanes = min(MAX_LANES, window.shape[1])
    picture: Image = np.full((lanes * LANE, WIDTH, 3), _PAPER, np.uint8)
    for lane in range(lanes):
        _lane(picture[lane * LANE : (lane + 1) * LANE], window[:, lane].astype(np.float64), lane)
    # What is found is in the whole window, so one frame is around all of it.
    whole = (1.0, 1.0, WIDTH - 2.0, lanes * LANE - 2.0)
    return annotate(picture, [Detection(d.label, d.score, whole) for d in detections[:3]])


def _lane(picture: Image, values: np.ndarray[tuple[int], np.dtype[np.float64]], number: int) -> None:
    cv2.line(picture, (0, LANE - 1), (WIDTH, LANE - 1), _AXIS, 1)
    known = values[np.isfinite(values)]
    if not len(known):
        return
    least, most = float(known.min()), float(known.max())
    room = LANE - 30
    y = 15 + room * (1 - (values - least) / ((most - least) or 1.0))
    edges = np.linspace(0, len(values), WIDTH + 1).astype(int)
    last: tuple[int, int] | None = None
    for x in range(WIDTH):  # the extremes under each column of pixels: no peak is lost
        part = y[edges[x] : max(edges[x] + 1, edges[x + 1])]
        part = part[np.isfinite(part)]
        if not len(part):
            last = None
            continue
        low, high = (x, round(float(part.min()))), (x, round(float(part.max())))
        cv2.line(picture, low if last is None else last, low, colour_of(f"channel {number}"), 1, cv2.LINE_AA)
        cv2.line(picture, low, high, colour_of(f"channel {number}"), 1, cv2.LINE_AA)
        last = high
