"""The machine room, with a real model (its score is the frame's brightness) on real files. The promises
(`test_engine_turns.py` has most of 3, 4 and 6):

1. Every batch carries the next frames of its task, in order, without a gap.
2. A task resumed at a batch's `next_frame` gives exactly the tail.
3. A task that fails, is cancelled or is refused by the sink costs no other task anything.
4. Between decoder and sink there are never more frames than the window holds.
5. The spans of a file, in any order, give together what the whole file gives.
6. Jobs take turns, and a task that runs alone has the machine to itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from meshinfer.detect.detector import Detector
from meshinfer.detect.pool import Lease
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect, Limits, Sample
from meshinfer.node.engine import Engine, TaskError, WorkItem
from tests.unit.engines import FRAMES, MODEL, A, B, C, Make, Sink
from tests.unit.footage import grey, write_video


def test_frames_come_in_order_without_a_gap(engine: Engine, sink: Sink, item: Make) -> None:
    engine.submit(item(A))
    sink.finish(A)
    batches = sink.of(A)
    assert [r.frame for r in sink.results(A)] == list(range(FRAMES))
    assert all(abs(r.detections[0].score - grey(r.frame) / 255) < 0.001 for r in sink.results(A))
    done = 0
    for batch in batches:
        done += batch.analysed_frames
        assert batch.next_frame == done
        assert len(batch.results) == batch.analysed_frames == batch.detections
    assert [b.started for b in batches] == [True] + [False] * (len(batches) - 1)
    assert [b.finished for b in batches] == [False] * (len(batches) - 1) + [True]
    assert batches[-1].error is None
    assert engine.load == 0


@pytest.mark.parametrize("sample", [Sample(), Sample(every=4), Sample(fps=3)])
def test_a_resumed_task_gives_the_tail(engine: Engine, sink: Sink, item: Make, sample: Sample) -> None:
    engine.submit(item(A, sample=sample))
    sink.finish(A)
    whole = sink.results(A)
    for start in (1, 41, FRAMES):
        sink.batches.clear()
        engine.submit(item(B, sample=sample, first=start))
        sink.finish(B)
        assert sink.results(B) == [r for r in whole if r.frame >= start]
        assert sink.of(B)[-1].next_frame == max([start, *(r.frame + 1 for r in whole)])


@pytest.mark.parametrize("sample", [Sample(), Sample(every=4), Sample(fps=3)])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_spans_give_what_the_whole_file_gives(
    engine: Engine, sink: Sink, item: Make, sample: Sample, order: tuple[int, ...]
) -> None:
    engine.submit(item(A, sample=sample))
    spans = [(0, 37), (37, 74), (74, FRAMES + 40), (FRAMES + 40, None)]  # the container promised too much
    tasks = [TaskId(f"{n:032x}") for n in range(4)]
    for n in order:
        engine.submit(item(tasks[n], sample=sample, first=spans[n][0], stop=spans[n][1]))
    sink.finish(A, *tasks)
    assert [r for task in tasks for r in sink.results(task)] == sink.results(A)
    assert all(sink.of(task)[-1].error is None for task in tasks)
    assert sum(b.analysed_frames for b in sink.of(tasks[3])) == 0
    sink.batches.clear()
    engine.submit(item(B, sample=sample, first=50, stop=74))  # resumed in the middle
    engine.submit(item(C, sample=sample))
    sink.finish(B, C)
    assert sink.results(B) == [r for r in sink.results(C) if 50 <= r.frame < 74]


def test_frames_without_detections_count_and_are_not_sent(engine: Engine, sink: Sink, item: Make) -> None:
    engine.submit(item(A, detect=Detect(min_score=0.5)))
    sink.finish(A)
    assert [r.frame for r in sink.results(A)] == [n for n in range(FRAMES) if grey(n) > 127]
    assert sum(b.analysed_frames for b in sink.of(A)) == FRAMES


def test_images_and_videos_in_a_row(engine: Engine, sink: Sink, item: Make) -> None:
    tasks = [TaskId(f"{n:032x}") for n in range(60)]
    for n, task in enumerate(tasks):
        engine.submit(item(task, "v.avi" if n % 20 == 0 else "i.png", limits=Limits(frames=5)))
    assert engine.load > 0
    sink.finish(*tasks)
    for n, task in enumerate(tasks):
        batches = sink.of(task)
        assert sum(b.started for b in batches) == 1
        assert [b.finished for b in batches].count(True) == 1
        if n % 20:
            (batch,) = batches
            assert batch.results == (FrameResult(0, 0.0, 64, 64, (Detection("grey", 0.4, (24.0, 24.0, 40.0, 40.0)),)),)
            assert batch.next_frame == 1


def test_limits_count_frames_from_before(engine: Engine, sink: Sink, item: Make) -> None:
    engine.submit(item(A, limits=Limits(frames=12)))
    engine.submit(item(B, limits=Limits(frames=12), first=7, analysed=7))
    engine.submit(item(C, limits=Limits(frames=12), first=12, analysed=12))
    sink.finish(A, B, C)
    assert [r.frame for r in sink.results(A)] == list(range(12))
    assert [r.frame for r in sink.results(B)] == list(range(7, 12))
    assert sink.results(C) == []
    assert sink.of(A)[-1].error is None


def test_out_of_time_is_a_host_error(engine: Engine, sink: Sink, item: Make) -> None:
    engine.submit(item(A, limits=Limits(seconds=1e-9)))
    sink.finish(A)
    assert sink.of(A)[-1].error == TaskError("host", "took longer than its limit of 1e-09 seconds")


def test_failures_cost_only_their_task(folder: Path, detector: Detector, sink: Sink, item: Make) -> None:
    other = ModelDigest("1" * 64)

    def detector_for(item: WorkItem) -> Lease[Detector]:
        if item.model == other:
            raise ModelError("no such model")
        return Lease(detector)

    items = {
        "good": item(TaskId("good")),
        "corrupt video": item(TaskId("corrupt video"), "bad.mp4"),
        "corrupt image": WorkItem(TaskId("corrupt image"), MODEL, folder / "bad.mp4", "image"),
        "absent": item(TaskId("absent"), "absent.mp4"),
        "class": item(TaskId("class"), detect=Detect(classes=("gray",))),
        "model": WorkItem(TaskId("model"), other, folder / "v.avi", "video"),
        "good again": item(TaskId("good again")),
    }
    with Engine(detector_for, sink, workers=2) as engine:
        for work in items.values():
            engine.submit(work)
        sink.finish(*(work.task for work in items.values()))
    errors = {name: sink.of(work.task)[-1].error for name, work in items.items()}
    assert errors.pop("good") is None
    assert errors.pop("good again") is None
    assert sink.results(items["good"].task) == sink.results(items["good again"].task)
    assert {name: e and e.kind for name, e in errors.items()} == {
        "corrupt video": "input",
        "corrupt image": "input",
        "absent": "input",
        "class": "model",
        "model": "model",
    }
    class_error = errors["class"]
    assert class_error is not None
    assert "did you mean 'grey'" in class_error.message


def test_a_cut_off_video_succeeds_with_a_notice(engine: Engine, sink: Sink, item: Make, folder: Path) -> None:
    path = write_video(folder / "cut.avi", 60, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    engine.submit(item(A, "cut.avi"))
    sink.finish(A)
    assert sink.of(A)[-1].error is None
    assert "cut off" in sink.of(A)[-1].notice
