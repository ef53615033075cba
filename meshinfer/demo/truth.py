"""Exact ground truth of a drawn frame, and its JSON form beside a rendered video."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from meshinfer.errors import MediaError

Label = Literal["person", "vehicle"]
LABELS: Final[tuple[Label, ...]] = ("person", "vehicle")

VERSION: Final = 1
"""Of the drawn world: raised whenever the same seed draws other frames, so that old renderings are made anew."""

MIN_VISIBLE: Final = 0.4
MIN_SIDE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Truth:
    """One thing in one frame.

    `box` is (x0, y0, x1, y1) in pixels, tight around what can be seen of it: clipped to the frame, without what nearer
    things hide. `visible` is the share of its silhouette that can be seen, 0 to 1.
    """

    label: Label
    box: tuple[float, float, float, float]
    visible: float = 1.0

    @property
    def counted(self) -> bool:
        """Whether a detector is asked for it.

        The rule: at least 40 % of the silhouette is seen and the box is at least 10 px on both sides. What falls short
        is neither a miss when it is not found nor a false alarm when it is (as KITTI's "don't care" regions).
        """
        x0, y0, x1, y1 = self.box
        return self.visible >= MIN_VISIBLE and min(x1 - x0, y1 - y0) >= MIN_SIDE


def dump(frames: Sequence[Sequence[Truth]], *, fps: float, size: tuple[int, int]) -> str:
    """The JSON beside a video: `frames[i]` lists what frame i shows, as [label, x0, y0, x1, y1, visible]."""
    rows = [[[truth.label, *truth.box, truth.visible] for truth in frame] for frame in frames]
    return json.dumps({"version": VERSION, "fps": fps, "size": list(size), "frames": rows}, separators=(",", ":"))


def read_truth(path: Path) -> list[list[Truth]]:
    """The truths of every frame of a rendered video, from its `.truth.json`.

    Raises MediaError when it cannot be read or is not what `dump` of this version wrote.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise MediaError(
                f"{path.name} is of version {content['version']}, not {VERSION}: delete it to render it again"
            )
        return [[_truth(row) for row in frame] for frame in content["frames"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise MediaError(f"{path.name} is no truth file ({error}): delete it to render it again") from error


def _truth(row: Any) -> Truth:
    """A row that `dump` wrote."""
    label, x0, y0, x1, y1, visible = row
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}")
    return Truth(label, (float(x0), float(y0), float(x1), float(y1)), float(visible))
