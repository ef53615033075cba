"""`meshinfer models`, with a node that answers from a script and with the home alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from meshinfer.config import load
from meshinfer.home import IDENTITY
from meshinfer.mesh.identity import load_or_create
from meshinfer.node.app import open_shelf
from tests.unit.cli.conftest import ALICE, BOB, ScriptedNode
from tests.unit.shelves import EVE, model, offered

Cli = Callable[..., Result]


def test_the_life_of_a_model_without_a_node(cli: Cli, tmp_path: Path, home: Path) -> None:
    file, sidecar = model(tmp_path / "in", "grey"), tmp_path / "light.toml"
    sidecar.write_text('names = ["light"]\nlicence = "MIT"\n')
    added = cli("models", "add", file, "--version", "2", "--sidecar", sidecar, "--json")
    assert added.exit_code == 0, added.stderr
    card = json.loads(added.stdout)["model"]
    me = load_or_create(home / IDENTITY).peer_id
    assert card["signers"] == [{"peer": me, "own": True, "trusted": True}]
    assert (card["origin"], card["classes"], card["licence"]) == ("added", ["light"], "MIT")
    assert "grey@2" in cli("models", "ls").stdout
    told = json.loads(cli("models", "describe", "grey", "--json").stdout)["model"]
    assert told["operators"] == {"ReduceMean": 1, "Mul": 1, "Add": 1}
    assert Path(told["path"]).read_bytes() == file.read_bytes()
    assert cli("models", "verify", "grey").stdout == f"grey@2 {card['digest'][:8]}: good\n"
    assert "grey@2 stays" in cli("models", "pin", "grey@2").stdout
    Path(told["path"]).write_bytes(b"spoiled")
    wrong = cli("models", "verify")
    assert wrong.exit_code == 1
    assert "yard-demo" in wrong.stdout
    assert "grey@2: its file or sidecar has changed on disk" in " ".join(wrong.stdout.split())
    assert cli("models", "rm", "grey").exit_code == 0
    assert cli("models", "rm", "yard-demo").stderr.startswith("meshinfer: yard-demo comes with meshinfer")
    assert [m["name"] for m in json.loads(cli("models", "ls", "--json").stdout)["models"]] == ["yard-demo"]


def test_a_stranger_is_trusted_by_a_line_of_the_settings(cli: Cli, tmp_path: Path, home: Path) -> None:
    digest, vouched = offered(tmp_path, file := model(tmp_path / "in", "grey"), EVE)
    settings = home / "config.toml"
    settings.write_text(f'[models]\nsigners = ["{EVE.peer_id}"]\n')
    open_shelf(load(home), load_or_create(home / IDENTITY), print).take_in(file, vouched)
    assert cli("models", "verify", digest[:8]).exit_code == 0
    settings.write_text("")
    refused = cli("models", "ls")
    assert "refused" in refused.stdout
    said = f"grey: signed by {EVE.peer_id}, whom this peer does not trust"
    assert said in refused.stdout
    assert "(not trusted here)" in cli("models", "describe", "grey").stdout
    assert cli("models", "verify", "grey").exit_code == 1


VIEW = {
    "name": "yard-detector-of-the-northern-terminal",
    "version": "2026.11",
    "digest": "ab" * 32,
    "layout": "yolov5-undecoded",
    "width": 1280,
    "height": 1280,
    "classes": [f"class with a long name {i}" for i in range(80)],
    "bytes": 310_000_000,
    "licence": "LicenseRef-of-a-company-with-a-long-name",
    "notices": [],
    "origin": "fetched",
    "pinned": True,
    "signers": [
        {"peer": BOB, "name": "office", "own": False, "trusted": True},
        {"peer": ALICE, "name": "", "own": False, "trusted": False},
    ],
    "refused": "",
    "held_by": [{"peer": BOB, "name": "office", "connected": False}],
    "path": "/somewhere/" + "ab" * 32 + ".onnx",
    "opset": 17,
    "producer": "pytorch 2.9",
    "domains": {"com.microsoft": 1},
    "operators": {f"Operator{i}": 40 - i for i in range(40)},
    "parameters": 75_000_000,
    "inputs": [{"name": "images", "type": "float", "shape": [1, 3, "height", "width"]}],
    "outputs": [{"name": "out", "type": "float16", "shape": [1, 25200, 85]}],
}


@pytest.mark.parametrize(("verb", "end"), [("ls", {"models": [VIEW] * 2}), ("describe x", {"model": VIEW})])
def test_what_is_shown_fits_100_columns(node: ScriptedNode, cli: Cli, verb: str, end: dict[str, object]) -> None:
    node.script = {"models": [{"end": end}], "model": [{"end": end}]}
    result = cli("models", *verb.split())
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines() if "/somewhere/" not in line) <= 100
    for piece in ("1280x1280", "office", *(("HELD BY",) if verb == "ls" else ("pinned", "com.microsoft 1"))):
        assert piece in result.stdout
    assert json.loads(cli("models", *verb.split(), "--json").stdout) == end


def test_names_of_others_cannot_forge_the_screen(node: ScriptedNode, cli: Cli) -> None:
    evil = "\x1b[2Jowned\x07\u202e"
    bad = VIEW | dict.fromkeys(("licence", "layout", "producer", "refused"), evil)
    bad |= {"classes": [evil] * 3, "operators": {evil: 1}, "held_by": [{"name": evil}], "signers": [{"name": evil}]}
    node.script = {"models": [{"end": {"models": [bad]}}], "model": [{"end": {"model": bad}}]}
    for verb in (["ls", "-v"], ["describe", "x"]):
        shown = cli("models", *verb).stdout
        assert "owned" in shown
        assert not any(c in shown for c in "\x1b\x07\u202e")


def test_a_node_is_asked(node: ScriptedNode, cli: Cli) -> None:
    node.script = {
        "models": [{"end": {"models": [{"digest": "ab" * 32}, {"digest": "cd" * 32}]}}],
        "model_verify": lambda args: [
            {"end": {"model": "m", "digest": args["model"], "ok": args["model"] == "ab" * 32, "findings": []}}
        ],
        "model_remove": [{"end": {"model": "m", "bytes": 2048}}],
        "model_pin": [{"end": {"model": VIEW}}],
    }
    assert cli("models", "verify").exit_code == 1
    assert cli("models", "rm", "m", "--force").stdout == "m removed, 2.0 KB freed\n"
    assert "goes when room is needed" in cli("models", "unpin", "m").stdout
    assert node.asked[1:] == [
        ("model_verify", {"model": "ab" * 32}),
        ("model_verify", {"model": "cd" * 32}),
        ("model_remove", {"model": "m", "force": True}),
        ("model_pin", {"model": "m", "pinned": False}),
    ]


def test_a_fetch_that_waits_says_what_for_in_a_pipe(node: ScriptedNode, cli: Cli) -> None:
    moved = [{"data": {"progress": {"trouble": why}}} for why in ("", "no room", "no room", "")]
    node.script = {"model_fetch": [*moved, {"end": {"model": VIEW}}]}
    result = cli("models", "fetch", "yard")
    assert (result.exit_code, result.stderr) == (0, "yard: no room\n")


def test_notices_name_the_version_once(node: ScriptedNode, cli: Cli) -> None:
    bad = VIEW | {"name": "yard", "version": "2", "refused": "yard@2: has changed", "notices": ["has no names"]}
    node.script = {"models": [{"end": {"models": [bad]}}]}
    assert cli("models", "ls").stdout.splitlines()[-2:] == ["yard@2: has changed", "yard@2: has no names"]
