"""Between schedule, engine and store, with a real engine, store and model; the scheduler is the test. The promises:

1. A span's results and outcome are stored, then told; what is done for one job is done for every equal one, told once.
2. What is let go of stops, tells nothing more, and can be gone on with, for another job too.
3. A task that ends its process three times without getting further is not run again, and takes no other with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.pool import Lease
from meshinfer.errors import ModelDamaged
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Event
from meshinfer.model.facts import Outcome
from meshinfer.model.ids import ContentId, JobId, ModelDigest, PeerId, TaskId
from meshinfer.model.job import Detect, JobOrder, JobSpec, job_id, pack_spec, read_order
from meshinfer.node.driver import Driver
from meshinfer.node.runner import Runner
from meshinfer.node.work import WorkItem
from meshinfer.schedule.stimuli import Start, Stimulus, Stop, TaskEnded, TaskReturned, Yield
from meshinfer.store import Database, EventLog, TaskTable
from tests.unit.engines import Gate
from tests.unit.footage import write_video
from tests.vision.tiny_onnx import brightness_model

ME = PeerId("12D3KooWGatU9DVpA8qU8qkp8pYzkPqZ8AjbCdHXGKEQPPzvJQ5T")
MODEL = ModelDigest("0" * 64)
FRAMES = 60
ENTRY = Entry(ContentId("c" * 32), "cam", "v.avi", "video", {}, 1, 64, 64, FRAMES, 10.0, 6.0)


def order(nonce: bytes) -> JobOrder:
    packed = pack_spec(JobSpec("m", detect=Detect(min_score=0.01)))
    return JobOrder(job_id(packed, MODEL, nonce), packed, MODEL, nonce, 0.0)


ORDERS = [order(b"nonce--1"), order(b"nonce--2")]
ONE, TWO = (o.id for o in ORDERS)


def span(n: int, job: JobId = ONE, *, length: int = 20) -> Start:
    """The n-th span of the video, which has three; task ids are those of an equal job as well."""
    stop = (n + 1) * length
    return Start(job, TaskId(f"{n:032x}"), ENTRY, n * length, None if stop >= FRAMES else stop)


class Shell:
    """What is around a runner: the schedule, of which only the jobs are there, and the event hub."""

    def __init__(self, db: Database) -> None:
        jobs = {o.id: SimpleNamespace(info=read_order(o, ME)) for o in ORDERS}
        self.state = SimpleNamespace(jobs=jobs, models=SimpleNamespace(runs=lambda info: info.order.model))
        self.db = db
        self.fed: list[Stimulus] = []
        self.events: list[Event] = []
        self.trouble: list[str] = []
        self.losses = 0
        self.runner: Runner

    def feed(self, stimulus: Stimulus) -> None:
        self.fed.append(stimulus)

    async def lost(self) -> None:
        self.losses += 1
        assert not any(isinstance(f, TaskReturned) for f in self.fed), "it would be started again at once"

    def outcomes(self, task: TaskId | None = None) -> list[Outcome]:
        return [f.outcome for f in self.fed if isinstance(f, TaskEnded) and task in (None, f.task)]

    async def until(self, true: Callable[[], Any]) -> None:
        with trio.fail_after(30):
            while not true():
                await trio.sleep(0.005)

    async def ended(self, *starts: Start) -> list[Outcome]:
        await self.until(lambda: all(self.outcomes(start.task) for start in starts))
        return [self.outcomes(start.task)[-1] for start in starts]


@asynccontextmanager
async def a_life(
    shell: Shell, video: Path, detector_for: Callable[[WorkItem], Lease[AnyDetector]], *, killed: AnyDetector | None
) -> AsyncIterator[None]:
    """The shell's runner from its start to its end, in order or, with the detector that it has in hand, `killed`."""
    shell.runner = Runner(
        shell.db,
        ME,
        cast(Driver, shell),
        find=lambda _: (video, ENTRY),
        detector_for=detector_for,
        on_events=shell.events.extend,
        on_trouble=shell.trouble.append,
        on_lost=shell.lost,
        workers=1,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shell.runner.serve)
        yield
        nursery.cancel_scope.cancel()
    if killed is not None:
        shell.db.close()  # nothing that its threads still do reaches the store
        if isinstance(killed, Gate):
            killed.open.set()
        await trio.to_thread.run_sync(shell.runner._engine.close)
    else:
        await shell.runner.close(30.0)
        shell.db.close()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("footage") / "v.avi", FRAMES)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(brightness_model())
    return load_detector(path)


