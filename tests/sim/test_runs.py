"""Many runs on several processes: the same answers in the same order, and an end that leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from meshinfer.cli.simulate_runs import FEW, all_runs
from meshinfer.sim.chronicle import Violated
from meshinfer.sim.scenario import Scenario

COMMAND = [sys.executable, "-m", "meshinfer", "simulate"]


def test_two_processes_answer_as_one_in_the_same_order() -> None:
    small, seeds = Scenario(peers=(2, 3), contents=3, storm=5.0), range(5, 5 + 3 * FEW)
    one, two = list(all_runs(small, seeds, 1)), list(all_runs(small, seeds, 2))
    assert [run.seed for run in two] == list(seeds)
    assert one == two


def test_the_first_seed_that_breaks_is_told_whichever_comes_first() -> None:
    """Convergence within no time at all is asked for: hardly a run does it."""
    strict, seeds = Scenario(peers=(3, 5), contents=4, storm=10.0, converge=0.0), range(3 * FEW)
    told = []
    for processes in (1, 2):
        with pytest.raises(Violated) as raised:
            list(all_runs(strict, seeds, processes))
        told.append((str(raised.value), raised.value.story))
    assert told[0] == told[1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_all_its_processes(end: int, tmp_path: Path) -> None:
    """On Ctrl-C, and also when there was no time to tell them."""
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = subprocess.Popen([*COMMAND, "--seeds", "100000", "--jobs", "2"], stdout=file, stderr=file)
    try:
        children: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while len(children) < 3 and process.poll() is None and time.monotonic() < deadline:
            children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 3, "two workers, and what multiprocessing tracks their resources with"
        process.send_signal(end)
        assert process.wait(60) != 0
        _, alive = psutil.wait_procs(children, timeout=60)
        assert alive == []
        if end == signal.SIGINT:
            assert b"Traceback" not in out.read_bytes()
    finally:
        process.kill()


def test_growth_is_a_table_with_the_models_word() -> None:
    scenario = Path(__file__).resolve().parents[2] / "configs/sim/calm.toml"
    command = [*COMMAND, str(scenario), "--peers", "8,2,4", "--seeds", "2", "--jobs", "1"]
    table = subprocess.run(command, capture_output=True, check=True, text=True, timeout=100).stdout
    assert table.splitlines()[0].split()[:4] == ["peers", "2", "4", "8"]
    assert "80" in table.splitlines()[0]
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, timeout=100).stdout)
    assert [row["peers"] for row in told["simulated"]] == [2, 4, 8]
    assert [row["peers"] for row in told["model"]["checks"]] == [4, 8]
    assert told["model"]["beyond"]["peers"] == 80


@pytest.mark.parametrize("peers", ["0", "10,x", "10001", ""])
def test_bad_numbers_of_peers_are_named(peers: str) -> None:
    result = subprocess.run([*COMMAND, "--peers", peers], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "--peers" in result.stderr
