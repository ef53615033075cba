"""How long the catalog takes over many files, and whether the loop stays free meanwhile.

Makes a folder of small JPEGs, all different, and prints: the first scan (decoding and hashing), a restart with a warm
cache, and the CPU that watching costs, each with the lag of a trio task that wants to run every millisecond. The bound
beside the first scan is one thread that decodes and hashes the same files in a bare loop, times the cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import trio

from meshinfer.media.catalog import Catalog, CatalogChange
from meshinfer.media.source import SourceSpec
from meshinfer.store import Database, FileTable


def make(folder: Path, files: int) -> None:
    """Pictures that differ in their last bytes, behind the end of the image: as quick to make as to copy."""
    pixels = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8), (9, 9), 0)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    for i in range(files):
        path = folder / f"{i // 500:03}" / f"{i:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data + i.to_bytes(4, "big"))


def bare_loop(folder: Path) -> float:
    """Files per second of one thread."""
    paths = sorted(folder.rglob("*.jpg"))[:1000]
    began = time.perf_counter()
    for path in paths:
        cv2.imread(str(path))
        hashlib.sha256(path.read_bytes()).hexdigest()
    return len(paths) / (time.perf_counter() - began)


async def watch_lag(lags: list[float]) -> None:
    while True:
        due = trio.current_time() + 0.001
        await trio.sleep_until(due)
        lags.append(trio.current_time() - due)


async def drain(changes: trio.MemoryReceiveChannel[CatalogChange]) -> None:
    async for _ in changes:
        pass


async def scan(folder: Path, db: Database, workers: int, idle: float) -> None:
    lags: list[float] = []
    catalog = Catalog([SourceSpec("bench", folder)], cache=FileTable(db), settle=0, workers=workers)
    send, receive = trio.open_memory_channel[CatalogChange](16)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, receive)
        nursery.start_soon(watch_lag, lags)
        began, cpu = time.perf_counter(), time.process_time()
        await nursery.start(catalog.serve, send)
        await catalog.scanned.wait()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        entries = len(catalog.snapshot()[0])
        print(
            f"  {entries} entries in {took:.2f} s ({entries / took:.0f}/s), CPU {cpu:.2f} s, opened {catalog.examined}"
        )
        report(lags)
        began = time.perf_counter()
        await catalog.summary()
        print(f"  summary in {1000 * (time.perf_counter() - began):.1f} ms")
        nursery.cancel_scope.cancel()
    if idle:
        async with trio.open_nursery() as nursery:  # without the lag probe, which itself costs CPU
            send, receive = trio.open_memory_channel[CatalogChange](16)
            nursery.start_soon(drain, receive)
            await nursery.start(catalog.serve, send)
            cpu = time.process_time()
            await trio.sleep(idle)
            print(f"  watching: {100 * (time.process_time() - cpu) / idle:.2f} % of a core over {idle:.0f} s")
            nursery.cancel_scope.cancel()


def report(lags: list[float]) -> None:
    ms = np.array(lags) * 1000
    p50, p99 = np.percentile(ms, [50, 99])
    print(f"  loop lag p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {ms.max():.2f} ms ({len(ms)} samples; bound: p99 20 ms)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds to watch without changes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        footage = Path(folder) / "footage"
        footage.mkdir()
        make(footage, args.files)
        cores = os.cpu_count() or 1
        print(f"bound: {bare_loop(footage) * cores:.0f} files/s ({cores} cores x one thread in a bare loop)")
        db = Database.open(Path(folder) / "store.db")
        print("first scan:")
        trio.run(scan, footage, db, args.workers, 0.0)
        print("restart:")
        trio.run(scan, footage, db, args.workers, args.idle)
        db.close()


if __name__ == "__main__":
    main()
