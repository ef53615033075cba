#!/usr/bin/env python3
"""Many peers that all came by one door: how fast jobs and events reach everybody, and over how many links.

scripts/bench overlay [--peers 24] [--seconds 20] [--events 20] [--jobs 1]   the overlay, then a full mesh of as many
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from meshinfer.errors import ProtocolError
from meshinfer.node import wiring
from meshinfer.wire.messages import read_announcement
from tests.mesh.light import LightPeer, light_peer

PROCESSES = 2
SETTLE = 120.0
"""Seconds that the links may take to settle."""

PATIENCE = 5.0
"""Seconds after the last announcement in which it may still arrive."""


# ---- a process of some peers -----------------------------------------------------------------------------------------


class Listener(LightPeer):
    """Notes when what arrives. An event is its number and bytes that make it as long as a real one."""

    async def listen(self) -> None:
        self.arrived: dict[str, float] = {}
        async for message in self.mesh.messages():
            if message.topic == "events":
                self.arrived.setdefault(f"e{struct.unpack_from('!Q', message.data)[0]}", time.monotonic())
                continue
            with suppress(ProtocolError):
                for sealed in read_announcement(message.data).records:
                    await self.records.hear(sealed, age=0.0)

    async def note_jobs(self) -> None:
        while True:
            for job in self.driver.state.jobs:
                self.arrived.setdefault(job, time.monotonic())
            await self.driver.changed()


async def work(options: argparse.Namespace) -> None:
    if options.full:
        wiring.LOW = wiring.AIM = wiring.HIGH = wiring.ALONE = 10_000
    dice = random.Random(options.first)
    lines = stdin_lines()
    async with AsyncExitStack() as stack:
        peers: list[Any] = []
        door: tuple[str, ...] = ()
        if options.first:
            door = tuple(json.loads(await anext(lines)))
        for n in range(options.first, options.first + options.count):
            peers.append(await stack.enter_async_context(light_peer(f"p{n}", Path(options.folder), door, Listener)))
            door = door or peers[0].mesh.addresses
            if n == 0:
                say(door)
        nursery = await stack.enter_async_context(trio.open_nursery())
        for peer in peers:
            nursery.start_soon(peer.note_jobs)
        jobs: dict[str, float] = {}
        events: dict[str, float] = {}
        async for line in lines:
            match json.loads(line):
                case "links":
                    say([[len(p.links), len(p.driver.state.peers)] for p in peers])
                case ["go", seconds]:
                    spent = time.process_time()
                    async with trio.open_nursery() as publishing:
                        publishing.start_soon(
                            publish_events, peers, dice, seconds, options.events, options.first << 32, events
                        )
                        publishing.start_soon(publish_jobs, peers, dice, seconds, options.jobs, options.first, jobs)
                    await trio.sleep(PATIENCE)
                    out = sum(p.mesh.counters.get("bytes_out", 0) for p in peers)
                    cpu = time.process_time() - spent
                    say(
                        {
                            "jobs": jobs,
                            "events": events,
                            "arrived": [p.arrived for p in peers],
                            "cpu": cpu,
                            "bytes": out,
                        }
                    )
                case "end":
                    break
        nursery.cancel_scope.cancel()


async def publish_events(
    peers: list[Any], dice: random.Random, seconds: float, per_second: float, first: int, sent: dict[str, float]
) -> None:
    began = time.monotonic()
    rate = per_second / PROCESSES
    for n in range(int(seconds * rate)):
        await trio.sleep(began + n / rate - time.monotonic() if began + n / rate > time.monotonic() else 0)
        sent[f"e{first + n}"] = time.monotonic()
        await dice.choice(peers).mesh.publish("events", struct.pack("!Q", first + n) + bytes(400))


async def publish_jobs(
    peers: list[Any], dice: random.Random, seconds: float, per_second: float, first: int, sent: dict[str, float]
) -> None:
    for n in range(int(seconds * per_second / PROCESSES)):
        order = dice.choice(peers).publish(f"{first}/{n}")
        sent[order.id] = time.monotonic()
        await trio.sleep(PROCESSES / per_second)


async def stdin_lines() -> AsyncIterator[str]:
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        yield line


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


# ---- all of them -----------------------------------------------------------------------------------------------------


class Worker:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


@contextmanager
def workers(options: argparse.Namespace, *, full: bool) -> Iterator[list[Worker]]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        started: list[Worker] = []
        share = options.peers // PROCESSES
        for n in range(PROCESSES):
            args = ["worker", "--first", n * share, "--count", share, "--folder", f"{folder}/{n}"]
            args += ["--events", options.events, "--jobs", options.jobs]
            command = [sys.executable, __file__, *map(str, args), *(["--full"] if full else [])]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(Worker(process))
        door = started[0].hear()
        for worker in started[1:]:
            worker.tell(door)
        yield started


def measure(options: argparse.Namespace, *, full: bool) -> None:
    peers, seconds = options.peers, options.seconds
    name = "full mesh" if full else "overlay"
    with workers(options, full=full) as started:
        began = time.monotonic()
        while True:
            for worker in started:
                worker.tell("links")
            told = [peer for worker in started for peer in worker.hear()]
            links = [n for n, _ in told]
            settled = all(known == peers for _, known in told)
            settled &= min(links) == peers - 1 if full else max(links) <= wiring.HIGH + 2 and min(links) >= wiring.LOW
            if settled or time.monotonic() - began > SETTLE:
                break
            time.sleep(0.5)
        took = time.monotonic() - began
        print(
            f"{name}: {peers} peers in {PROCESSES} processes, {'settled' if settled else 'UNSETTLED'} in {took:.0f} s"
        )
        print(f"  links a peer: {min(links)} to {max(links)}, {sum(links) / peers:.1f} on average")
        for worker in started:
            worker.tell(["go", seconds])
        reports = [worker.hear() for worker in started]
        for worker in started:
            worker.tell("end")
    for kind in ("jobs", "events"):
        times, lost = latencies(reports, kind)
        p50, p99 = (1e3 * times[min(len(times) - 1, int(len(times) * q))] for q in (0.5, 0.99))
        print(f"  {kind}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {lost} of {len(times) + lost} lost")
    cpu = sum(report["cpu"] for report in reports) / (seconds + PATIENCE) / peers
    sent = sum(report["bytes"] for report in reports) / peers / 1e6
    print(
        f"  CPU of a core: {100 * cpu:.1f} % a peer, {100 * peers * cpu:.0f} % all together; {sent:.2f} MB sent a peer"
    )


def latencies(reports: list[Any], kind: str) -> tuple[list[float], int]:
    """Seconds from each announcement to each other peer, sorted, and how many never came."""
    sent = {what: at for report in reports for what, at in report[kind].items()}
    receivers = [arrived for report in reports for arrived in report["arrived"]]
    times = sorted(arrived[what] - at for arrived in receivers for what, at in sent.items() if what in arrived)
    expected = len(sent) * (len(receivers) - (kind == "events"))  # a peer hears its own jobs, not its own events
    return times, expected - len(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", nargs="?", choices=["worker"])
    parser.add_argument("--peers", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--events", type=float, default=20.0, help="announcements a second, in the whole mesh")
    parser.add_argument("--jobs", type=float, default=1.0, help="jobs a second, in the whole mesh")
    parser.add_argument("--full", action="store_true", help="everybody linked to everybody")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--folder", default="")
    options = parser.parse_args()
    if options.role == "worker":
        trio.run(work, options)
        return
    measure(options, full=False)
    measure(options, full=True)


if __name__ == "__main__":
    main()
