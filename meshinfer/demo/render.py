"""Rendering of scenes to video files, each with its exact ground truth beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from meshinfer.demo.layouts import View
from meshinfer.demo.truth import dump, read_truth
from meshinfer.demo.world import Scene

FPS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of a site's footage: the file's stem, the scene's seed, view and hour, and its length in seconds."""

    name: str
    seed: int
    view: View
    night: bool
    seconds: float = 20.0


def truth_path(video: Path) -> Path:
    """Where the ground truth of `video` lies: `<name>.truth.json` beside `<name>.mp4`."""
    return video.with_suffix(".truth.json")


def render_video(path: Path, scene: Scene, seconds: float, fps: float = FPS, start: float = 0.0) -> None:
    """Write `scene` from `start` on as an mp4v video of `seconds` x `fps` frames, and its truth beside it.

    Both appear whole or not at all, the truth first, so that a video found is a video with its truth. Raises OSError when
    the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{os.getpid()}.part.mp4")
    try:
        writer = cv2.VideoWriter(str(draft), cv2.VideoWriter.fourcc(*"mp4v"), fps, scene.size)
        if not writer.isOpened():
            raise OSError(f"cannot write {path}: the folder is not writable, or this OpenCV cannot encode mp4v")
        truths = []
        try:
            for index in range(round(seconds * fps)):
                frame, seen = scene.frame(start + index / fps)
                writer.write(frame)
                truths.append(seen)
        finally:
            writer.release()
        # VideoWriter reports no failed write; a full disk shows as frames that are not there.
        written = cv2.VideoCapture(str(draft))
        count = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
        written.release()
        if count != len(truths):
            raise OSError(f"cannot write {path}: {count} of {len(truths)} frames arrived; is the disk full?")
        note = draft.with_suffix(".json")
        note.write_text(dump(truths, fps=fps, size=scene.size), encoding="utf-8")
        note.replace(truth_path(path))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
        draft.with_suffix(".json").unlink(missing_ok=True)


def _current(video: Path, frames: int) -> bool:
    """Whether `video` is there, and its truth is of this version and of the right length."""
    try:
        return video.stat().st_size > 0 and len(read_truth(truth_path(video))) == frames
    except (OSError, ValueError):
        return False


def footage(folder: Path, seed: int, clips: int, seconds: float = 20.0) -> list[Path]:
    """Render the footage of one demo site into `folder`, `clips` videos; returns their paths, in order.

    Sites with different seeds (1 to 9) have different yards. What an earlier call has rendered is kept. Raises OSError when
    the folder cannot be written.
    """
    paths = []
    for clip in site(seed, clips, seconds):
        path = folder / f"{clip.name}.mp4"
        if not _current(path, round(clip.seconds * FPS)):
            render_video(path, Scene(clip.seed, clip.night, view=clip.view), clip.seconds)
        paths.append(path)
    return paths


def site(seed: int, clips: int, seconds: float = 20.0) -> list[Clip]:
    """The clips of the demo site `seed`: day and night by turns, and the views too, each site beginning with another."""
    order = np.roll(np.array(["dock", "lot", "gate"]), -seed)
    made = []
    for index in range(clips):
        view: View = "dock" if order[index % 3] == "dock" else "lot" if order[index % 3] == "lot" else "gate"
        night = bool((index + seed) % 2)
        made.append(Clip(f"{view}-{'night' if night else 'day'}-{index + 1}", seed * 100 + index, view, night, seconds))
    return made
