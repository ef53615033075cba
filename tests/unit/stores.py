"""A store with something of everything in it, for tests of what happens to it."""

from __future__ import annotations

from pathlib import Path

from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.store import (
    Database,
    EventLog,
    FileTable,
    KnownPeer,
    PeerTable,
    RecordTable,
    Stored,
    TaskTable,
)

OWN = PeerId("12D3KooWGatU9DVpA8qU8qkp8pYzkPqZ8AjbCdHXGKEQPPzvJQ5T")
JOB = JobId("a" * 16)
TASKS = [TaskId(f"{n:032x}") for n in range(1, 9)]
PAGE = 4096
NOON = 1_800_000_000.0


def entry(n: int) -> Entry:
    return Entry(ContentId(f"{n:032x}"), "dock", f"{n}.mp4", "video", {}, 1000, 64, 48, 100, 10.0, 10.0)


def found(frame: int, n: int) -> FrameResult:
    boxes = tuple(Detection("person", 0.5, (0.0, float(n), 1.0, float(frame))) for _ in range(8))
    return FrameResult(frame, frame / 10, 64, 48, boxes)


def job_record(n: int, kind: str = "job") -> Stored:
    return Stored(OWN, 7, n, kind, f"{kind}{n}", b"j" * 700, 1.0)


def fill(path: Path, *, wall: float = NOON) -> Database:
    """Seven finished tasks with 15 events each, one that is under way, jobs, cancels and other records."""
    db = Database.open(path, wall=lambda: wall)
    tasks = TaskTable(db, OWN)
    for n, task in enumerate(TASKS, 1):
        row = tasks.begin(task, JOB, entry(n))
        frames = [found(frame, n) for frame in range(15)]
        tasks.commit(task, frames, run=row.run, next_frame=15, analysed=15, seconds=1.0)
        if task != TASKS[-1]:
            tasks.finish(task, run=row.run)
    kinds = ("job", "cancel", "result")
    RecordTable(db).save(job_record(n, kinds[n % 3]) for n in range(1, 31))
    PeerTable(db).save([KnownPeer("p", ("/ip4/10.0.0.1/tcp/1",), 1.0)])
    FileTable(db).put([(1000, 5, entry(1))])
    return db


def results(db: Database) -> dict[TaskId, list[FrameResult]]:
    """What finished tasks found."""
    done = {row.task for row in TaskTable(db, OWN).of_job(JOB) if row.state == "done"}
    events = EventLog(db, OWN).of_tasks(JOB, done, limit=10_000)
    by_task: dict[TaskId, list[FrameResult]] = {task: [] for task in done}
    for e in events:
        by_task[e.task].append(FrameResult(e.frame, e.t, e.width, e.height, e.detections))
    return by_task


WHOLE = {task: [found(frame, n) for frame in range(15)] for n, task in enumerate(TASKS[:-1], 1)}
