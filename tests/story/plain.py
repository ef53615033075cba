"""What a user would write without meshinfer: one process that reads, detects and writes, frame after frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2

from meshinfer.detect.detector import load_detector
from meshinfer.model.job import Detect


def detect_all(model: Path, video: Path, detect: Detect, every: int = 1) -> dict[int, list[Any]]:
    """Frame index -> [(label, score, box)], of frames with detections."""
    worker = load_detector(model).worker(detect, 300)
    capture = cv2.VideoCapture(str(video))
    found: dict[int, list[Any]] = {}
    index = -1
    while True:
        ok, frame = capture.read()
        index += 1
        if not ok:
            return found
        if index % every == 0 and (detections := worker(frame)):
            found[index] = [(d.label, d.score, list(d.box)) for d in detections]


def as_found(events: list[dict[str, Any]]) -> dict[int, list[Any]]:
    """The same of one entry's events, which must name each frame once."""
    found: dict[int, list[Any]] = {}
    for event in events:
        assert event["frame"] not in found, f"frame {event['frame']} is there twice"
        found[event["frame"]] = [(d["label"], d["score"], d["box"]) for d in event["detections"]]
    return found
