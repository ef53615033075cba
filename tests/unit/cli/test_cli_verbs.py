"""Each verb against a node that answers from a script: what is asked, what is shown, and the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.unit.cli.conftest import ALICE, BOB, NOBODY, ScriptedNode, event, job_view

Cli = Callable[..., Result]
PUBLISHED = {"job": "3f2a9c0011223344", "name": "people", "model": "yolox_nano", "digest": "ab" * 32, "peers": 2}


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    file = tmp_path / "people.yaml"
    file.write_text("name: people\nmodel: yolox_nano\non: {kind: video, labels: {site: hamburg}}\nexpires: 2h\n")
    return file


def test_publish_sends_the_plain_spec(node: ScriptedNode, cli: Cli, job_file: Path) -> None:
    node.script["publish"] = [{"end": PUBLISHED}]
    result = cli("publish", job_file, "--set", "sample.fps=2")
    assert result.exit_code == 0
    assert "3f2a9c0011223344" in result.stdout
    spec = node.asked[0][1]["spec"]
    assert spec["on"] == {"kind": "video", "labels": ["site=hamburg"]}
    assert spec["expires"] == 7200
    assert spec["sample"] == {"fps": 2.0}


def test_run_says_the_same_in_flags(node: ScriptedNode, cli: Cli) -> None:
    node.script["publish"] = [{"end": PUBLISHED}]
    on = "kind=video,site in (hamburg, rotterdam),name=*.mp4"
    result = cli("run", "yolox_nano", "--on", on, "--classes", "person,car", "--every", "5", "--expires", "30m")
    assert result.exit_code == 0, result.stderr
    assert node.asked[0][1]["spec"] == {
        "model": "yolox_nano",
        "name": "yolox_nano",
        "on": {"kind": "video", "labels": ["site in (hamburg, rotterdam)"], "name": "*.mp4"},
        "sample": {"every": 5},
        "detect": {"classes": ["person", "car"]},
        "expires": 1800.0,
    }


def test_follow_ends_with_a_summary(node: ScriptedNode, cli: Cli, job_file: Path) -> None:
    node.script["publish"] = [{"end": PUBLISHED}]
    node.script["follow"] = [{"data": {"progress": job_view(state="running")}}, {"end": {"summary": job_view()}}]
    result = cli("publish", job_file, "--follow")
    assert result.exit_code == 0
    assert "hamburg-1" in result.stdout
    assert "4 of 4 tasks done" in result.stdout


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        (
            {"missing": [{"peer": BOB, "name": "rotterdam", "reason": "no answer"}]},
            4,
            "partial: not heard from rotterdam",
        ),
        ({"tasks": {"total": 4, "done": 3, "failed": 1}}, 1, ""),
        ({"state": "cancelled"}, 1, ""),
        ({"state": "expired"}, 5, "expired before it was done"),
    ],
)
def test_follow_exit_codes(
    node: ScriptedNode, cli: Cli, job_file: Path, changes: dict[str, object], code: int, said: str
) -> None:
    node.script["publish"] = [{"end": PUBLISHED}]
    node.script["follow"] = [{"end": {"summary": job_view(**changes)}}]
    result = cli("publish", job_file, "--follow")
    assert result.exit_code == code
    assert said in result.stderr


def test_nothing_happened_is_explained(node: ScriptedNode, cli: Cli, job_file: Path) -> None:
    node.script["publish"] = [{"end": PUBLISHED}]
    node.script["follow"] = [{"end": {"summary": job_view(**NOBODY)}}]
    node.script["job"] = [{"end": job_view(**NOBODY)}]
    result = cli("publish", job_file, "--follow")
    assert result.exit_code == 1
    assert "hamburg-1 declines: has no model yolox_nano" in result.stderr


def test_follow_gives_up_at_its_timeout(node: ScriptedNode, cli: Cli, job_file: Path) -> None:
    node.script["publish"] = [{"end": PUBLISHED}]
    node.script["follow"] = [threading.Event()]
    result = cli("publish", job_file, "--follow", "--timeout", "0.1")
    assert result.exit_code == 5
    assert "the job goes on: meshinfer jobs 3f2a9c0011223344" in result.stderr


def test_dry_run_shows_who_and_why(node: ScriptedNode, cli: Cli, job_file: Path) -> None:
    runs = {
        "peer": ALICE,
        "name": "hamburg-1",
        "verdict": "runs",
        "tasks": 3,
        "frames": 900,
        "stands_by": 0,
        "reason": "",
        "skipped": [],
    }
    declines = runs | {
        "peer": BOB,
        "name": "office",
        "verdict": "declines",
        "tasks": 0,
        "frames": 0,
        "reason": "holds no footage",
    }
    node.script["dry_run"] = [
        {"end": {"model": "yolox_nano", "digest": "ab", "verdicts": [runs, declines], "missing": []}}
    ]
    result = cli("publish", job_file, "--dry-run")
    assert result.exit_code == 0
    assert "holds no footage" in result.stdout
    node.script["dry_run"] = [{"end": {"model": "yolox_nano", "digest": "ab", "verdicts": [declines], "missing": []}}]
    assert cli("publish", job_file, "--dry-run").exit_code == 1


def test_subscribe_prints_one_line_a_frame(node: ScriptedNode, cli: Cli) -> None:
    node.script["subscribe"] = [{"data": {"event": event()}}, {"data": {"notice": "filled a gap of 3"}}, {"end": {}}]
    result = cli("subscribe", "--label", "person,car", "--min-score", "0.5", "--since", "10m")
    assert result.stdout[9:] == "dock/yard-night.mp4 t=12.4s #124  person 0.91, person 0.77  [hamburg-1]\n"
    assert "filled a gap" in result.stderr
    assert node.asked[0] == ("subscribe", {"min_score": 0.5, "label": ["person", "car"], "since": "600s"})


def test_jobs_lists_and_describes(node: ScriptedNode, cli: Cli) -> None:
    node.script["jobs"] = [{"end": {"jobs": [job_view(peers=[])]}}]
    node.script["job"] = [{"end": job_view()}]
    assert "people" in cli("jobs").stdout
    described = cli("jobs", "3f2a")
    assert described.exit_code == 0
    assert "by office" in described.stdout
    assert node.asked[-1] == ("job", {"job": "3f2a", "explain": False})


PEERS = {
    "peers": [
        {
            "peer": ALICE,
            "name": "hamburg-harbour-north-quay-camera-box-17",
            "me": True,
            "connected": True,
            "seen": 0,
            "version": "0.1.0",
            "labels": {"site": "hamburg", "floor": "3", "owner": "the harbour authority of hamburg"},
            "addresses": [f"/ip4/127.0.0.1/tcp/4001/p2p/{ALICE}"],
            "cores": 16,
            "memory_mb": 32000,
            "providers": ["CPUExecutionProvider"],
            "models": [{"name": f"a-detector-with-a-long-name-{i}"} for i in range(9)],
            "sources": [
                {"name": f"source-{i}", "entries": 1000, "bytes": 10**12, "duration": 86400.0} for i in range(9)
            ],
        },
        {"peer": BOB, "name": "office", "me": False, "connected": False, "seen": 75, "models": [], "sources": []},
    ]
}


@pytest.mark.parametrize(
    ("args", "call", "end"),
    [
        (["peers"], "peers", PEERS),
        (["jobs"], "jobs", {"jobs": [job_view(name="n" * 120, publisher_name="p" * 90)] * 3}),
        (["jobs", "x"], "job", job_view()),
        (
            ["models", "ls"],
            "models",
            {"models": [{"name": "m" * 90, "layout": "yolox", "classes": ["c" * 60] * 5, "bytes": 9}]},
        ),
    ],
)
def test_tables_fit_100_columns(
    node: ScriptedNode, cli: Cli, args: list[str], call: str, end: dict[str, object]
) -> None:
    node.script[call] = [{"end": end}]
    result = cli(*args)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_names_cannot_forge_the_screen(node: ScriptedNode, cli: Cli) -> None:
    evil = "\x1b[2Jowned\x07\u202e[bold red]"
    node.script["peers"] = [
        {"end": {"peers": [{"peer": BOB, "name": evil, "labels": {"a": evil}, "addresses": [evil]}]}}
    ]
    shown = cli("peers", "-v").stdout
    assert not any(c in shown for c in "\x1b\x07\u202e")
    assert "[bold" in shown


@pytest.mark.parametrize("args", [["status"], ["peers"], ["jobs"], ["jobs", "x"], ["models", "ls"], ["cancel", "x"]])
def test_json_is_the_nodes_own_object(node: ScriptedNode, cli: Cli, args: list[str]) -> None:
    answer = {"name": "ünïcode", "list": [1, 2.5, None]}
    node.script = {call: [{"end": answer}] for call in ("status", "peers", "jobs", "job", "models", "cancel")}
    result = cli(*args, "--json")
    assert json.loads(result.stdout) == answer
    assert result.stdout.count("\n") == 1


def test_json_streams_one_object_a_line(node: ScriptedNode, cli: Cli, job_file: Path) -> None:
    node.script["publish"] = [{"end": PUBLISHED}]
    node.script["follow"] = [{"data": {"progress": job_view(state="running")}}, {"end": {"summary": job_view()}}]
    lines = [json.loads(line) for line in cli("publish", job_file, "--follow", "--json").stdout.splitlines()]
    assert lines[0] == PUBLISHED
    assert [list(line) for line in lines[1:]] == [["progress"], ["summary"]]
    node.script["subscribe"] = [{"data": {"event": event()}}, {"end": {}}]
    assert json.loads(cli("subscribe", "--json").stdout) == event()


def test_catalog_has_samples_of_series_instead_of_pixels(node: ScriptedNode, cli: Cli) -> None:
    told = {"source": "gearbox", "kind": "series", "width": 1, "height": 2, "bytes": 1000, "labels": {}}
    entries = [{**told, "name": "a.wav", "fps": 25600.0, "duration": 60.0}, {**told, "name": "b.csv", "fps": 0.0}]
    node.script["catalog"] = [*({"data": {"entry": e}} for e in entries), {"end": {"entries": 2}}]
    out = cli("catalog").stdout
    assert "2 ch  25600 Hz 1m" in out
    assert "2 ch  no rate known" in out


def test_catalog_says_who_is_missing(node: ScriptedNode, cli: Cli) -> None:
    entry = {"peer": ALICE, "peer_name": "hamburg-1", "source": "dock", "name": "a.mp4", "width": 640, "height": 360}
    entry |= {"fps": 12.5, "duration": 40.0, "bytes": 3_200_000, "labels": {"site": "hamburg"}}
    bad = {
        "peer": ALICE,
        "peer_name": "hamburg-1",
        "source": "dock",
        "name": "b.mp4",
        "reason": "is empty",
        "waiting": False,
    }
    missing = [{"peer": BOB, "name": "rotterdam", "reason": "timed out"}]
    node.script["catalog"] = [
        {"data": {"entry": entry}},
        {"data": {"unreadable": bad}},
        {"end": {"entries": 1, "missing": missing}},
    ]
    result = cli("catalog", "--all")
    assert result.exit_code == 4
    assert "unreadable: is empty" in result.stdout
    assert "not heard from: rotterdam" in result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_model_paths_are_absolute_and_exist(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    assert cli("models", "add", tmp_path / "none.onnx").exit_code == 2
    assert cli("models", "add", "x" * 5000).exit_code == 2
    file = tmp_path / "m.onnx"
    file.write_bytes(b"x")
    node.script["model_add"] = [{"error": {"kind": "ModelError", "message": "m.onnx is no ONNX file", "exit": 1}}]
    result = cli("models", "add", os.path.relpath(file), "--name", "m")
    assert result.exit_code == 1
    assert result.stderr == "meshinfer: m.onnx is no ONNX file\n"
    assert node.asked[-1] == ("model_add", {"file": str(file), "name": "m"})


def test_what_is_no_text_is_said(node: ScriptedNode, cli: Cli) -> None:
    result = cli("models", "describe", "yard\udcff")
    assert result.exit_code == 2
    assert result.stderr == "meshinfer: not UTF-8, as names and paths have to be here: yard\\udcff\n"


def test_ctrl_c_detaches_and_says_so(node: ScriptedNode, home: Path, job_file: Path) -> None:
    node.script["publish"] = [{"end": PUBLISHED}]
    node.script["follow"] = [{"data": {"progress": job_view(state="running")}}, threading.Event()]
    command = [sys.executable, "-m", "meshinfer", "publish", str(job_file), "--follow", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()  # the first progress: it is following now
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == "detached; the job goes on: meshinfer jobs 3f2a9c0011223344\n"


def test_a_closed_pipe_is_quiet(node: ScriptedNode, home: Path) -> None:
    node.script["subscribe"] = [{"data": {"event": event()}}] * 5000
    command = [sys.executable, "-m", "meshinfer", "subscribe", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "person 0.91" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
