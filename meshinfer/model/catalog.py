"""What a peer holds: sources (named places it reads) and entries (files in them, named by their content)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from meshinfer.model.ids import Content, Count, Labels, Name, Real, Seconds, Text

Kind = Literal["video", "image", "series"]
"""A series is numbers over time: vibration, temperatures, sound. Its samples are its frames, a channel a row: one is
1 wide and as high as there are channels; a window of n samples, as a model sees it, is n wide."""

EntryName = Annotated[str, Meta(min_length=1, max_length=1024)]
"""Path of a file below its source's folder, with forward slashes. Never an absolute path."""


Sketch = Annotated[bytes, Meta(max_length=16384)]


class Entry(Struct, frozen=True, omit_defaults=True):
    """One file that can be analysed."""

    content: Content
    source: Name
    name: EntryName
    kind: Kind
    labels: Labels
    """The source's labels over the peer's."""
    bytes: Count
    width: Count
    height: Count
    frames: Count
    """1 for an image; for a video what the container says, 0 where it does not say; samples of a series."""
    fps: Real
    """0 for an image; samples a second of a series, 0 where it does not say."""
    duration: Seconds
    """Seconds; 0 for an image."""
    captured: Real | None = None
    """Unix seconds of the first frame, where the file says so."""


class Unreadable(Struct, frozen=True):
    """A file in a source that cannot be analysed (now), and why."""

    source: Name
    name: EntryName
    reason: Text
    waiting: bool = False
    """True while it is still being written: it is looked at again."""


class SourceSummary(Struct, frozen=True, omit_defaults=True):
    """What others learn of a source without asking: never a path."""

    name: Name
    kinds: Annotated[tuple[Kind, ...], Meta(max_length=3)]
    labels: Labels
    entries: Count
    unreadable: Count
    bytes: Count
    duration: Seconds
    """Seconds of video and of series in all."""
    oldest: Real | None = None
    newest: Real | None = None
    digest: Annotated[str, Meta(max_length=32)] = ""
    """Over its content ids in order: changes when its contents do."""
    sketch: Sketch = b""
    """A Bloom filter of its content ids (`schedule/sketch.py`): tells others when a copy may lie here too."""