Process = Callable[..., Any]


@pytest.fixture
def process(tmp_path: Path, video: Path, detector: Detector) -> Process:
    """A peer from its start to its end, in order or by `kill -9`; the next one has the same store."""

    @asynccontextmanager
    async def one(
        *, killed: bool = False, by: Detector = detector, lease: Callable[..., Any] = Lease
    ) -> AsyncIterator[Shell]:
        shell = Shell(Database.open(tmp_path / "store.db"))
        async with a_life(shell, video, lambda _: lease(by), killed=by if killed else None):
            yield shell

    return one


async def test_spans_are_stored_and_told(process: Process) -> None:
    starts = [span(n) for n in (2, 0, 1)]
    async with process() as shell:
        for start in starts:
            shell.runner.perform(start)
        outcomes = await shell.ended(*starts)
        assert [(o.done, o.frames, o.detections, o.attempt, o.reused) for o in outcomes] == [
            (True, 20, 20, 1, False)
        ] * 3
        assert sorted(e.frame for e in shell.events) == list(range(FRAMES))
        rows = TaskTable(shell.db, ME).of_job(ONE)
        assert [(r.state, r.first, r.stop, r.next_frame, r.attempts) for r in rows] == [
            ("done", 0, 20, 20, 0),
            ("done", 20, 40, 40, 0),
            ("done", 40, None, FRAMES, 0),
        ]
        results = EventLog(shell.db, ME).of_tasks(ONE, limit=100)
        assert [e.frame for e in results] == list(range(FRAMES)), "in the order of the file"


async def test_a_damaged_model_costs_no_task(process: Process) -> None:
    def damaged(detector: Detector) -> Lease[Detector]:
        if not mended:
            raise ModelDamaged("m: its file has changed")
        return Lease(detector)

    mended: list[bool] = []
    async with process(lease=damaged) as shell:
        shell.runner.perform(span(0))
        await shell.until(lambda: TaskReturned(span(0).task) in shell.fed)
        assert (shell.losses, shell.outcomes(), shell.trouble) == (1, [], [])
        mended.append(True)
        shell.runner.perform(span(0))
        (outcome,) = await shell.ended(span(0))
        assert (outcome.done, outcome.frames) == (True, 20)


async def test_an_equal_job_finds_it_done(process: Process) -> None:
    async with process() as shell:
        shell.runner.perform(span(0))
        (first,) = await shell.ended(span(0))
    async with process() as shell:
        shell.runner.perform(span(0, TWO))
        shell.runner.perform(span(1, TWO))
        again, new = await shell.ended(span(0), span(1))
        assert (again.done, again.digest, again.frames, again.detections) == (True, first.digest, 20, 20)
        assert (again.reused, new.reused) == (True, False)
        assert {e.frame for e in shell.events} == set(range(20, 40)), "what was sent before is not sent again"
        log = EventLog(shell.db, ME)
        assert [(e.job, e.frame) for e in log.of_tasks(TWO, limit=100)] == [(TWO, n) for n in range(40)]
        assert [e.cursor.n for e in log.replay(0, limit=100, job=TWO)] == list(range(1, 41))
        assert (log.count(ONE), log.count(TWO)) == (20, 40)
    async with process() as shell:
        shell.runner.perform(span(0))
        assert [o.reused for o in await shell.ended(span(0))] == [False], "its own work, told again after a restart"


@pytest.mark.parametrize("wish", [Stop, Yield])
async def test_what_is_let_go_of_stops_and_can_go_on(
    process: Process, detector: Detector, wish: type[Stop] | type[Yield]
) -> None:
    gate = Gate(detector)
    async with process(by=gate) as shell:
        shell.runner.perform(span(0))
        await shell.until(lambda: gate.entered.acquire(blocking=False))
        shell.runner.perform(wish(ONE, (span(0).task, span(1).task)))
        await shell.until(lambda: shell.runner.load == 0)
        tasks = TaskTable(shell.db, ME)
        state = "cancelled" if wish is Stop else "pending"
        await shell.until(lambda: [(r.state, r.attempts) for r in tasks.of_job(ONE)] == [(state, 0)])
        gate.open.set()
        shell.runner.perform(span(0, TWO))
        (outcome,) = await shell.ended(span(0))
        assert (outcome.done, outcome.attempt, outcome.reused) == (True, 2, False)
        assert [e.frame for e in shell.events] == list(range(20))


