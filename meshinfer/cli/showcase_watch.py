"""The demo's job, watched and collected at one peer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshinfer.cli.export import Export
from meshinfer.cli.showcase_feed import Feed
from meshinfer.cli.showcase_peers import Crew
from meshinfer.cli.showcase_reckoning import Frame
from meshinfer.cli.showcase_screen import JobScreen
from meshinfer.cli.spool import Row, read_rows
from meshinfer.errors import TimedOut
from meshinfer.node.client import call

WORK_PATIENCE = 180.0
"""Seconds for a job that takes ten, and a few more where somebody is killed."""

LIVE_PATIENCE = 20.0
"""Seconds after the end of the job in which its last detections must have reached the subscriber."""

COLLECT_PATIENCE = 20.0
"""Seconds in which every peer that took part must have answered."""


class Heard:
    """What the subscriber was told."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.told: dict[Frame, str] = {}
        """By which peer."""

    def add(self, event: dict[str, Any]) -> Frame:
        frame = str(event.get("task")), int(event.get("frame", -1))
        self.frames.append(frame)
        self.told.setdefault(frame, str(event.get("peer_name")))
        return frame


def watch(
    feed: Feed, crew: Crew, live: JobScreen, hear: Callable[[dict[str, Any]], None]
) -> tuple[Heard, dict[str, Any]]:
    """Show the job until it is over: what the subscriber was told so far, and the summary."""
    heard = Heard()
    deadline = time.monotonic() + WORK_PATIENCE
    while time.monotonic() < deadline:
        crew.check()
        match feed.next(0.25):
            case {"event": dict() as event}:
                heard.add(event)
                live.event(event)
                hear(event)
            case {"progress": dict() as view}:
                live.progress(view)
            case {"summary": dict() as summary}:
                return heard, summary
    raise TimedOut(f"the job was not done within {WORK_PATIENCE:.0f} s; is this machine very busy?")


def catch_up(feed: Feed, heard: Heard, wanted: set[Frame]) -> None:
    """Wait for what is still on its way to the subscriber."""
    deadline = time.monotonic() + LIVE_PATIENCE
    missing = wanted - set(heard.frames)
    while missing and time.monotonic() < deadline:
        match feed.next(0.25):
            case {"event": dict() as event}:
                missing.discard(heard.add(event))


class Collected:
    """What `meshinfer results --annotate` writes: the merged rows, the pictures, the end, and the peers not heard."""

    def __init__(self, node: Path, job: str, folder: Path, annotate: int) -> None:
        """Asks again where a peer that took part is not there yet."""
        deadline = time.monotonic() + COLLECT_PATIENCE
        while True:
            self.pictures: list[dict[str, Any]] = []
            self.end = self._ask(node, job, folder, annotate)
            self.missing = [str(peer.get("name")) for peer in self.end.get("missing") or ()]
            if not self.missing or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        self.file = folder / "detections.jsonl"
        self.rows: list[Row] = list(read_rows(self.file))

    def _ask(self, node: Path, job: str, folder: Path, annotate: int) -> dict[str, Any]:
        with (
            Export(folder, force=True) as export,
            call(node, "results", {"job": job, "annotate": annotate}) as conversation,
        ):
            for message in conversation:
                match message:
                    case {"event": event}:
                        export.event(event)
                    case {"task": dict() as task}:
                        export.task(task)
                    case {"picture": dict() as picture}:
                        self.pictures.append(picture)
                        export.picture(picture)
            export.finish(conversation.end)
        return conversation.end
