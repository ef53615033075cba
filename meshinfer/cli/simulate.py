"""`meshinfer simulate`: the schedule under failure, on virtual time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshinfer.cli.common import Session, verb
from meshinfer.errors import ConfigError

if TYPE_CHECKING:
    from meshinfer.sim.chronicle import Violated
    from meshinfer.sim.figures import Figures
    from meshinfer.sim.scenario import Scenario

SEEDS = 100
MAX_FILE = 1 << 20
MAX_PEERS = 10_000
RUNS_OF_GROWTH = 100
"""Peers in all runs of one size, unless --seeds says how many runs: 10 of 10 peers, one of 100 or more."""


@verb("simulate")
@click.argument("scenario", required=False)
@click.option("--seeds", type=click.IntRange(1), metavar="N", help=f"How many runs [{SEEDS}; with --seed: 1].")
@click.option("--seed", type=click.IntRange(0), metavar="S", help="The first run's seed [0]: replays it exactly.")
@click.option("--resume", metavar="FILE", help="Keep there how far it is, and go on from there the next time.")
@click.option("--peers", metavar="P[,P…]", help="Peers in each run [as in the scenario]; several: how it grows.")
@click.option("--jobs", type=click.IntRange(1, 256), metavar="N", help="Processes [as many as cores].")
@click.option("--no-shrink", is_flag=True, help="When something breaks, do not look for a smaller story of it.")
def simulate(
    session: Session,
    scenario: str | None,
    seeds: int | None,
    seed: int | None,
    resume: str | None,
    peers: str | None,
    jobs: int | None,
    no_shrink: bool,
) -> int:
    """Prove the schedule: many peers on virtual time, everything that can fail.

    Real schedulers, records and wire bytes; messages are lost, repeated and late, links are cut and healed, peers die
    at any step and come back, with or without their store. What must hold is checked at every step; where it does not,
    the seed and the story of the task are printed, and the smallest scenario in which it fails too. SCENARIO.toml says
    what happens (configs/sim/); without it: all.

    \b
    Example:
      meshinfer simulate --seeds 500
      meshinfer simulate --seeds 100000 --resume runs.json
      meshinfer simulate configs/sim/partitions.toml --peers 20 --seed 42
      meshinfer simulate configs/sim/scale.toml --peers 10,100,1000
    """
    from msgspec.structs import replace

    from meshinfer.cli import simulate_show as show
    from meshinfer.cli.simulate_resume import Runs
    from meshinfer.cli.simulate_runs import cores
    from meshinfer.sim.chronicle import Violated

    chosen, sizes = _scenario(scenario), _sizes(peers)
    first, processes = seed or 0, jobs or cores()
    if len(sizes) == 1:
        chosen = replace(chosen, peers=(sizes[0], sizes[0]))
    again = " ".join(["meshinfer simulate", *([scenario] if scenario else [])])
    if len(sizes) > 1:
        return _growth(session, chosen, sizes, first, seeds, processes, again)
    again += f" --peers {peers}" if peers else ""
    try:
        began = time.monotonic()
        count = seeds or (1 if seed is not None else SEEDS)
        runs, told = Runs(chosen, first, resume), []
        try:
            for run in _runs(session, chosen, runs.left(count), processes):
                runs.tally.add(run)
                runs.now_and_then()
                if session.json and session.verbose:
                    told.append(run)
        finally:
            runs.save()
    except Violated as e:
        shrunk = None if no_shrink else _shrunk(session, chosen, e)
        show.broken(session, e, f"{again} --seed {e.seed}", shrunk)
        return e.exit_code
    show.summary(session, runs.tally.summary(chosen.name), runs.done, time.monotonic() - began, told)
    return 0


def _runs(session: Session, scenario: Scenario, seeds: range, processes: int) -> Iterator[Figures]:
    from meshinfer.cli.simulate_runs import Bar, all_runs

    bar = Bar(len(seeds), shown=not session.json)
    try:
        for done, run in enumerate(all_runs(scenario, seeds, processes), 1):
            yield run
            bar.at(done)
    finally:
        bar.clear()


def _growth(
    session: Session, scenario: Scenario, sizes: list[int], first: int, seeds: int | None, processes: int, again: str
) -> int:
    """The same work among more and more peers, and the model's word on ten times the most of them."""
    from msgspec.structs import replace

    from meshinfer.cli import simulate_show as show
    from meshinfer.sim import growth
    from meshinfer.sim.chronicle import Violated

    rows = []
    for peers in sizes:
        count = seeds or max(1, RUNS_OF_GROWTH // peers)
        began = time.monotonic()
        among = replace(scenario, peers=(peers, peers))
        try:
            runs = list(_runs(session, among, range(first, first + count), processes))
        except Violated as e:  # of many peers no smaller story is looked for: that takes as long as they do
            show.broken(session, e, f"{again} --peers {peers} --seed {e.seed}", None)
            return e.exit_code
        rows.append(growth.measured(peers, runs, time.monotonic() - began))
    rng = random.Random(first)  # noqa: S311  a replay, not a secret
    checks = [growth.predicted(row.peers, rows[:-1], scenario, rng) for row in rows[1:]]
    far = growth.predicted(10 * sizes[-1], rows, scenario, rng)
    show.growth(session, rows, checks, far)
    return 0


def _shrunk(session: Session, scenario: Scenario, e: Violated) -> tuple[str, Violated]:
    from meshinfer.cli.simulate_runs import play_for
    from meshinfer.sim.shrink import Shrunk, as_toml

    if not session.json:
        session.out.note(f"{e.rule} is broken at seed {e.seed}; looking for a smaller story of it")
    shrunk = Shrunk(scenario, e, play_for)
    shrunk.run()
    return as_toml(shrunk.scenario), shrunk.broken


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


def _sizes(text: str | None) -> list[int]:
    """`10` or `10,100,1000`, each once, the smallest first."""
    try:
        sizes = sorted({int(part) for part in text.split(",")}) if text is not None else []
    except ValueError:
        sizes = [0]
    if any(not 1 <= peers <= MAX_PEERS for peers in sizes):
        raise ConfigError(f"--peers {text}: give numbers from 1 to {MAX_PEERS}, such as 10,100,1000")
    return sizes
