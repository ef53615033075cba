"""The example of docs/SERIES.md from end to end: recordings, catalog, spans, engine, events, ground truth.

1. The committed model finds every fault in recordings that it was not trained on, and calls nothing sound faulty.
2. Its graph computes what the training computed.
3. A file of another kind than the model looks at fails its task with the reason, and costs no other task anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshinfer.api.jobfile import load_job
from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.pool import Lease
from meshinfer.media.examine import examine
from meshinfer.media.scan import Seen
from meshinfer.media.source import SourceSpec
from meshinfer.model import spans
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import FrameResult
from meshinfer.model.ids import ModelDigest, TaskId
from meshinfer.model.job import Detect, Limits
from meshinfer.node.engine import Engine, WorkItem
from scripts.gearbox import net, world
from scripts.gearbox.reckoning import reckon
from tests.unit.engines import Sink
from tests.unit.footage import write_image

EXAMPLE = Path(__file__).parents[2] / "configs" / "examples" / "turbine"
MODEL = ModelDigest("0" * 64)
SPEC, _ = load_job(str(EXAMPLE / "gearbox.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turbine")
    world.write(folder)
    return folder


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(EXAMPLE / "gearbox.onnx")


def entries(folder: Path) -> list[Entry]:
    source = SourceSpec("gearbox", folder / "vibration", kind="series")
    found = []
    for path in sorted(source.path.iterdir()):
        info = path.stat()
        what = examine(source, path.name, Seen(info.st_size, info.st_mtime_ns), lambda: None).what
        assert isinstance(what, Entry)
        found.append(what)
    return found


def run(detector: Detector, folder: Path, **more: Any) -> dict[str, list[FrameResult]]:
    """Every span of every recording through the engine: the results of each file, in order."""
    sink = Sink()
    tasks: dict[TaskId, str] = {}
    with Engine(lambda _: Lease(detector), sink, workers=2) as engine:
        for entry in entries(folder):
            pieces = spans.cut(SPEC, entry)
            for span in reversed(range(pieces.spans)):
                task = TaskId(f"{entry.name} {span}")
                tasks[task] = entry.name
                path = folder / "vibration" / entry.name
                first, stop = pieces.bounds(span)
                item = WorkItem(task, MODEL, path, "series", detect=SPEC.detect, first=first, stop=stop, **more)
                engine.submit(item)
        sink.finish(*tasks)
    assert [b.error for b in sink.batches if b.error] == []
    found: dict[str, list[FrameResult]] = {name: [] for name in tasks.values()}
    for task, name in tasks.items():
        found[name] += sink.results(task)
    return {name: sorted(results, key=lambda r: r.frame) for name, results in found.items()}


def test_the_faults_are_found(detector: Detector, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(detector, folder)
    events = [(name, r.t) for name, results in whole.items() for r in results]
    rows = reckon(json.loads((folder / "truth.json").read_text()), events)
    everything = rows[-1]
    assert (everything.noticed, everything.faults) == (3, 3)
    assert everything.precision >= 0.98
    assert everything.recall >= 0.70, "a fault sets in slowly: its first seconds nobody could tell"
    first = next(r for results in whole.values() for r in results)
    assert (first.width, first.height, first.t) == (net.WINDOW, 1, first.frame / world.RATE)
    # Cut into spans of ten seconds that are run the last one first, they give the same.
    monkeypatch.setattr(spans, "FEWEST_SAMPLES", 1)
    monkeypatch.setattr(spans, "SPAN_SECONDS", 10.0)
    assert run(detector, folder) == whole


def test_recordings_are_entries_with_times(folder: Path) -> None:
    sound, *_ = entries(folder)
    assert (sound.kind, sound.width, sound.height, sound.fps, sound.duration) == ("series", 1, 1, 4096.0, 60.0)
    assert sound.captured == 1795161600.0


def test_the_graph_computes_what_training_computed(tmp_path: Path) -> None:
    trained = net.Autoencoder(3)
    trained.fit(net.features(net.windows(8)), steps=20, seed=3)
    trained.write(tmp_path / "m.onnx")
    windows = net.windows(7, (world.Fault(0, 60, "bearing"),))[::8]
    scores = trained.score(net.features(windows))
    assert scores.max() > 2 * scores.min()
    scale = 1.1 * scores.max()
    (tmp_path / "m.toml").write_text(f"[series]\nscale = {scale}\n")
    worker = load_detector(tmp_path / "m.onnx").worker(Detect(min_score=0))
    made = [worker(w[None].astype(np.float32))[0].score for w in windows]
    np.testing.assert_allclose(made, scores / scale, atol=2e-4)


def test_what_a_model_does_not_look_at_fails_with_the_reason(detector: Detector, folder: Path) -> None:
    sink = Sink()
    picture = write_image(folder / "i.png")
    sound = folder / "vibration" / world.RECORDINGS[0].name
    with Engine(lambda _: Lease(detector), sink, workers=1) as engine:
        engine.submit(WorkItem(TaskId("image"), MODEL, picture, "image"))
        engine.submit(WorkItem(TaskId("rate"), MODEL, sound, "series", rate=1000.0))
        engine.submit(
            WorkItem(TaskId("few"), MODEL, sound, "series", detect=Detect(min_score=0), limits=Limits(frames=3))
        )
        sink.finish(TaskId("image"), TaskId("rate"), TaskId("few"))
    (wrong,) = sink.of(TaskId("image"))
    assert wrong.error == ("model", "gearbox looks at series, and i.png is an image")
    (odd,) = sink.of(TaskId("rate"))
    assert odd.error is not None
    assert odd.error.kind == "input"
    assert "sampled 1000 times a second, and the model wants 4096" in odd.error.message
    assert [r.frame for r in sink.results(TaskId("few"))] == [0, 1024, 2048]
