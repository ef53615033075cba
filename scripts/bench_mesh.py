#!/usr/bin/env python3
"""Two peers in two processes over loopback: gossip latency and ceiling, stream throughput, idle CPU and memory.

scripts/bench_mesh.py            prints one line a figure
"""

from __future__ import annotations

import os
import resource
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from meshinfer.mesh.api import MAX_FRAME, Message, Stream
from meshinfer.mesh.identity import ephemeral
from meshinfer.mesh.libp2p import Libp2pMesh, open_mesh

ANY_PORT = ("/ip4/127.0.0.1/tcp/0",)


async def serve() -> None:
    """The other process: answers echo streams, swallows bulk, repeats every announcement of `jobs` on `events`."""

    async def echo(stream: Stream) -> None:
        while (frame := await stream.receive()) is not None:
            await stream.send(frame)

    async def sink(stream: Stream) -> None:
        size = 0
        while (frame := await stream.receive()) is not None:
            size += len(frame)
        await stream.send(size.to_bytes(8, "big"))

    async with open_mesh(ephemeral(), listen=ANY_PORT, mesh="bench") as mesh:
        mesh.serve("echo", echo)
        mesh.serve("sink", sink)
        print(mesh.addresses[0], flush=True)
        async for message in mesh.messages():
            if message.topic == "jobs":
                await mesh.publish("events", message.data)


async def measure(address: str) -> None:
    async with open_mesh(ephemeral(), listen=ANY_PORT, mesh="bench", bootstrap=(address,)) as mesh:
        while not mesh.peers:
            await trio.sleep(0.01)
        await trio.sleep(1)
        print(f"resident after import and join: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
        cpu, start = time.process_time(), time.perf_counter()
        await trio.sleep(10)
        print(f"idle CPU, one neighbour: {100 * (time.process_time() - cpu) / (time.perf_counter() - start):.2f} %")
        await gossip_round_trips(mesh, rate=50, seconds=6)
        await gossip_ceiling(mesh, 1000)
        await streams(mesh, next(iter(mesh.peers)))


async def gossip_round_trips(mesh: Libp2pMesh, *, rate: int, seconds: int) -> None:
    times: list[float] = []

    async def listen(expected: int) -> None:
        async for message in mesh.messages():
            times.append(time.perf_counter() - struct.unpack_from("!d", message.data)[0])
            if len(times) == expected:
                return

    with trio.move_on_after(seconds + 5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, rate * seconds)
            for _ in range(rate * seconds):
                await mesh.publish("jobs", struct.pack("!d", time.perf_counter()) + bytes(200))
                await trio.sleep(1 / rate)
    times.sort()
    p50, p99 = (1e3 * times[int(len(times) * q)] for q in (0.5, 0.99))
    lost = rate * seconds - len(times)
    print(f"gossip there and back, 208 B at {rate}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {lost} lost")


async def gossip_ceiling(mesh: Libp2pMesh, count: int) -> None:
    heard: list[Message] = []

    async def listen() -> None:
        async for message in mesh.messages():
            heard.append(message)
            if len(heard) == count:
                return

    start = time.perf_counter()
    with trio.move_on_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for _ in range(count):
                await mesh.publish("jobs", bytes(200))
    took = time.perf_counter() - start
    print(
        f"gossip there and back, as fast as it goes: {len(heard) / took:.0f} /s, {count - len(heard)} of {count} lost"
    )


async def streams(mesh: Libp2pMesh, peer) -> None:  # type: ignore[no-untyped-def]  # a PeerId
    frame, total = bytes(MAX_FRAME), 128 * 2**20
    start = time.perf_counter()
    async with mesh.open(peer, "sink") as stream:
        for _ in range(total // MAX_FRAME):
            await stream.send(frame)
        await stream.finish()
        assert int.from_bytes(await stream.receive() or b"", "big") == total
    print(f"stream, {MAX_FRAME // 1024} KiB frames: {total / (time.perf_counter() - start) / 1e6:.0f} MB/s")

    async def on_one(times: list[float]) -> None:
        async with mesh.open(peer, "echo") as stream:
            for _ in range(500):
                start = time.perf_counter()
                await stream.send(bytes(1024))
                await stream.receive()
                times.append(time.perf_counter() - start)

    async def on_new(times: list[float]) -> None:
        for _ in range(200):
            start = time.perf_counter()
            async with mesh.open(peer, "echo") as stream:
                await stream.send(bytes(1024))
                await stream.receive()
            times.append(time.perf_counter() - start)

    kinds: dict[str, Callable[[list[float]], object]] = {"on an open stream": on_one, "each on a new one": on_new}
    for name, run in kinds.items():
        times: list[float] = []
        await run(times)  # type: ignore[misc]  # an awaitable
        print(f"1 KiB there and back {name}: p50 {1e3 * statistics.median(times):.2f} ms")


def main() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True, env=env) as other:
        assert other.stdout is not None
        try:
            trio.run(measure, other.stdout.readline().strip())
        finally:
            other.kill()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        trio.run(serve)
    else:
        main()
