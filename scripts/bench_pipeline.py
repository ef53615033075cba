"""How much of the machine the pipeline uses: frames/s of decode + detect + hand-over, over the bound and over a rival.

    bound       as many threads as cores, each a bare loop of `session.run` on one input: nothing else is done
    rival       what one would write first: read, letterbox, run, suppress, a frame after the other, default threads
    pipeline    `meshinfer.node.engine`, results to a sink that counts

The three take turns within each round, so what else the machine does falls on all; a figure is the median of the
rounds' ratios. `useful CPU` is the bound's CPU time per frame over the pipeline's: the share of the work that is
inference. It is what `of bound` comes to on a machine that does nothing else.

Needs the test assets (MESHINFER_ASSETS, default ../shared/assets), and makes a 1080p video of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np
import onnxruntime

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.onnx import Session
from meshinfer.detect.pool import Lease
from meshinfer.model.ids import TaskId
from meshinfer.model.job import Detect, Limits
from meshinfer.node.engine import Batch, Engine, WorkItem

CORES = os.cpu_count() or 1
MODELS = ("yolox_nano", "yolov8n_int8")
OF_BOUND, OF_RIVAL = 0.90, 1.3
"""The targets: of the bound where inference dominates (the heavier model), and of the rival in all."""


class Row(NamedTuple):
    model: str
    video: str
    bound: float
    rival: float
    pipeline: float
    """Frames/s, medians."""
    of_bound: float
    of_rival: float
    useful_cpu: float


def measure(model: Path, video: Path, frames: int, rounds: int) -> Row:
    detector = load_detector(model)
    blob = np.random.default_rng(0).random((1, 3, detector.card.height, detector.card.width), np.float32)
    session = Session(model.read_bytes())
    rival = Rival(model, detector)
    runs: dict[str, Callable[[], float]] = {
        "bound": lambda: bound(session, blob, frames),
        "rival": lambda: rival(video, frames),
        "pipeline": lambda: pipeline(detector, video, frames),
    }
    for run in runs.values():
        run()  # caches, allocations, the clock of the cores
    rates: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 else reversed(runs):
            began = time.process_time()
            rates[name].append(runs[name]())
            cpu[name].append(time.process_time() - began)
    median = {name: statistics.median(values) for name, values in rates.items()}
    return Row(
        model.stem,
        video.name,
        median["bound"],
        median["rival"],
        median["pipeline"],
        statistics.median(p / b for p, b in zip(rates["pipeline"], rates["bound"], strict=True)),
        statistics.median(p / r for p, r in zip(rates["pipeline"], rates["rival"], strict=True)),
        statistics.median(cpu["bound"]) / statistics.median(cpu["pipeline"]),
    )


def bound(session: Session, blob: Any, frames: int) -> float:
    name = session.inputs[0].name
    each = max(1, frames // CORES)

    def loop() -> None:
        for _ in range(each):
            session.run({name: blob})

    threads = [threading.Thread(target=loop) for _ in range(CORES)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return each * CORES / (time.perf_counter() - began)


class Rival:
    """The plain loop, with the usual calls: cv2.VideoCapture, blobFromImage, a session as it comes, cv2's NMS."""

    def __init__(self, model: Path, detector: Detector) -> None:
        self._session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name
        self._width, self._height = detector.card.width, detector.card.height
        self._yolox = detector.card.layout == "yolox"
        shifts = [(x, y, s) for s in (8, 16, 32) for y in range(self._height // s) for x in range(self._width // s)]
        self._grid = np.array(shifts, np.float32)

    def __call__(self, video: Path, frames: int) -> float:
        cv2.setNumThreads(CORES)
        capture = cv2.VideoCapture(str(video))
        began, done = time.perf_counter(), 0
        while done < frames:
            ok, image = capture.read()
            if not ok:
                break
            self._one(image)
            done += 1
        seconds = time.perf_counter() - began
        cv2.setNumThreads(1)  # as the pipeline has it
        return done / seconds

    def _one(self, image: Any) -> Any:
        height, width = image.shape[:2]
        ratio = min(self._width / width, self._height / height)
        inner = cv2.resize(image, (round(width * ratio), round(height * ratio)))
        below, right = self._height - inner.shape[0], self._width - inner.shape[1]
        square = cv2.copyMakeBorder(inner, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        blob = cv2.dnn.blobFromImage(square, 1.0 if self._yolox else 1 / 255, swapRB=not self._yolox)
        output = self._session.run(None, {self._name: blob})[0][0]
        if self._yolox:
            output[:, :2] = (output[:, :2] + self._grid[:, :2]) * self._grid[:, 2:]
            output[:, 2:4] = np.exp(output[:, 2:4]) * self._grid[:, 2:]
            boxes, scores = output[:, :4], output[:, 5:] * output[:, 4:5]
        else:
            boxes, scores = output[:4].T, output[4:].T
        labels = scores.argmax(axis=1)
        best = scores.max(axis=1)
        kept = best >= 0.25
        corners = np.concatenate((boxes[kept, :2] - boxes[kept, 2:] / 2, boxes[kept, 2:]), axis=1) / ratio
        return cv2.dnn.NMSBoxesBatched(corners.tolist(), best[kept].tolist(), labels[kept].tolist(), 0.25, 0.6)


def pipeline(detector: Detector, video: Path, frames: int) -> float:
    """From submission to the last batch: what a task costs in all, opening its file included."""
    finished = threading.Event()
    counted = 0

    def sink(batch: Batch) -> None:
        nonlocal counted
        counted += batch.analysed_frames
        if batch.finished:
            finished.set()

    with Engine(lambda _: Lease(detector), sink) as engine:
        began = time.perf_counter()
        engine.submit(
            WorkItem(
                TaskId("bench"), detector.card.digest, video, "video", detect=Detect(), limits=Limits(frames=frames)
            )
        )
        finished.wait()
        seconds = time.perf_counter() - began
    return counted / seconds


def make_1080p(source: Path, folder: Path, frames: int) -> Path:
    """The source's frames, enlarged to 1920x1080 and shifted by some pixels each, so that nothing stands still."""
    target = folder / "made-1080p.mp4"
    capture = cv2.VideoCapture(str(source))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 25, (1920, 1080))
    for number in range(frames):
        ok, image = capture.read()
        if not ok:
            break
        large = cv2.resize(image, (1920, 1080), interpolation=cv2.INTER_CUBIC)
        writer.write(np.roll(large, 4 * number, axis=1))
    writer.release()
    return target


def main(argv: list[str] | None = None) -> int:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few frames and rounds: to see that it runs")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--frames", type=int, default=240, help="per run of the lighter model; a quarter for the heavier"
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.frames = 3, 120
    assets = Path(os.environ.get("MESHINFER_ASSETS", ROOT.parent / "shared" / "assets"))
    if not assets.is_dir():
        print(f"no test assets at {assets}: set MESHINFER_ASSETS", file=sys.stderr)
        return 2
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        videos = [
            assets / "media" / "car-detection.mp4",
            assets / "media" / "one-by-one-person.mp4",
            make_1080p(assets / "media" / "one-by-one-person.mp4", Path(folder), args.frames),
        ]
        for model, frames in zip(MODELS, (args.frames, args.frames // 4), strict=True):
            rows += [measure(assets / "models" / f"{model}.onnx", video, frames, args.rounds) for video in videos]
    if args.json:
        print(json.dumps({"cores": CORES, "rows": [row._asdict() for row in rows]}))
        return 0
    print(f"frames/s, medians of {args.rounds} interleaved rounds on {CORES} cores")
    print(
        f"{'model':14}{'video':24}{'bound':>8}{'rival':>8}{'pipeline':>10}{'of bound':>10}{'of rival':>10}"
        f"{'useful CPU':>12}"
    )
    for row in rows:
        rates = f"{row.bound:8.1f}{row.rival:8.1f}{row.pipeline:10.1f}"
        print(f"{row.model:14}{row.video:24}{rates}{row.of_bound:10.2f}{row.of_rival:10.2f}{row.useful_cpu:12.2f}")
    print(f"targets: {OF_BOUND:.2f} of the bound for {MODELS[1]}, {OF_RIVAL} of the rival")
    return 0


if __name__ == "__main__":
    sys.exit(main())
