"""Tasks and their events: whatever is repeated, interrupted or cancelled, each (task, frame) is there once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshinfer.errors import StoreError
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.store import Database, EventLog, StoreFull, TaskRow, TaskTable, result_key

OWN = PeerId("12D3KooWGatU9DVpA8qU8qkp8pYzkPqZ8AjbCdHXGKEQPPzvJQ5T")
JOB, OTHER = JobId("a" * 16), JobId("b" * 16)
T0 = 1_780_000_000.0


def task(i: int) -> TaskId:
    return TaskId(f"{i:032x}")


def entry(name: str = "a.mp4", source: str = "dock", captured: float | None = None) -> Entry:
    return Entry(ContentId("c" * 32), source, name, "video", {}, 1000, 64, 48, 100, 10.0, 10.0, captured)


def frame(i: int, found: int = 1) -> FrameResult:
    detections = tuple(Detection("person", 0.5 + k / 1000, (0.1, 1.0, 20.25, 30.0 + i)) for k in range(found))
    return FrameResult(i, i / 10, 64, 48, detections)


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    db = Database.open(tmp_path / "store.db", wall=clock)
    yield db
    db.close()


@pytest.fixture
def tasks(db: Database) -> TaskTable:
    return TaskTable(db, OWN)


@pytest.fixture
def log(db: Database) -> EventLog:
    return EventLog(db, OWN)


def run_through(tasks: TaskTable, i: int, frames: int, job: JobId = JOB, where: Entry | None = None) -> TaskRow:
    row = tasks.begin(task(i), job, where or entry())
    tasks.commit(
        row.task, [frame(f) for f in range(frames)], run=row.run, next_frame=frames, analysed=frames, seconds=1.5
    )
    return tasks.finish(row.task, run=row.run)


def test_a_task_from_start_to_end(tasks: TaskTable, log: EventLog) -> None:
    row = tasks.begin(task(1), JOB, entry(captured=T0))
    assert (row.state, row.run, row.attempts, row.next_frame) == ("running", 1, 0, 0)
    assert tasks.unfinished() == [row]
    events = tasks.commit(row.task, [frame(0), frame(1, 0), frame(2, 3)], run=1, next_frame=3, analysed=3, seconds=0.5)
    assert events is not None
    assert [(e.cursor.n, e.frame, len(e.detections), e.wall) for e in events] == [(1, 0, 1, T0), (2, 2, 3, T0 + 0.2)]
    assert log.replay(0, limit=10) == events
    done = tasks.finish(row.task, run=1)
    assert (done.state, done.analysed, done.detections, done.seconds) == ("done", 3, 4, 0.5)
    assert len(done.digest) == 32
    assert tasks.unfinished() == []
    assert tasks.of_job(JOB) == [done] == [tasks.get(row.task)]
    assert tasks.begin(row.task, JOB, entry()) == done, "what is done is not run again"


def test_an_interrupted_task_resumes_behind_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = Database.open(path)
    tasks = TaskTable(first, OWN)
    row = tasks.begin(task(1), JOB, entry())
    tasks.commit(row.task, [frame(0), frame(1)], run=row.run, next_frame=2, analysed=2, seconds=1.0)
    first.close()  # without finish, fail or release: as if the process had died

    second = Database.open(path)
    tasks = TaskTable(second, OWN)
    assert [r.task for r in tasks.unfinished()] == [row.task]
    again = tasks.begin(row.task, JOB, entry())
    assert (again.run, again.next_frame, again.analysed, again.seconds) == (2, 2, 2, 1.0)
    events = tasks.commit(again.task, [frame(1), frame(2)], run=2, next_frame=3, analysed=3, seconds=1.2)
    assert events is not None
    assert [(e.cursor.n, e.frame) for e in events] == [(3, 2)]
    assert second.incarnation == first.incarnation
    second.close()


class Process:
    """A peer's store from one start to the next `kill -9`."""

    def __init__(self, path: Path) -> None:
        self.db = Database.open(path)
        self.tasks = TaskTable(self.db, OWN)

    def starts(self, i: int, *, begins: bool = True) -> TaskRow:
        """Attempts as the start found them; then its work begins."""
        row = self.tasks.begin(task(i), JOB, entry(), 0, 50)
        if begins:
            self.tasks.attempt(row.task, run=row.run)
        return row

    def killed(self) -> Process:
        self.db.close()
        return Process(self.db.path)


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path / "attempts.db")


def test_what_kills_its_process_is_counted(process: Process) -> None:
    for before in range(3):
        assert process.starts(1).attempts == before
        assert process.starts(2, begins=False).attempts == 0, "what merely waited has no part in it"
        process = process.killed()


def test_getting_further_clears_a_task(process: Process) -> None:
    process.starts(1)
    process = process.killed()
    row = process.starts(1)
    process.tasks.commit(row.task, [], run=row.run, next_frame=0, analysed=0, seconds=1)
    process = process.killed()
    row = process.starts(1)
    assert row.attempts == 2, "that was no progress"
    process.tasks.commit(row.task, [], run=row.run, next_frame=1, analysed=1, seconds=1)
    process = process.killed()
    assert process.starts(1).attempts == 0


