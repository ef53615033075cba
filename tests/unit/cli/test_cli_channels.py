"""`models promote`, `rollback` and `channels` against a node that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from tests.unit.cli.conftest import ALICE, BOB, ScriptedNode, job_view

Cli = Callable[..., Result]


def tally(**changes: Any) -> dict[str, Any]:
    known = {"tasks": 4, "errors": 0, "frames": 200, "detections": 80, "seconds": 20.0, "scores": [0] * 8}
    return {**known, "per_frame": 0.4, "fps": 10.0, "score": 0.75, **changes}


def view(**changes: Any) -> dict[str, Any]:
    """A roll-out under way."""
    trial = {
        "candidate": {"reference": "yard@2", "digest": "2" * 64},
        "share": 0.1,
        "peers": [{"peer": BOB, "name": "rotterdam"}],
        "bounded": False,
        "seconds": 600.0,
        "left": 540.0,
        "verdict": "wait",
        "why": "nothing wrong so far",
        "tried": tally(),
        "rest": tally(tasks=36),
        "each": [{"peer": BOB, "name": "rotterdam", "tried": tally(errors=1), "before": tally(fps=11.0)}],
    }
    known = {
        "channel": "yard:stable",
        "model": {"reference": "yard@1", "digest": "1" * 64},
        "before": None,
        "generation": 2,
        "move": "try",
        "why": "",
        "by": ALICE,
        "by_name": "hamburg-1",
        "since": 60.0,
    }
    return {**known, "trial": trial, **changes}


def test_promote_says_what_people_mean(node: ScriptedNode, cli: Cli) -> None:
    node.script["model_promote"] = [{"end": {"channel": view()}}]
    result = cli("models", "promote", "yard@2", "--canary", "10%", "--for", "15m", "--why", "new year")
    assert result.exit_code == 0, result.stderr
    assert node.asked == [
        ("model_promote", {"model": "yard@2", "permille": 100, "seconds": 900.0, "why": "new year"}),
    ]
    assert "yard@2 is being tried on 1 peer (rotterdam), 9m left: nothing wrong so far" in " ".join(
        result.stdout.split()
    )


def test_without_a_share_it_is_for_all(node: ScriptedNode, cli: Cli) -> None:
    node.script["model_promote"] = [{"end": {"channel": view(move="set", trial=None, why="by hand")}}]
    result = cli("models", "promote", "yard@1", "--to", "yard:night")
    assert result.exit_code == 0, result.stderr
    assert node.asked == [("model_promote", {"model": "yard@1", "to": "yard:night", "why": ""})]
    assert "by hand" in result.stdout


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--canary", "0%"], "--canary 0%: give a share of the peers such as 10%"),
        (["--canary", "100%"], "--canary 100%: give a share"),
        (["--canary", "nan"], "--canary nan: give a share"),
        (["--canary", "some"], "--canary some: give a share"),
        (["--canary", "10%", "--for", "soon"], "--for: expected a time span"),
        (["--for", "10m"], "--for goes with --canary"),
    ],
)
def test_what_makes_no_sense_is_not_asked(node: ScriptedNode, cli: Cli, flags: list[str], said: str) -> None:
    result = cli("models", "promote", "yard@2", *flags)
    assert result.exit_code == 2
    assert said in result.stderr
    assert node.asked == []


@pytest.mark.parametrize(("share", "permille"), [("10%", 100), ("0.1%", 1), ("33.33", 333), ("99.99%", 999)])
def test_shares(node: ScriptedNode, cli: Cli, share: str, permille: int) -> None:
    node.script["model_promote"] = [{"end": {"channel": view()}}]
    assert cli("models", "promote", "yard@2", "--canary", share).exit_code == 0
    assert node.asked[0][1]["permille"] == permille


def test_rollback(node: ScriptedNode, cli: Cli) -> None:
    ended = view()["trial"] | {"verdict": "rollback", "why": "misses bicycles"}
    node.script["model_rollback"] = [{"end": {"channel": view(move="rollback", trial=ended)}}]
    result = cli("models", "rollback", "yard:stable", "--why", "misses bicycles")
    assert result.exit_code == 0, result.stderr
    assert node.asked == [("model_rollback", {"channel": "yard:stable", "why": "misses bicycles"})]
    assert "yard@2 was taken back on 1 peer (rotterdam): misses bicycles" in " ".join(result.stdout.split())


def test_channels_shows_the_evidence(node: ScriptedNode, cli: Cli) -> None:
    hostile = view(channel="b:stable", trial=None, why="\x1b[2J", by_name="\x1b]0;x\x07")
    node.script["channels"] = [{"end": {"channels": [view(), hostile]}}]
    result = cli("models", "channels", env={"COLUMNS": "140"})
    assert result.exit_code == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "yard:stable yard@1 yard@2 10.0% 1m hamburg-1" in lines
    assert "candidate at rotterdam 4 1 200 10.0 0.40 0.75" in lines
    assert "before at rotterdam 4 0 200 11.0 0.40 0.75" in lines
    assert "all others 36 0 200 10.0 0.40 0.75" in lines
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    plain = cli("models", "channels", "yard:stable", "--json")
    assert json.loads(plain.stdout)["channels"][0]["generation"] == 2
    assert [asked for _, asked in node.asked] == [{}, {"channel": "yard:stable"}]


def test_no_channels_yet(node: ScriptedNode, cli: Cli) -> None:
    node.script["channels"] = [{"end": {"channels": []}}]
    assert "no channels yet" in cli("models", "channels").stdout


def test_a_job_says_who_tried_what(node: ScriptedNode, cli: Cli) -> None:
    described = job_view(
        canary={"reference": "yard@2", "model": "2" * 64, "peers": [{"peer": BOB, "name": "rotterdam"}]}
    )
    described["peers"][1]["models"] = [{"reference": "yard@2", "digest": "2" * 64, "tasks": 3}]
    node.script["job"] = [{"end": described}]
    result = cli("jobs", "3f2a")
    assert "tries yard@2 on rotterdam" in result.stdout
    assert "rotterdam did 3 tasks with yard@2" in result.stdout


def test_long_names_leave_room_for_the_rest(node: ScriptedNode, cli: Cli) -> None:
    long = {"reference": "m" * 97, "digest": "1" * 64}
    node.script["channels"] = [{"end": {"channels": [view(channel="c" * 64 + ":" + "t" * 32, model=long)]}}]
    title, row, *_ = cli("models", "channels").stdout.splitlines()
    assert title.split() == ["CHANNEL", "MODEL", "CANDIDATE", "SHARE", "SINCE", "BY"]
    assert "10.0%" in row
    assert "1m" in row
