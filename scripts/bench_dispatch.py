#!/usr/bin/env python3
"""From `publish` to the first inference on every holder, and from a decoded frame to a subscriber's line.

Five peers as processes on loopback, each with a small video of its own, the model loaded. For orientation, on 2 cores
dask.distributed starts a call on all of 5 local workers in 14 / 20 ms (p50 / p99), Ray actors in 2 / 4 ms: both have a
scheduler that must be up, and neither writes anything down before it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
import psutil

from tests.story.peers import PeerProcess, Subscriber, eventually, mesh

PEERS = 5
REST = 0.7
"""Seconds between two rounds."""

ASSETS = Path(os.environ.get("MESHINFER_ASSETS", Path(__file__).resolve().parent.parent.parent / "shared" / "assets"))


def quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "max": round(ordered[-1], 1),
        "n": len(ordered),
    }


def make_film(folder: Path, seed: int) -> None:
    """A video of ten small frames: a first inference begins as soon as one is decoded."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    for _ in range(10):
        writer.write(rng.integers(0, 255, (96, 128, 3), np.uint8))
    writer.release()


def dispatch(peers: list[PeerProcess], rounds: int, model: str) -> dict[str, Any]:
    """Milliseconds until the last of all holders has begun its first inference, and until each has."""
    last, each = [], []
    spec = {"model": model, "on": {"name": "film.mp4"}, "limits": {"frames": 2}, "fresh": True}
    for i in range(rounds + 2):
        began = time.monotonic()
        job = peers[i % PEERS].publish(**spec)

        def starts(job: str = job) -> list[float] | None:
            found = [p.ask("status")["first_inference"].get(job) for p in peers]
            return found if all(found) else None

        time.sleep(REST)  # asking takes CPU from those who are asked: not while they work
        at = eventually("every holder has begun", starts)
        if i >= 2:  # two rounds warm up: sessions are loaded, pages are in memory
            each += [1000 * (t - began) for t in at]
            last.append(1000 * (max(at) - began))
    return {"all_holders_ms": quantiles(last), "a_holder_ms": quantiles(each)}


def delivery(holder: PeerProcess, subscriber: PeerProcess, trace: Path, model: str, frames: int) -> dict[str, Any]:
    """Milliseconds from a decoded frame to the line that a subscriber at another peer prints, less its inference.

    The holder runs under `bench_traced_peer.py`, which notes when each frame left the decoder and when its inference
    began and ended; both processes read the same monotonic clock.
    """
    lines: dict[int, float] = {}
    listener = Subscriber(subscriber, "--source", "street")

    def listen() -> None:
        for event in listener.events():
            lines[event["frame"]] = time.monotonic()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    time.sleep(3)  # the subscription reaches the holder; nothing is measured before
    job = subscriber.publish(model=model, on={"name": "*-*"}, limits={"frames": frames})
    subscriber.wait_done(job, total=1)
    seen = {row["frame"]: row for row in map(json.loads, trace.read_text().splitlines())}
    recorded = holder.ask("status")["events"]
    eventually("the subscriber has it all", lambda: len(lines) >= recorded)
    listener.stop()
    spans = [
        1000 * ((at - seen[frame]["decoded"]) - (seen[frame]["ended"] - seen[frame]["began"]))
        for frame, at in lines.items()
        if frame in seen
    ]
    inference = [1000 * (row["ended"] - row["began"]) for row in seen.values()]
    return {"above_inference_ms": quantiles(spans), "inference_ms": quantiles(inference)}


def idle(peers: list[PeerProcess], seconds: float) -> dict[str, Any]:
    """CPU (percent of a core) and memory of peers that have nothing to do."""
    processes = [psutil.Process(p.process.pid) for p in peers if p.process]
    before = [sum(p.cpu_times()[:2]) for p in processes]
    began = time.monotonic()
    time.sleep(seconds)
    span = time.monotonic() - began
    used = [100 * (sum(p.cpu_times()[:2]) - b) / span for p, b in zip(processes, before, strict=True)]
    memory = [p.memory_info().rss / 2**20 for p in processes]
    return {
        "cpu_percent": round(statistics.mean(used), 2),
        "cpu_percent_max": round(max(used), 2),
        "rss_mb": round(max(memory)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--idle-seconds", type=float, default=20)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--video", type=Path, default=ASSETS / "media" / "one-by-one-person.mp4")
    parser.add_argument("--model", type=Path, default=ASSETS / "models" / "fastestdet.onnx")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, mesh(Path(folder)) as start:
        report = measure(Path(folder), start, args)
    if args.json:
        print(json.dumps(report))
        return
    d, e = report["dispatch"], report["delivery"]
    print(
        f"publish -> first inference on all {PEERS} holders   p50 {d['all_holders_ms']['p50']:6.1f} ms   "
        f"p99 {d['all_holders_ms']['p99']:6.1f} ms   (goal: p99 100; dask 14/20, Ray actors 2/4)"
    )
    print(
        f"publish -> first inference on a holder         p50 {d['a_holder_ms']['p50']:6.1f} ms   "
        f"p99 {d['a_holder_ms']['p99']:6.1f} ms"
    )
    print(
        f"decoded -> subscriber's line, less inference   p50 {e['above_inference_ms']['p50']:6.1f} ms   "
        f"p99 {e['above_inference_ms']['p99']:6.1f} ms   (goal: p99 150; inference p50 {e['inference_ms']['p50']} ms)"
    )
    print(
        f"loop lag while inferring                       p50 {report['loop_lag_ms']['p50']:6.1f} ms   "
        f"p99 {report['loop_lag_ms']['p99']:6.1f} ms   (goal: p99 20)"
    )
    print(
        f"idle peer                                      CPU {report['idle']['cpu_percent']:.2f} % of a core, "
        f"goal: 1; memory {report['idle']['rss_mb']} MB"
    )


def measure(folder: Path, start: Callable[..., PeerProcess], args: argparse.Namespace) -> dict[str, Any]:
    peers: list[PeerProcess] = []
    for i in range(PEERS):
        make_film(folder / f"film{i}", i)
        join = ("--bootstrap", peers[0].address) if peers else ()
        peers.append(start(f"peer{i}", "--source", f"film={folder / f'film{i}'}", *join))
    for peer in peers:
        peer.add_model(args.model)
        peer.wait_entries(1)
        peer.wait_connected(PEERS - 1)
    model = args.model.stem
    for peer in peers:
        peer.wait_model(model, PEERS)
    report: dict[str, Any] = {"idle": idle(peers, args.idle_seconds)}
    report["dispatch"] = dispatch(peers, args.rounds, model)

    for peer in peers[2:]:
        peer.kill()
    trace = folder / "trace.jsonl"
    film = folder / "film"
    film.mkdir()
    shutil.copy(args.video, film)
    holder = PeerProcess(
        folder / "holder", "--name", "holder", "--listen", "/ip4/127.0.0.1/tcp/0", "--source", f"street={film}",
        "--bootstrap", peers[0].address,
    )  # fmt: skip
    holder.command = [sys.executable, str(Path(__file__).with_name("bench_traced_peer.py")), str(trace)]
    try:
        holder.start()
        holder.add_model(args.model)
        holder.wait_entries(1)
        peers[1].wait_connected(2)
        peers[1].wait_model(model, 3)
        report["delivery"] = delivery(holder, peers[1], trace, model, args.frames)
        report["loop_lag_ms"] = holder.ask("status")["loop_lag_ms"]
    finally:
        holder.kill()
    return report


if __name__ == "__main__":
    main()
