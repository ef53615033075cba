"""What many runs came to: sums that take up what was put away, in a file that knows whose it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from meshinfer.cli import app
from meshinfer.cli.simulate_runs import all_runs
from meshinfer.sim.figures import quantile
from meshinfer.sim.scenario import Scenario
from meshinfer.sim.shrink import as_toml
from meshinfer.sim.tally import Tally, quantile_of

SMALL = Scenario(peers=(2, 3), contents=3, storm=5.0)


@pytest.mark.parametrize("q", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("measured", [[], [3.0], [0.1, 0.1, 0.2], [x / 10 for x in range(200)]])
def test_quantiles_of_counted_times_are_those_of_the_times(q: float, measured: list[float]) -> None:
    times: dict[int, int] = {}
    for seconds in measured:
        times[round(1000 * seconds)] = times.get(round(1000 * seconds), 0) + 1
    assert quantile_of(times, q) == quantile(measured, q)


def test_it_says_what_a_list_of_the_runs_would() -> None:
    tally, runs = Tally(), list(all_runs(SMALL, range(6), 1))
    for run in runs:
        tally.add(run)
    told = tally.summary("small")
    assert told.runs == 6
    assert told.peers == round(sum(run.peers for run in runs) / 6, 1)
    assert told.converge_p99 == quantile([run.converged for run in runs], 0.99)
    assert told.rest_p50 == quantile([run.rested for run in runs], 0.5)
    assert told.messages_per_peer == round(
        sum(run.gossip[0] + run.streams[0] for run in runs) / sum(run.peers for run in runs), 1
    )


def _simulate(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["simulate", *arguments, "--jobs", "1", "--json"])
    return result.exit_code, result.output


def test_runs_that_were_stopped_go_on_and_come_to_the_same(tmp_path: Path) -> None:
    small, kept = tmp_path / "small.toml", str(tmp_path / "kept.json")
    small.write_text(as_toml(SMALL))
    whole = json.loads(_simulate(str(small), "--seeds", "6")[1])
    json.loads(_simulate(str(small), "--seeds", "4", "--resume", kept)[1])
    rest = json.loads(_simulate(str(small), "--seeds", "6", "--resume", kept)[1])
    assert (rest["earlier"], rest["summary"]) == (4, whole["summary"])
    again = json.loads(_simulate(str(small), "--seeds", "6", "--resume", kept)[1])
    assert (again["earlier"], again["summary"]) == (6, whole["summary"])


def test_a_file_of_other_runs_is_not_added_to(tmp_path: Path) -> None:
    small, kept = tmp_path / "small.toml", tmp_path / "kept.json"
    small.write_text(as_toml(SMALL))
    assert _simulate(str(small), "--seeds", "1", "--resume", str(kept))[0] == 0
    for arguments, said in (
        ([str(small), "--seed", "5"], "another scenario or first seed"),
        ([str(small), "--peers", "2"], "another scenario or first seed"),
    ):
        result = CliRunner().invoke(app, ["simulate", *arguments, "--resume", str(kept)])
        assert result.exit_code != 0
        assert said in str(result.exception) + result.output
    kept.write_text("[]")
    result = CliRunner().invoke(app, ["simulate", str(small), "--resume", str(kept)])
    assert "no file of earlier runs" in str(result.exception) + result.output
