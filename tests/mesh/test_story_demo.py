"""`meshinfer demo --fast`, the real command: what it promises, and that it leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PEERS = ("hamburg", "rotterdam", "office")
BOUND = 90.0
WITH_KILLS = 400.0
"""For a run of forty seconds, on machines that are busy with other things."""


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs: the footage is drawn once."""
    return tmp_path_factory.mktemp("demo")


def start(keep: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "meshinfer", "demo", "--fast", "--json", "--keep", str(keep), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def pids(run: Path, *names: str) -> dict[str, int]:
    """The peers that have taken their folders so far."""
    found = {}
    for name in names or PEERS:
        try:
            found[name] = int((run / "peers" / name / "lock").read_text())
        except (OSError, ValueError):
            continue
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # a zombie is dead: whoever inherited it has not looked yet
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def next_run(keep: Path) -> Path:
    return keep / f"run-{len(list(keep.glob('run-*'))) + 1}"


def test_the_demo_keeps_what_it_promises(keep: Path) -> None:
    run, process = next_run(keep), start(keep)
    out, err = process.communicate(timeout=BOUND)
    assert process.returncode == 0, out + err
    said: dict[str, Any] = json.loads(out)
    assert said["ok"]
    assert said["problems"] == []
    lines = {line["name"]: line for line in said["peers"]}
    assert set(lines) == set(PEERS)
    assert [lines[name]["entries"] for name in PEERS] == [2, 2, 0]
    assert [lines[name]["frames"] for name in PEERS] == [240, 240, 0]
    assert said["recall"] >= 0.9
    assert said["precision"] >= 0.85
    assert 0 < said["mesh_bytes"] < said["footage_bytes"]

    assert said["digest"] == said["plain_digest"]
    assert (said["killed"], said["takeovers"], said["wasted_frames"]) == ([], [], 0)

    merged = [json.loads(line) for line in Path(said["detections_file"]).read_text().splitlines()]
    assert len({(row["task"], row["frame"]) for row in merged}) == len(merged) == said["live_frames"]
    assert sum(len(row["detections"]) for row in merged) == said["detections"]
    assert {row["peer_name"] for row in merged} == {"hamburg", "rotterdam"}
    assert Path(said["contact_sheet"]).read_bytes().startswith(b"\x89PNG")

    left = pids(run)
    assert set(left) == set(PEERS)
    assert not [name for name, pid in left.items() if is_alive(pid)]


@pytest.mark.timeout(WITH_KILLS)
def test_the_busiest_peer_and_the_publisher_die_and_the_results_are_the_same(keep: Path) -> None:
    run, process = next_run(keep), start(keep, "--kill")
    out, err = process.communicate(timeout=WITH_KILLS)
    assert process.returncode == 0, out + err
    said: dict[str, Any] = json.loads(out)
    assert said["ok"]
    assert said["digest"] == said["plain_digest"]
    assert all(site["digest"] == site["plain"] for site in said["sites"])
    victim, publisher = said["killed"]
    assert publisher == "office"
    holders = {"hamburg", "rotterdam", "antwerp"}
    assert victim in holders
    assert said["takeovers"]
    assert all(taken["lost"] == victim and taken["by"] in holders - {victim} for taken in said["takeovers"])

    merged = [json.loads(line) for line in Path(said["detections_file"]).read_text().splitlines()]
    assert len({(row["source"], row["entry"], row["frame"]) for row in merged}) == len(merged)
    assert sum(len(row["detections"]) for row in merged) == said["detections"]
    assert not [name for name, pid in pids(run, *holders, "office", "laptop").items() if is_alive(pid)]


def test_a_killed_demo_leaves_no_peer_behind(keep: Path) -> None:
    run, process = next_run(keep), start(keep)
    try:
        until(lambda: set(pids(run)) == set(PEERS), BOUND)
        left = pids(run)
    finally:
        process.kill()
        process.communicate(timeout=10)
    until(lambda: not any(is_alive(pid) for pid in left.values()), 15)


def test_a_peer_that_dies_fails_the_demo_which_says_so(keep: Path) -> None:
    run, process = next_run(keep), start(keep)
    until(lambda: "hamburg" in pids(run) or process.poll() is not None, BOUND)
    os.kill(pids(run)["hamburg"], signal.SIGKILL)
    out, err = process.communicate(timeout=BOUND)
    assert process.returncode == 1, out + err
    said: dict[str, Any] = json.loads(out)
    assert not said["ok"]
    assert said["problems"] == ["the peer hamburg has ended (SIGKILL)"]
    assert "hamburg" in said["logs"]
    assert not [name for name, pid in pids(run).items() if is_alive(pid)]
