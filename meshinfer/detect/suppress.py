"""Non-maximum suppression: of boxes of one class that overlap, the best stays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from meshinfer.detect.layouts.layout import Candidates

MAX_CANDIDATES = 3000
"""Boxes that enter suppression, the best ones: its work grows with their square. Only scores near 0 reach it."""


def best_first(candidates: Candidates, limit: int) -> Candidates:
    """Sorted by score; equal scores keep the model's order, so that the same frame always gives the same answer."""
    order = np.argsort(-candidates.scores, kind="stable")[:limit]
    return candidates.take(order)


def suppress(candidates: Candidates, iou: float, limit: int) -> Candidates:
    """At most `limit`, best first, without those that overlap a better one of their class by more than `iou`."""
    candidates = best_first(candidates, MAX_CANDIDATES)
    if len(candidates.scores) < 2:
        return candidates
    corners = candidates.boxes.astype(np.float64)
    corners[:, 2:] -= corners[:, :2]
    suppressed: Any = cv2.dnn.NMSBoxesBatched  # its stub wants lists; arrays do, and are faster
    # Its threshold of scores is 0: what scored too low has been left out before.
    kept = suppressed(corners, candidates.scores, candidates.labels.astype(np.int32), 0.0, iou)
    return candidates.take(np.asarray(kept, np.int64).ravel()[:limit])
