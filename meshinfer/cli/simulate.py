"""`meshinfer simulate`: the schedule under failure, on virtual time."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshinfer.cli.common import Session, verb
from meshinfer.errors import ConfigError

if TYPE_CHECKING:
    from meshinfer.sim.chronicle import Violated
    from meshinfer.sim.figures import Summary
    from meshinfer.sim.scenario import Scenario

SEEDS = 100
MAX_FILE = 1 << 20
SAY_EVERY = 0.2
"""Seconds between two looks at how far it is."""


@verb("simulate")
@click.argument("scenario", required=False)
@click.option("--seeds", type=click.IntRange(1), metavar="N", help=f"How many runs [{SEEDS}; with --seed: 1].")
@click.option("--seed", type=click.IntRange(0), metavar="S", help="The first run's seed [0]: replays it exactly.")
@click.option("--peers", type=click.IntRange(1, 10_000), metavar="P", help="Peers in each run [as in the scenario].")
def simulate(session: Session, scenario: str | None, seeds: int | None, seed: int | None, peers: int | None) -> int:
    """Prove the schedule: many peers on virtual time, everything that can fail.

    Real schedulers, records and wire bytes; messages are lost, repeated and late, links are cut and healed, peers die
    at any step and come back, with or without their store. What must hold is checked at every step; where it does not,
    the seed and the story of the task are printed. SCENARIO.toml says what happens (configs/sim/); without it: all.

    \b
    Example:
      meshinfer simulate --seeds 500
      meshinfer simulate configs/sim/partitions.toml --peers 20 --seed 42
    """
    from msgspec.structs import replace

    from meshinfer.sim.chronicle import Violated
    from meshinfer.sim.figures import summary
    from meshinfer.sim.world import World

    chosen = _scenario(scenario)
    if peers is not None:
        chosen = replace(chosen, peers=(peers, peers))
    first, count = seed or 0, seeds or (1 if seed is not None else SEEDS)
    began, runs = time.monotonic(), []
    with _progress(session, count) as said:
        for number in range(first, first + count):
            try:
                runs.append(World(chosen, number, random.Random(number)).run())  # noqa: S311  a replay, not a secret
            except Violated as e:
                said(-1)
                return _broken(session, scenario, peers, e)
            said(len(runs))
    result, seconds = summary(chosen.name, runs), time.monotonic() - began
    if session.json:
        session.out.data({"summary": result, "seconds": round(seconds, 3), "runs": runs if session.verbose else []})
    else:
        _show(session, result, seconds)
    return 0


def _scenario(path: str | None) -> Scenario:
    from meshinfer.sim.scenario import Scenario, read_scenario

    if path is None:
        return Scenario()
    try:
        with Path(path).expanduser().open("rb") as file:
            toml = file.read(MAX_FILE + 1)
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    if len(toml) > MAX_FILE:
        raise ConfigError(f"{path}: over {MAX_FILE} bytes: this is no scenario")
    return read_scenario(toml, path)


class _Said:
    """How far it is, on one line of a terminal."""

    def __init__(self, count: int) -> None:
        self._count, self._began, self._at = count, time.monotonic(), 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if 0 <= done < self._count and now - self._at < SAY_EVERY:
            return
        self._at = now
        rate = max(done, 0) / max(now - self._began, 1e-9)
        text = f"{done:,} of {self._count:,} runs, {rate:.0f} a second" if 0 <= done < self._count else ""
        sys.stderr.write(f"\r{text:<60}" + ("" if text else "\r"))
        sys.stderr.flush()


@contextmanager
def _progress(session: Session, count: int) -> Iterator[_Said]:
    said = _Said(count) if sys.stderr.isatty() and not session.json else _Silent(count)
    yield said


class _Silent(_Said):
    def __call__(self, done: int) -> None:
        pass


def _broken(session: Session, scenario: str | None, peers: int | None, e: Violated) -> int:
    options = " ".join(
        ["meshinfer simulate", *([scenario] if scenario else []), *([f"--peers {peers}"] if peers else [])]
    )
    again = f"{options} --seed {e.seed}"
    if session.json:
        session.out.data(
            {"broken": e.rule, "why": e.why, "seed": e.seed, "at": e.at, "story": e.story, "replay": again}
        )
        return e.exit_code
    session.out.say(str(e), "bold red")
    for line in e.story:
        session.out.say(line)
    session.out.say(f"replay: {again}")
    return e.exit_code


def _show(session: Session, s: Summary, seconds: float) -> None:
    from meshinfer.cli.output import Column, count, size

    rate = s.runs / max(seconds, 1e-9)
    session.out.say(
        f"{count(s.runs, 'run')} of {s.scenario}, nothing broken: {seconds:.1f} s, {rate:.1f} runs a second"
    )
    rows = [
        ["peers in a run, crashes", f"{s.peers:.1f}", f"{s.crashes:.1f}"],
        ["all known after the storm (p50, p99)", f"{s.converge_p50:.1f} s", f"{s.converge_p99:.1f} s"],
        ["all done after the storm (p50, p99)", f"{s.rest_p50:.1f} s", f"{s.rest_p99:.1f} s"],
        ["sent by a peer (messages, bytes)", f"{s.messages_per_peer:,.0f}", size(s.bytes_per_peer)],
        ["records that a peer holds", f"{s.records_per_peer:,.0f}", ""],
        ["tasks, times that one was begun", f"{s.tasks:,}", f"{s.task_runs:,}"],
        ["work done over again", f"{100 * s.wasted:.2f} %", ""],
        ["digest of all that happened", s.digest, ""],
    ]
    session.out.table([Column(""), Column("", "right", whole=True), Column("", "right", whole=True)], rows)
