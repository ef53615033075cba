"""What a detector saw."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from meshinfer.model.ids import Content, Count, Job, Name, Peer, PeerId, Real, Task

MAX_DETECTIONS = 300
"""Detections kept in one frame, the best ones: the COCO evaluation keeps 100, Ultralytics 300."""

Box = tuple[Real, Real, Real, Real]
"""x0, y0, x1, y1 in pixels of the original frame, origin top left, clipped to the frame."""


class Detection(Struct, frozen=True, array_like=True):
    """One object in one frame."""

    label: Annotated[str, Meta(max_length=64)]
    score: Annotated[float, Meta(ge=0, le=1)]
    box: Box


class FrameResult(Struct, frozen=True):
    """What one analysed frame gave: possibly nothing."""

    frame: int
    """Index in the video, from 0; 0 for an image."""
    t: Real
    """Seconds from the start of the video."""
    width: int
    height: int
    detections: tuple[Detection, ...]


class Cursor(Struct, frozen=True, array_like=True, order=True):
    """A place in one peer's log of events: the n-th event that store `incarnation` of `origin` made, from 1."""

    origin: Peer
    incarnation: Annotated[int, Meta(ge=1, le=2**62)]
    n: Annotated[int, Meta(ge=1, le=2**53)]

    def __str__(self) -> str:
        return f"{self.origin}/{self.incarnation}/{self.n}"


class Event(Struct, frozen=True, omit_defaults=True):
    """One analysed frame with detections, as subscribers receive it."""

    cursor: Cursor
    job: Job
    task: Task
    source: Name
    entry: Annotated[str, Meta(max_length=1024)]
    content: Content
    frame: Count
    t: Real
    width: Annotated[int, Meta(ge=0, le=65536)]
    height: Annotated[int, Meta(ge=0, le=65536)]
    detections: Annotated[tuple[Detection, ...], Meta(max_length=MAX_DETECTIONS)]
    wall: Real | None = None
    """Unix seconds at which the frame was captured, where the footage says so."""

    @property
    def peer(self) -> PeerId:
        return self.cursor.origin
