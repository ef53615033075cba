#!/usr/bin/env python3
"""Two models of one shelf in turn: under a memory budget for both, and under one that either is over.

scripts/bench_pool.py [A.onnx B.onnx]     default: two of $MESHINFER_ASSETS, else the embedded model with and without a
sidecar. Prints milliseconds a switch, from the lease of one model to that of the other; bound: with room for both none
is loaded again.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from meshinfer.detect.shelf import EMBEDDED, Shelf
from meshinfer.mesh.identity import Identity
from meshinfer.model.ids import ModelDigest

ROUNDS = 2000
RELOADS = 10
ME = Identity.from_seed(bytes(32))


def models(folder: Path) -> list[Path]:
    if len(sys.argv) == 3:
        return [Path(arg) for arg in sys.argv[1:]]
    assets = Path(os.environ.get("MESHINFER_ASSETS", "")) / "models"
    found = [assets / "yolox_nano.onnx", assets / "yolov8n_int8.onnx"]
    if all(file.is_file() for file in found):
        return found
    plain, sided = folder / "yard-demo.onnx", folder / "yard-demo-2.onnx"
    for file in (plain, sided):
        shutil.copyfile(EMBEDDED, file)
    sided.with_suffix(".toml").write_text('licence = "another digest"\n')
    return [plain, sided]


def switches(shelf: Shelf, pair: list[ModelDigest], rounds: int) -> list[float]:
    """Milliseconds each."""
    took = []
    for n in range(2 * rounds):
        began = time.perf_counter()
        lease = shelf.lease(pair[n % 2])
        took.append((time.perf_counter() - began) * 1000)
        lease.end()
    return took[2:]


def main() -> None:
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        said: list[str] = []
        shelf = Shelf(folder / "models", ME.peer_id, ME.sign, memory=4096, embedded=None, say=said.append)
        pair = [shelf.add(file).digest for file in models(folder)]
        costs = {loaded.key[0]: loaded.bytes for loaded in shelf.loaded()}
        for digest in pair:
            card = shelf.held(digest).card
            print(f"  {card.reference}: file {card.bytes / 1e6:.1f} MB, counts for {costs[digest] / 1e6:.1f} MB")
        under = switches(shelf, pair, ROUNDS)
        tight = Shelf(folder / "models", ME.peer_id, ME.sign, memory=1, embedded=None, say=said.append)
        over = switches(tight, pair, RELOADS)
        switch, reload = statistics.median(under), statistics.median(over)
        alone = len(tight.loaded())
        print(f"  room for both: {switch:.4f} ms a switch (p99 {statistics.quantiles(under, n=100)[98]:.4f})")
        print(
            f"  over budget:   {reload:.1f} ms a switch, {reload / switch:.0f} times as long; {alone} loaded at a time"
        )
        for text in said:
            print(f"  said: {text}")


if __name__ == "__main__":
    main()
