"""What it costs to trust no model.

The pre-scan, beside sha256 over the same bytes and the runtime's load, in CPU time; a trial beside a load in this
process; and frames/s of an isolated model over those of one in this process.

The made model has 10 MB in 600 nodes, as many as YOLOv8n has once it is quantised. The goal: 15 ms for its pre-scan.
Each figure is the median of the rounds; what is compared takes turns within a round.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import onnxruntime

from meshinfer.detect.detector import load_detector
from meshinfer.detect.isolated import AnyDetector, Isolated
from meshinfer.detect.prescan import prescan
from meshinfer.detect.trial import try_model
from meshinfer.model.job import Detect
from tests.vision.hostile_onnx import numbers
from tests.vision.tiny_onnx import declared, field, model, node, tensor

GOAL_MS = 15.0


def made(megabytes: int = 10, nodes: int = 600) -> bytes:
    """A chain of convolutions with weights, biases and a declared value each."""
    rng, side = np.random.default_rng(0), 3
    channels = int((megabytes * 1e6 / nodes / 4 / side / side) ** 0.5)
    attributes = numbers("kernel_shape", [3, 3]) + numbers("pads", [1] * 4) + numbers("strides", [1, 1])
    attributes += numbers("dilations", [1, 1])
    graph = field(11, declared("v0", (1, channels, 8, 8))) + field(12, declared(f"v{nodes}", (1, channels, 8, 8)))
    for i in range(nodes):
        inputs = (f"v{i}", f"layer.{i}.conv.weight", f"layer.{i}.conv.bias")
        graph += field(1, node("Conv", inputs, (f"v{i + 1}",), attributes) + field(3, f"/model/layer.{i}/conv/Conv"))
        graph += field(5, tensor(inputs[1], rng.random((channels, channels, side, side), np.float32)))
        graph += field(5, tensor(inputs[2], rng.random(channels, np.float32)))
        graph += field(13, declared(f"v{i + 1}", (1, channels, 8, 8)))
    return model(graph + field(2, "made"))


def load(data: bytes) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def alternate(rounds: int, *runs: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """The median seconds of each."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for run, taken in zip(runs, times, strict=True):
            began = clock()
            run()
            taken.append(clock() - began)
    return [statistics.median(taken[1:]) for taken in times]


def all_frames(detector: AnyDetector, frames: int) -> None:
    """As many threads as cores, as the engine has them, each over so many 768x432 frames."""
    picture = np.random.default_rng(0).integers(0, 255, (432, 768, 3), np.uint8)

    def loop() -> None:
        look = detector.worker(Detect())
        for _ in range(frames):
            look(picture)

    threads = [threading.Thread(target=loop) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=30)
    arguments = parser.parse_args()
    onnxruntime.set_default_logger_severity(4)
    assets = Path(os.environ.get("MESHINFER_ASSETS", ROOT.parent / "shared" / "assets")) / "models"
    files = {path.stem: path.read_bytes() for path in sorted(assets.glob("*.onnx"))} | {"made": made()}
    print(f"{'model':14} {'MB':>5} {'pre-scan':>9} {'sha256':>9} {'load':>9}  of sha256  of the load")
    for name, data in files.items():
        scan, digest, loaded = alternate(
            arguments.rounds,
            lambda d=data: prescan(d),
            lambda d=data: hashlib.sha256(d).digest(),
            lambda d=data: load(d),
            clock=time.process_time,
        )
        print(
            f"{name:14} {len(data) / 1e6:5.1f} {scan * 1e3:6.1f} ms {digest * 1e3:6.1f} ms {loaded * 1e3:6.1f} ms"
            f"  {scan / digest:9.1f}  {scan / loaded:11.2f}"
        )
        if name == "made":
            print(f"10 MB: {scan * 1e3:.1f} ms, the goal is {GOAL_MS:.0f} ms")
    path = assets / "yolox_nano.onnx"
    here, there = alternate(arguments.rounds, lambda: load_detector(path), lambda: try_model(path))
    print(f"yolox_nano: load in this process {here * 1e3:.0f} ms, trial in a process of its own {there * 1e3:.0f} ms")
    inside, isolated = load_detector(path), Isolated(path)
    mine, its = alternate(
        arguments.rounds,
        lambda: all_frames(inside, arguments.frames),
        lambda: all_frames(isolated, arguments.frames),
    )
    isolated.close()
    print(f"yolox_nano: an isolated model gives {mine / its:.2f} of the frames of one in this process")


if __name__ == "__main__":
    main()
