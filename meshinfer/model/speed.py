"""Frames a second, as coarse as peers tell each other: a class is a power of two, so that noise is no news."""

from __future__ import annotations

import math
from typing import Final

MAX_CLASS: Final = 2**16
_STICKY: Final = 0.75
"""Of a doubling: how far a measure must be from its class to be another's. (Half a doubling is the border.)"""


def fps_class(fps: float, before: int = 0) -> int:
    """The nearest power of two, at least 1; 0 where nothing was measured. `before`, the class so far, stays where the
    measure is not clearly beyond its border.
    """
    if not fps > 0:
        return before
    doublings = min(max(math.log2(fps), 0.0), math.log2(MAX_CLASS))
    if before and abs(doublings - math.log2(before)) < _STICKY:
        return before
    return int(2 ** round(doublings))
