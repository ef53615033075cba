"""A candidate at work: where it fails the job's own model goes on, in one task with one outcome, and it is told.

Real engine, store and models; the scheduler is the test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshinfer.detect.detector import Detector, Worker, load_detector
from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.pool import Lease
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Canary, Detect, JobOrder, JobSpec, job_id, pack_spec, read_order
from meshinfer.node.work import WorkItem
from meshinfer.schedule.stimuli import Start, Stop
from meshinfer.store import Database, TaskTable
from tests.unit.engines import Gate
from tests.unit.footage import write_video
from tests.unit.test_runner import ENTRY, FRAMES, ME, MODEL, Shell, a_life
from tests.vision.tiny_onnx import brightness_model

NEW = ModelDigest("6" * 64)
SPEC = JobSpec("yard:stable", detect=Detect(min_score=0.01), canary=Canary(NEW, (ME,)))
PACKED = pack_spec(SPEC)
ORDER = JobOrder(job_id(PACKED, MODEL, b"nonce---"), PACKED, MODEL, b"nonce---", 0.0)
TASK = TaskId("a" * 32)
START = Start(ORDER.id, TASK, ENTRY)


class Breaks(Detector):
    """One that fails at a frame."""

    def __init__(self, inner: Detector, at: int, error: Exception) -> None:
        self.card, self._inner, self._left, self._error = inner.card, inner, at, error

    def worker(self, detect: Detect, max_detections: int = 300) -> Worker:
        worker = self._inner.worker(detect, max_detections)

        def run(image: Any) -> Any:
            if self._left == 0:
                raise self._error
            self._left -= 1
            return worker(image)

        return run  # type: ignore[return-value]  # called like a Worker, which is all an engine does


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("footage") / "v.avi", FRAMES)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(brightness_model())
    return load_detector(path)


Process = Callable[..., Any]


@pytest.fixture
def process(tmp_path: Path, video: Path, good: Detector) -> Process:
    @asynccontextmanager
    async def one(candidate: Detector | None, *, killed: bool = False) -> AsyncIterator[Shell]:
        """None: the candidate is not here."""
        shell = Shell(Database.open(tmp_path / "store.db"))
        info = read_order(ORDER, ME)
        here = MODEL if candidate is None else NEW
        shell.state = SimpleNamespace(
            jobs={ORDER.id: SimpleNamespace(info=info)}, models=SimpleNamespace(runs=lambda _: here)
        )

        def lease(item: WorkItem) -> Lease[AnyDetector]:
            return Lease(candidate if item.model == NEW and candidate is not None else good)

        assert not killed or isinstance(candidate, Gate)
        async with a_life(shell, video, lease, killed=candidate if killed else None):
            yield shell

    return one


async def test_a_good_candidate_does_it_and_its_scores_are_told(process: Process, good: Detector) -> None:
    async with process(Breaks(good, -1, ModelError("never"))) as shell:
        shell.runner.perform(START)
        (outcome,) = await shell.ended(START)
        assert (outcome.done, outcome.fallback, outcome.truncated, outcome.frames) == (True, "", "", FRAMES)
        assert sum(outcome.scores) == outcome.detections == FRAMES


@pytest.mark.parametrize(
    ("at", "error", "kind"),
    [
        (0, ModelError("no such operator"), "model"),
        (20, ModelError("shapes differ"), "model"),
        (0, MemoryError(), "host"),
    ],
)
async def test_where_it_fails_the_own_model_goes_on(
    process: Process, good: Detector, at: int, error: Exception, kind: str
) -> None:
    async with process(Breaks(good, at, error)) as shell:
        shell.runner.perform(START)
        (outcome,) = await shell.ended(START)
        assert (outcome.done, outcome.frames, outcome.detections) == (True, FRAMES, FRAMES)
        assert outcome.fallback == kind
        assert outcome.truncated.startswith(f"from frame {at} on without the candidate ({kind}): ")
        assert sorted(event.frame for event in shell.events) == list(range(FRAMES)), "each frame once"
        assert len(shell.outcomes()) == 1
    async with process(None) as shell:
        shell.runner.perform(START)
        assert (await shell.ended(START))[0].fallback == kind, "after a restart as well"


async def test_where_it_is_not_here_the_own_model_does_it(process: Process) -> None:
    async with process(None) as shell:
        shell.runner.perform(START)
        (outcome,) = await shell.ended(START)
        assert (outcome.done, outcome.frames, outcome.fallback) == (True, FRAMES, "absent")


async def test_one_that_ends_the_process_is_not_tried_for_ever(process: Process, good: Detector) -> None:
    for _ in range(2):
        gate = Gate(good)
        async with process(gate, killed=True) as shell:
            shell.runner.perform(START)
            await shell.until(lambda gate=gate: gate.entered.acquire(blocking=False))
    async with process(Gate(good)) as shell:
        shell.runner.perform(START)
        (outcome,) = await shell.ended(START)
        assert (outcome.done, outcome.frames, outcome.fallback) == (True, FRAMES, "host")


async def test_both_may_fail(process: Process, good: Detector) -> None:
    bad = Breaks(good, 0, ModelError("this one"))
    async with process(bad) as shell:
        shell.runner._engine._detector_for = lambda _: Lease(bad)
        shell.runner.perform(START)
        (outcome,) = await shell.ended(START)
        assert (outcome.done, outcome.error_kind, outcome.fallback) == (False, "model", "")


async def test_what_is_let_go_of_meanwhile_is_not_gone_on_with(process: Process, good: Detector) -> None:
    """The job is cancelled between the candidate's failure and the other model's start."""
    async with process(Breaks(good, 0, ModelError("no"))) as shell:
        tasks, wish = TaskTable(shell.db, ME), shell.runner._wish

        def first(effect: Any) -> None:
            if not isinstance(effect, Start | Stop):
                wish(Stop(ORDER.id, (TASK,)))
            wish(effect)

        shell.runner._wish = first  # type: ignore[method-assign]  # so that it falls into the gap
        shell.runner.perform(START)
        await shell.until(lambda: (row := tasks.get(TASK)) is not None and row.state == "cancelled")
        await shell.until(lambda: not shell.runner._wishes)
        assert shell.runner.load == 0
        assert shell.outcomes() == []
