"""A task on a disk that is full, with the real store, engine and schedule: nothing is lost, nothing is there twice."""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from meshinfer.detect.detector import load_detector
from meshinfer.detect.pool import Lease
from meshinfer.errors import StoreFull
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Event
from meshinfer.model.ids import ContentId
from meshinfer.model.job import Detect
from meshinfer.node.driver import Driver
from meshinfer.node.runner import Runner
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import (
    CatalogChanged,
    Effect,
    Heard,
    ModelsChanged,
    RoomChanged,
    Start,
    State,
    Stop,
    Yield,
)
from meshinfer.store import Database, EventLog, TaskTable
from tests.shell.support import MODEL, order, who
from tests.story.plain import detect_all
from tests.unit.footage import write_video
from tests.vision.tiny_onnx import brightness_model

FRAMES = 1500
PATIENCE = 60


class Host:
    """What of a node concerns its tasks."""

    def __init__(self, db: Database, model: Path, video: Path) -> None:
        self.db, self.me = db, who("host").peer_id
        self.heard: list[Event] = []
        self.troubles: list[str] = []
        content = ContentId(sha256(video.read_bytes()).hexdigest()[:32])
        self.entry = Entry(content, "dock", video.name, "video", {}, video.stat().st_size, 64, 64, FRAMES, 10.0, 1.0)
        self.driver = Driver(ScheduleState(self.me), self._perform)
        detector = load_detector(model)
        self.runner = Runner(
            db,
            self.me,
            self.driver,
            find=lambda content: (video, self.entry),
            detector_for=lambda _: Lease(detector),
            on_events=self.heard.extend,
            on_trouble=self._trouble,
            workers=1,
        )

    def _perform(self, effect: Effect) -> None:
        match effect:
            case State(fact):
                self.driver.feed(Heard(self.me, fact, trio.current_time()))
            case Start() | Stop() | Yield():
                self.runner.perform(effect)

    def _trouble(self, why: str) -> None:
        self.troubles.append(why)
        self.driver.feed(RoomChanged(False, why))

    def begin(self) -> None:
        self.driver.feed(ModelsChanged({MODEL: ("grey",)}))
        self.driver.feed(CatalogChanged((self.entry,)))
        self.job = order(on={"kind": "video"})
        self.driver.feed(Heard(self.me, self.job, trio.current_time()))

    def limit(self, spare: int) -> None:
        with self.db.reading() as c:
            pages = c.execute("PRAGMA page_count").fetchone()[0]
            c.execute(f"PRAGMA max_page_count = {pages + spare}")

    async def until_done(self) -> None:
        """With a page more each time that the disk was full."""
        with trio.fail_after(PATIENCE):
            spare = 1
            while not all(mine.status == "ended" for mine in self.driver.state.jobs[self.job.id].mine.values()):
                if self.driver.state.no_room:
                    self.limit(spare)
                    spare += 1
                    self.driver.feed(RoomChanged(True))
                await trio.sleep(0.01)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "grey.onnx").write_bytes(brightness_model())
    write_video(folder / "v.avi", FRAMES)
    return folder


async def test_a_task_goes_on_where_the_disk_was_full(tmp_path: Path, place: Path) -> None:
    model, video = place / "grey.onnx", place / "v.avi"
    with closing(Database.open(tmp_path / "s.db")) as db:
        host = Host(db, model, video)
        host.limit(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.driver.serve)
            nursery.start_soon(host.runner.serve)
            host.begin()
            await host.until_done()
            nursery.cancel_scope.cancel()
        await host.runner.close(5.0)
        assert len(host.troubles) > 5
        assert all("free some disk space" in why for why in host.troubles)
        stored = EventLog(db, host.me).replay(0, limit=FRAMES)
        found = {e.frame: [(d.label, d.score, list(d.box)) for d in e.detections] for e in stored}
        assert found == detect_all(model, video, Detect())
        assert [e.cursor.n for e in host.heard] == list(range(1, len(stored) + 1)), "each told once, in order"


async def test_a_peer_that_stops_with_a_full_disk_stops(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was at cannot be put back; the next start resumes it all the same."""

    def full(*args: object, **options: object) -> None:
        raise StoreFull("no room left")

    model, video = place / "grey.onnx", place / "v.avi"
    with closing(Database.open(tmp_path / "s.db")) as db:
        for last in (False, True):
            host = Host(db, model, video)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(host.driver.serve)
                nursery.start_soon(host.runner.serve)
                host.begin()
                with trio.fail_after(PATIENCE):
                    while not (last or host.heard):
                        await trio.sleep(0.01)
                if last:
                    await host.until_done()
                nursery.cancel_scope.cancel()
            with monkeypatch.context() as patch:
                patch.setattr(TaskTable, "release", full)
                await host.runner.close(5.0)
        stored = EventLog(db, host.me).replay(0, limit=FRAMES)
        assert sorted(e.frame for e in stored) == sorted(detect_all(model, video, Detect()))
