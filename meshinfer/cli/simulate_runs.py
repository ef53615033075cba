"""Many simulated runs on all cores, in the order of their seeds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple

from meshinfer.cli.output import span
from meshinfer.sim.chronicle import Violated
from meshinfer.sim.figures import Figures
from meshinfer.sim.scenario import Scenario
from meshinfer.sim.world import World

FEW = 8
"""Runs that are not worth a second process, which takes half a second to start."""

A_BATCH = 8
"""Runs that a process is given at a time."""

AHEAD = 4
"""Batches for each process that are begun ahead of the one that is waited for."""

GARBAGE = 50_000
"""Objects between two collections. A run is mostly of objects that live until its end: looked at every 700, as is
Python's habit, they take a tenth of the time."""

SAY_EVERY, LOG_EVERY = 0.2, 60.0


class Broken(NamedTuple):
    """A run in which something did not hold; as plain data, so that it comes out of its process."""

    rule: str
    why: str
    seed: int
    at: float
    story: list[str]


def play(scenario: Scenario, seed: int) -> Figures:
    """One run. Raises Violated."""
    return World(scenario, seed, random.Random(seed)).run()  # noqa: S311  a replay, not a secret


def play_for(scenario: Scenario, seed: int, events: int) -> tuple[Violated | None, int, int]:
    """At most so many events of a run, 0 for all; what broke, the events that happened, and the faults planned."""
    world = World(scenario, seed, random.Random(seed))  # noqa: S311  a replay, not a secret
    broken = None
    try:
        if events:
            world.run_for(events)
        else:
            world.run()
    except Violated as e:
        broken = e
    return broken, world.agenda.steps, world.storm.planned


def all_runs(scenario: Scenario, seeds: range, processes: int) -> Iterator[Figures]:
    """In the order of the seeds, whatever the number of processes. Raises Violated, of the first seed that breaks."""
    if processes <= 1 or len(seeds) <= FEW:
        _collect_rarely()
        for seed in seeds:
            yield play(scenario, seed)
        return
    with _pool(processes) as pool:
        waiting: deque[Future[list[Figures | Broken]]] = deque()
        for i in range(0, len(seeds), A_BATCH):
            waiting.append(pool.submit(_batch, scenario, seeds[i : i + A_BATCH]))
            if len(waiting) >= AHEAD * processes:
                yield from _taken(waiting.popleft())
        while waiting:
            yield from _taken(waiting.popleft())


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned, not forked: the same on every system, and no thread of ours is copied half-way.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        with _deaf():
            _begin_all(pool, processes)
        yield pool
    except BaseException:  # Ctrl-C too: what runs is of no use any more
        for process in list((pool._processes or {}).values()):  # there is no public way before Python 3.14
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_all(pool: ProcessPoolExecutor, processes: int) -> None:
    """A pool starts a process when it is given work that no idle one can take: all of them, before there is any."""
    begun = []
    for _ in range(10 * processes):
        if len(pool._processes or ()) == processes:
            break
        begun.append(pool.submit(_begun))
    wait(begun)


@contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal. Those born here are deaf to it for good, as one ends them; ours hears
    of it when they are born: half-born they would complain."""
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work forever."""
    _collect_rarely()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _collect_rarely() -> None:
    gc.freeze()  # the modules
    gc.set_threshold(GARBAGE, 10, 10)


def _begun() -> None:
    """What a process is given only so that it starts."""


def _batch(scenario: Scenario, seeds: Sequence[int]) -> list[Figures | Broken]:
    out: list[Figures | Broken] = []
    for seed in seeds:
        try:
            out.append(play(scenario, seed))
        except Violated as e:
            return [*out, Broken(e.rule, e.why, e.seed, e.at, e.story)]
    return out


def _taken(future: Future[list[Figures | Broken]]) -> Iterator[Figures]:
    for run in future.result():
        if isinstance(run, Broken):
            raise Violated(*run)
        yield run


class Bar:
    """How far it is, on one line of a terminal; elsewhere a line a minute, as in a log."""

    def __init__(self, count: int, *, shown: bool) -> None:
        self._count, self._shown, self._live = count, shown, sys.stderr.isatty()
        self._began = self._said = time.monotonic()

    def at(self, done: int, what: str = "runs") -> None:
        now = time.monotonic()
        if not self._shown or now - self._said < (SAY_EVERY if self._live else LOG_EVERY):
            return
        self._said = now
        rate = done / max(now - self._began, 1e-9)
        left = f", {span((self._count - done) / rate)} left" if done else ""
        full = 20 * done // max(1, self._count)
        self._write(f"{'█' * full}{'·' * (20 - full)} {done:,} of {self._count:,} {what}, {rate:.1f} a second{left}")

    def clear(self) -> None:
        if self._live and self._said > self._began:
            self._write("")

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r{text:<79}\r" if self._live else f"{text}\n")
        sys.stderr.flush()