async def test_a_cancelled_job_s_beginning_is_gone_on_with(process: Process, detector: Detector) -> None:
    """Frames that the first job had dealt with are not analysed again; the events of the others are the second's."""
    gate = Gate(detector)
    async with process(by=gate) as shell:
        shell.runner.perform(span(0))
        await shell.until(lambda: gate.entered.acquire(blocking=False))
        tasks = TaskTable(shell.db, ME)
        row = tasks.get(span(0).task)
        assert row is not None
        tasks.commit(row.task, (), run=row.run, next_frame=5, analysed=5, seconds=1.0)
        shell.runner.perform(Stop(ONE, (span(0).task,)))
        await shell.until(lambda: shell.runner.load == 0)
        gate.open.set()
        shell.runner.perform(span(0, TWO))
        (outcome,) = await shell.ended(span(0))
        assert (outcome.done, outcome.frames, outcome.reused) == (True, 20, False)
        assert [(e.job, e.frame) for e in shell.events] == [(TWO, n) for n in range(5, 20)]


async def test_what_ends_its_process_again_and_again_is_not_run_again(process: Process, detector: Detector) -> None:
    bad, others = span(0), [span(1), span(2)]
    for attempt in range(3):
        gate = Gate(detector)
        async with process(killed=True, by=gate) as shell:
            for start in (bad, *others):
                shell.runner.perform(start)
            await shell.until(lambda gate=gate: gate.entered.acquire(blocking=False))
            await shell.until(lambda shell=shell: shell.runner.load == 3)
            row = TaskTable(shell.db, ME).get(bad.task)
            assert row is not None
            assert row.attempts == attempt + 1
    async with process() as shell:
        for start in (bad, *others):
            shell.runner.perform(start)
        failed, *rest = await shell.ended(bad, *others)
        assert (failed.done, failed.error_kind) == (False, "host")
        assert failed.error.startswith("it ended the process 3 times at frame 0, and is not run here again")
        assert [(o.done, o.frames) for o in rest] == [(True, 20)] * 2, "those that waited behind it are not to blame"
    async with process() as shell:
        shell.runner.perform(span(0, TWO))
        assert (await shell.ended(bad))[0].error_kind == "host", "nor for another job"


async def test_kills_of_a_peer_with_much_to_do_fail_nothing(process: Process, detector: Detector) -> None:
    starts = [span(n, length=1) for n in range(FRAMES)]
    for _ in range(2):
        gate = Gate(detector)
        async with process(killed=True, by=gate) as shell:
            for start in starts:
                shell.runner.perform(start)
            await shell.until(lambda gate=gate: gate.entered.acquire(blocking=False))
            await shell.until(lambda shell=shell: shell.runner.load == FRAMES)
            attempts = {row.task: row.attempts for row in TaskTable(shell.db, ME).of_job(ONE)}
            assert attempts[starts[0].task] > 0
            assert not any(attempts[start.task] for start in starts[FRAMES // 2 :]), "they only waited"
    async with process() as shell:
        for start in starts:
            shell.runner.perform(start)
        assert all(o.done for o in await shell.ended(*starts))
        assert [e.frame for e in EventLog(shell.db, ME).of_tasks(ONE, limit=99)] == list(range(FRAMES))


async def test_a_full_disk_is_the_host_s_matter(process: Process) -> None:
    whole = span(0, length=FRAMES)
    async with process() as shell:
        TaskTable(shell.db, ME).begin(whole.task, ONE, ENTRY)
        with shell.db.reading() as c:
            pages = c.execute("PRAGMA page_count").fetchone()[0]
            c.execute(f"PRAGMA max_page_count = {pages}")  # its events take more
        for tries in range(1, 6):
            shell.runner.perform(whole)
            await shell.until(lambda n=tries: sum(isinstance(f, TaskReturned) for f in shell.fed) == n)
        assert "no room left" in shell.trouble[0]
        with shell.db.reading() as c:
            c.execute("PRAGMA max_page_count = 100000")
        shell.runner.perform(whole)
        (outcome,) = await shell.ended(whole)
        assert (outcome.done, outcome.frames, outcome.detections) == (True, FRAMES, FRAMES)