@pytest.mark.parametrize("how", ["released", "failed", "returned", "cancelled"])
def test_what_its_process_outlives_is_not_counted(process: Process, how: str) -> None:
    process.starts(1)
    process = process.killed()
    row = process.starts(1)
    assert row.attempts == 1
    match how:
        case "released":
            assert process.tasks.release(row.task, run=row.run).state == "pending"
        case "failed":
            process.tasks.fail(row.task, "host", "no memory", run=row.run)
        case "cancelled":
            process.tasks.cancel(JOB)
        case "returned":  # nothing could be written
            assert process.starts(1).attempts == 1
            process.starts(1, begins=False)
    process = process.killed()
    assert process.starts(1).attempts == 1, "only the first one counts"


def test_a_full_disk_is_no_attempt(process: Process) -> None:
    row = process.starts(1)
    with process.db.reading() as c:
        pages = c.execute("PRAGMA page_count").fetchone()[0]
        c.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull):
        process.tasks.commit(
            row.task, [frame(f, 300) for f in range(99)], run=row.run, next_frame=99, analysed=9, seconds=1
        )
    with process.db.reading() as c:
        c.execute("PRAGMA max_page_count = 100000")
    assert process.starts(1, begins=False).attempts == 0
    assert process.killed().starts(1).attempts == 0


def test_a_span_begins_at_its_first_frame(tasks: TaskTable) -> None:
    row = tasks.begin(task(1), JOB, entry(), 750, 1500)
    assert (row.first, row.stop, row.next_frame) == (750, 1500, 750)
    assert tasks.begin(task(1), OTHER, entry("b.mp4"), 750, 1500).entry == "b.mp4", "no frame of it is known yet"
    tasks.commit(row.task, [frame(750)], run=2, next_frame=751, analysed=1, seconds=1)
    again = tasks.begin(task(1), JOB, entry("c.mp4"), 750, 1500)
    assert (again.entry, again.first, again.next_frame) == ("b.mp4", 750, 751)
    assert tasks.finish(row.task, run=3, notice="cut off").notice == "cut off"
    assert tasks.begin(task(2), JOB, entry(), 1500, None).stop is None


def test_what_an_old_run_sends_is_ignored(tasks: TaskTable, log: EventLog) -> None:
    old = tasks.begin(task(1), JOB, entry())
    new = tasks.begin(task(1), JOB, entry())
    assert tasks.commit(old.task, [frame(0)], run=old.run, next_frame=1, analysed=1, seconds=1) is None
    assert tasks.finish(old.task, run=old.run) == new
    assert tasks.fail(old.task, "media", "gone", run=old.run) == new
    assert tasks.release(old.task, run=old.run) == new
    assert log.head() == 0


def test_a_cancelled_job_takes_no_more(tasks: TaskTable, log: EventLog) -> None:
    row = tasks.begin(task(1), JOB, entry())
    kept = run_through(tasks, 2, 3)
    assert tasks.cancel(JOB) == [row.task]
    assert tasks.commit(row.task, [frame(0)], run=row.run, next_frame=1, analysed=1, seconds=1) is None
    assert tasks.finish(row.task, run=row.run).state == "cancelled"
    assert tasks.get(kept.task) == kept, "done stays done"
    assert log.head() == 3
    assert tasks.cancel(JOB) == []


def test_failure_keeps_its_reason_until_the_next_start(tasks: TaskTable) -> None:
    row = tasks.begin(task(1), JOB, entry())
    failed = tasks.fail(row.task, "media", "x" * 5000, run=row.run)
    assert (failed.state, failed.error_kind, len(failed.error)) == ("failed", "media", 512)
    assert tasks.unfinished() == []
    again = tasks.begin(row.task, JOB, entry())
    assert (again.state, again.error, again.run) == ("running", "", 2)


def test_a_task_never_begun(tasks: TaskTable) -> None:
    assert tasks.get(task(9)) is None
    assert tasks.commit(task(9), [], run=1, next_frame=0, analysed=0, seconds=0) is None
    with pytest.raises(StoreError, match="never begun"):
        tasks.finish(task(9), run=1)


def test_equal_work_of_two_jobs_is_done_once_and_answers_both(tasks: TaskTable, log: EventLog) -> None:
    done = run_through(tasks, 1, 3)
    assert tasks.begin(task(1), OTHER, entry()) == done
    run_through(tasks, 2, 2, job=OTHER, where=entry("b.mp4"))
    assert [e.job for e in log.replay(0, limit=10)] == [JOB] * 3 + [OTHER] * 2
    assert [(e.job, e.cursor.n) for e in log.replay(0, limit=10, job=OTHER)] == [(OTHER, n) for n in range(1, 6)]
    assert (log.count(JOB), log.count(OTHER)) == (3, 5)
    assert [(r.job, r.task) for r in tasks.of_job(OTHER)] == [(OTHER, task(1)), (OTHER, task(2))]


