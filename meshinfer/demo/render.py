"""Rendering of scenes to video files, each with its exact ground truth beside it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from meshinfer.demo.camera import Floats
from meshinfer.demo.layouts import VIEWS, View
from meshinfer.demo.truth import Truth, dump, read_truth
from meshinfer.demo.world import Scene
from meshinfer.errors import MediaError

FPS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of a site's footage: which scene it shows, and from which second of it."""

    view: View
    night: bool
    seed: int
    start: float = 0.0

    @property
    def name(self) -> str:
        """The stem of the clip's file."""
        return f"{self.view}-{'night' if self.night else 'day'}"


SITES: Final[tuple[tuple[Clip, ...], ...]] = (
    (Clip("dock", False, 10, 20.0), Clip("lot", True, 27, 40.0), Clip("gate", False, 26), Clip("dock", True, 18, 12.5)),
    (Clip("gate", False, 20, 40.0), Clip("dock", True, 1, 40.0), Clip("lot", False, 19, 30.0), Clip("gate", True, 15)),
    (Clip("lot", False, 1, 25.0), Clip("gate", True, 28), Clip("dock", False, 12, 5.0), Clip("lot", True, 18)),
)
"""The footage of the demo's sites: stretches of 20 s picked for their movement, no picture in two sites."""


def truth_path(video: Path) -> Path:
    """Where the ground truth of `video` lies: `<name>.truth.json` beside `<name>.mp4`."""
    return video.with_suffix(".truth.json")


def render_video(path: Path, scene: Scene, seconds: float, fps: float = FPS, start: float = 0.0) -> None:
    """Write `scene` from `start` on as an mp4v video of `seconds` x `fps` frames, and its truth beside it.

    Both appear whole or not at all, the truth first: a video that is there has its truth. Raises MediaError when they
    cannot be written.
    """
    draft = path.with_name(f".{path.stem}.{os.getpid()}.part.mp4")
    note = draft.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        truths = _write(draft, scene, start + np.arange(round(seconds * fps)) / fps, fps)
        note.write_text(dump(truths, fps=fps, size=scene.size), encoding="utf-8")
        note.replace(truth_path(path))
        draft.replace(path)
    except OSError as error:
        raise MediaError(f"cannot write {path} ({error}): choose a folder that can be written") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
            note.unlink(missing_ok=True)


def _write(draft: Path, scene: Scene, times: Floats, fps: float) -> list[list[Truth]]:
    """Encode the frames at `times`; returns what they show."""
    writer = cv2.VideoWriter(str(draft), cv2.VideoWriter.fourcc(*"mp4v"), fps, scene.size)
    if not writer.isOpened():
        raise OSError("the folder is read-only, or this OpenCV has no mp4v encoder")
    truths = []
    try:
        for time in times:
            frame, seen = scene.frame(float(time))
            writer.write(frame)
            truths.append(seen)
    finally:
        writer.release()
    # VideoWriter reports no failed write; a full disk shows as frames that are not there.
    reader = cv2.VideoCapture(str(draft))
    count = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    reader.release()
    if count != len(truths):
        raise OSError(f"{count} of {len(truths)} frames arrived; the disk may be full")
    return truths


def _current(video: Path, frames: int) -> bool:
    """Whether `video` is there, and its truth is of this version and of the right length."""
    try:
        return video.stat().st_size > 0 and len(read_truth(truth_path(video))) == frames
    except (OSError, MediaError):
        return False


def footage(folder: Path, seed: int, clips: int, seconds: float = 20.0) -> list[Path]:
    """Render the footage of the demo site `seed` into `folder`, `clips` videos of `seconds`; returns their paths.

    Sites with different seeds have different footage; the first three are picked by hand. What an earlier call has
    rendered is kept. Raises MediaError when the folder cannot be written.
    """
    paths = []
    for index, clip in enumerate(site(seed, clips), start=1):
        path = folder / f"{index}-{clip.name}.mp4"
        if not _current(path, round(seconds * FPS)):
            render_video(path, Scene(clip.seed, clip.night, view=clip.view), seconds, start=clip.start)
        paths.append(path)
    return paths


def site(seed: int, clips: int) -> list[Clip]:
    """The clips of the demo site `seed`: from `SITES` while they last, then views and hours by turns."""
    picked = SITES[seed - 1][:clips] if 1 <= seed <= len(SITES) else ()
    order = range(len(picked), clips)
    return [*picked, *(Clip(VIEWS[(index + seed) % 3], bool(index % 2), 100 * seed + index) for index in order)]
