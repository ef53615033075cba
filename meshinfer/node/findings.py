"""Everything a peer found in a job: its task reports, its events in order, and annotated frames where its owner lets
them go.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import cv2
import trio

from meshinfer.errors import MediaError, ProtocolError
from meshinfer.media.catalog import Catalog
from meshinfer.media.draw import annotate
from meshinfer.media.frames import Videos, read_frame
from meshinfer.media.plot import plot
from meshinfer.media.windows import read_window
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Event
from meshinfer.model.ids import JobId, PeerId
from meshinfer.node.paging import by_size, next_frame
from meshinfer.node.replay import Found
from meshinfer.store import EventLog, ResultKey, TaskRow, TaskTable, result_key
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import packs, unpack
from meshinfer.wire.messages import (
    PAGE_TARGET,
    Events,
    Picture,
    ResultsEnd,
    ResultsOf,
    TaskReport,
    Tasks,
    read_results,
    read_results_of,
)

PROTOCOL = "results"
PATIENCE = 20.0
CHUNK = 500
MAX_MESSAGES = 1_000_000
JPEG_BYTES = 190 * 1024

Finding = Tasks | Found | Picture | ResultsEnd


class Findings:
    def __init__(
        self,
        mesh: Mesh,
        events: EventLog,
        tasks: TaskTable,
        catalog: Catalog,
        incarnation: int,
        *,
        share_pixels: bool,
    ) -> None:
        self._mesh, self._events, self._tasks, self._catalog = mesh, events, tasks, catalog
        self.incarnation, self._share_pixels = incarnation, share_pixels
        mesh.serve(PROTOCOL, self._answer)

    async def of(self, peer: PeerId, ask: ResultsOf) -> AsyncGenerator[Finding, None]:
        """A peer's findings, ended by `ResultsEnd`. Raises MeshError or ProtocolError."""
        if peer == self._mesh.me:
            async with aclosing(self._own(ask, with_pictures=True)) as findings:
                async for finding in findings:
                    yield finding
            return
        async with self._mesh.open(peer, PROTOCOL) as stream:
            await stream.send(encode(ask))
            for _ in range(MAX_MESSAGES):
                message = read_results(await next_frame(stream, PATIENCE) or b"")
                if isinstance(message, Events):
                    yield Found(message.pack.incarnation, unpack(message.pack, peer))
                    continue
                yield message
                if isinstance(message, ResultsEnd):
                    return
        raise ProtocolError("results without end")

    async def _answer(self, stream: Stream) -> None:
        ask = read_results_of(await stream.receive() or b"")
        async with aclosing(self._own(ask, with_pictures=self._share_pixels)) as findings:
            async for message in findings:
                if isinstance(message, Found):
                    for page in packs(message.incarnation, message.events, PAGE_TARGET):
                        await stream.send(encode(Events(page)))
                else:
                    await stream.send(encode(message))

    async def _own(self, ask: ResultsOf, *, with_pictures: bool) -> AsyncGenerator[Finding, None]:
        rows = await trio.to_thread.run_sync(self._tasks.of_job, ask.job)
        for page in by_size(map(_report, rows), most=1000):
            yield Tasks(page)
        length: dict[tuple[str, str], int] = {}
        for r in rows:
            if r.detections:
                length[r.source, r.entry] = max(r.next_frame, length.get((r.source, r.entry), 0))
        gallery = Gallery(length, ask.pictures)
        after: ResultKey | None = None
        while True:
            chunk = await trio.to_thread.run_sync(self._chunk, ask.job, after)
            if not chunk:
                break
            after = result_key(chunk[-1])
            yield Found(self.incarnation, tuple(chunk))
            if ask.pictures and with_pictures:
                for event in chunk:
                    gallery.offer(event)
        videos = Videos()
        for event in gallery.picks():
            picture = await trio.to_thread.run_sync(self._picture, event, videos)
            if picture is not None:
                yield picture
        await trio.to_thread.run_sync(videos.close)
        yield ResultsEnd(pixels_refused=bool(ask.pictures) and not with_pictures)

    def _chunk(self, job: JobId, after: ResultKey | None) -> list[Event]:
        return self._events.of_tasks(job, None, after=after, limit=CHUNK)

    def _picture(self, event: Event, videos: Videos) -> Picture | None:
        """In a worker thread."""
        found: tuple[Path, Entry] | None = self._catalog.find(event.content)
        if found is None:
            return None
        path, entry = found
        try:
            if entry.kind == "series":
                image = plot(read_window(path, event.frame, event.width, videos=videos), event.detections)
            else:
                image = annotate(read_frame(path, entry.kind, event.frame, videos=videos), event.detections)
        except MediaError:
            return None
        for quality in (90, 75, 50, 25):
            ok, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if ok and jpeg.nbytes <= JPEG_BYTES:
                return Picture(event.source, event.entry, event.frame, jpeg.tobytes())
        return None


def _report(r: TaskRow) -> TaskReport:
    what = (r.task, r.source, r.entry, r.content, r.state, r.analysed, r.detections)
    return TaskReport(*what, r.digest, r.error, r.first, r.stop)


class Gallery:
    """The richest frames, spread over the entries and over the length of each. Holds at most one a segment."""

    def __init__(self, frames: dict[tuple[str, str], int], n: int) -> None:
        """`frames`: how long each entry with detections is; `n`: pictures wanted."""
        self._frames, self._n = frames, n
        self._segments = max(1, -(-n // max(1, len(frames))))
        self._best: dict[tuple[str, str, int], Event] = {}

    def offer(self, event: Event) -> None:
        frames = max(1, self._frames.get((event.source, event.entry), 1))
        segment = min(self._segments - 1, event.frame * self._segments // frames)
        key = (event.source, event.entry, segment)
        if key not in self._best or _richness(event) > _richness(self._best[key]):
            self._best[key] = event

    def picks(self) -> list[Event]:
        """By entry and frame."""
        best = sorted(self._best.values(), key=_richness, reverse=True)[: self._n]
        return sorted(best, key=lambda e: (e.source, e.entry, e.frame))


def _richness(event: Event) -> tuple[int, float, int]:
    return len(event.detections), max((d.score for d in event.detections), default=0.0), -event.frame