def test_cancelling_one_of_two_jobs_stops_only_what_the_other_does_not_want(tasks: TaskTable) -> None:
    shared = tasks.begin(task(1), JOB, entry())
    shared = tasks.begin(shared.task, OTHER, entry())
    alone = tasks.begin(task(2), OTHER, entry())
    assert tasks.cancel(OTHER) == [alone.task]
    assert tasks.commit(shared.task, [frame(0)], run=shared.run, next_frame=1, analysed=1, seconds=1)
    assert tasks.cancel(JOB) == [shared.task]


def test_the_digest_is_of_outputs_alone(tasks: TaskTable, tmp_path: Path) -> None:
    """Equal outputs: equal digests, whatever was stored before, in however many commits, under whichever name."""
    run_through(tasks, 7, 5)
    one = run_through(tasks, 1, 4)
    other_db = Database.open(tmp_path / "other.db")
    others = TaskTable(other_db, PeerId("1" * 52))
    row = others.begin(task(1), OTHER, entry("z.mp4", "gate"))
    for f in (2, 3, 0, 1):
        others.commit(row.task, [frame(f)], run=row.run, next_frame=4, analysed=4, seconds=9)
    assert others.finish(row.task, run=row.run).digest == one.digest
    assert run_through(others, 2, 3).digest != one.digest
    other_db.close()


def test_pages_of_the_log(tasks: TaskTable, log: EventLog) -> None:
    for i in range(3):
        run_through(tasks, i, 4, job=OTHER if i == 1 else JOB)
    assert [e.cursor.n for e in log.replay(2, limit=5)] == [3, 4, 5, 6, 7]
    assert [e.cursor.n for e in log.replay(2, limit=5, until=4)] == [3, 4]
    assert [e.cursor.n for e in log.replay(2, limit=4, job=JOB)] == [3, 4, 9, 10]
    assert log.replay(12, limit=5) == []


def test_the_log_by_time(tasks: TaskTable, log: EventLog, clock: Clock) -> None:
    for i in range(3):
        clock.now = T0 + 60 * i
        run_through(tasks, i, 2)
    assert log.first_since(T0 - 1) == 0
    assert log.first_since(T0 + 60) == 2
    assert log.first_since(T0 + 61) == 4
    assert log.first_since(T0 + 121) == log.head() == 6


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_results_are_ordered_by_place(tasks: TaskTable, log: EventLog, limit: int) -> None:
    places = [("gate", "b.mp4"), ("dock", "z.mp4"), ("gate", "a.mp4"), ("dock", "z.mp4")]
    for i, (source, name) in enumerate(places):
        run_through(tasks, i, 3, where=entry(name, source))
    seen = []
    after = None
    while page := log.of_tasks(JOB, after=after, limit=limit):
        assert len(page) <= limit
        seen += page
        after = result_key(page[-1])
    assert [(e.source, e.entry, int(e.task, 16), e.frame) for e in seen] == sorted(
        (source, name, i, f) for i, (source, name) in enumerate(places) for f in range(3)
    )
    assert {e.task for e in log.of_tasks(JOB, [task(2)], limit=100)} == {task(2)}


Step = tuple[str, int, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "repeat", "crash", "begin"]),
        st.integers(0, 2),  # task
        st.integers(0, 3),  # how far back the batch starts
        st.integers(1, 5),  # frames in it
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_each_frame_once_and_cursors_without_gaps(steps: list[Step]) -> None:
    """Whatever is repeated, and wherever the process dies: every stored frame is there once, n is 1, 2, 3, ..."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        db = Database.open(path)
        tasks = TaskTable(db, OWN)
        rows = [tasks.begin(task(i), JOB, entry(f"{i}.mp4")) for i in range(3)]
        position = [0, 0, 0]
        told: list[tuple[int, TaskId, int]] = []
        for action, i, back, count in steps:
            if action == "crash":
                db.close()
                db = Database.open(path)
                tasks = TaskTable(db, OWN)
                rows = [tasks.begin(task(k), JOB, entry(f"{k}.mp4")) for k in range(3)]
                assert [r.next_frame for r in rows] == position
                continue
            if action == "begin":
                rows[i] = tasks.begin(task(i), JOB, entry(f"{i}.mp4"))
                continue
            start = max(0, position[i] - back)
            batch = [frame(f) for f in range(start, start + count)]
            position[i] = max(position[i], start + count)
            for _ in range(2 if action == "repeat" else 1):
                events = tasks.commit(
                    task(i), batch, run=rows[i].run, next_frame=start + count, analysed=start + count, seconds=0
                )
                assert events is not None
                told += [(e.cursor.n, e.task, e.frame) for e in events]
        stored = EventLog(db, OWN).replay(0, limit=10_000)
        db.close()
    assert [(e.cursor.n, e.task, e.frame) for e in stored] == told
    assert [n for n, _, _ in told] == list(range(1, len(told) + 1))
    assert sorted((t, f) for _, t, f in told) == sorted((task(i), f) for i in range(3) for f in range(position[i]))
