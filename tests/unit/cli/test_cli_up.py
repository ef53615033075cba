"""`meshinfer up` as seen from its caller: flags become settings, and what is printed can be copied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import meshinfer.node.app
from meshinfer.config import Config
from tests.unit.cli.conftest import ALICE, ScriptedNode

Cli = Callable[..., Result]
STATUS = {
    "peer": ALICE,
    "name": "hamburg-1",
    "mesh": "default",
    "addresses": [f"/ip4/192.168.1.5/tcp/4001/p2p/{ALICE}", f"/ip4/127.0.0.1/tcp/4001/p2p/{ALICE}"],
    "notices": ["the clock is 3 s off"],
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The node's place is taken: it is ready at once, says one thing, and ends."""
    configs: list[Config] = []

    def run(config: Config, *, say: Callable[[str], None], on_ready: Callable[[dict[str, Any]], None]) -> None:
        configs.append(config)
        on_ready(STATUS)
        say("rotterdam joined")

    monkeypatch.setattr(meshinfer.node.app, "run", run)
    return configs


def test_flags_become_settings(cli: Cli, started: list[Config], tmp_path: Path) -> None:
    (tmp_path / "footage").mkdir()
    bootstrap = f"/ip4/10.0.0.1/tcp/4001/p2p/{ALICE}"
    flags = ["--source", f"dock={tmp_path}/footage,camera=1", "--label", "site=hamburg", "--bootstrap", bootstrap]
    flags += [
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--name",
        "hamburg-1",
        "--mesh",
        "yard",
        "--share-pixels",
        "--workers",
        "2",
    ]
    result = cli("up", *flags)
    assert result.exit_code == 0, result.output
    (config,) = started
    assert (config.source[0].name, config.source[0].labels) == ("dock", {"camera": "1"})
    assert (config.peer.name, config.peer.labels) == ("hamburg-1", {"site": "hamburg"})
    assert (config.mesh.name, config.mesh.listen, config.mesh.bootstrap) == (
        "yard",
        ("/ip4/127.0.0.1/tcp/0",),
        (bootstrap,),
    )
    assert config.policy.share_pixels
    assert config.limits.workers == 2


def test_nothing_given_changes_nothing(cli: Cli, started: list[Config], home: Path) -> None:
    assert cli("up").exit_code == 0
    assert started == [Config(home=home)]


def test_addresses_are_ready_to_copy_loopback_first(cli: Cli, started: list[Config]) -> None:
    lines = cli("up").stdout.splitlines()
    assert ALICE in lines[0]
    at = lines.index(f"  --bootstrap /ip4/127.0.0.1/tcp/4001/p2p/{ALICE}")
    assert lines[at + 1] == f"  --bootstrap /ip4/192.168.1.5/tcp/4001/p2p/{ALICE}"
    assert any("the clock is 3 s off" in line for line in lines)
    assert lines[-1].endswith(" rotterdam joined")


def test_json_is_the_status_and_then_the_log(cli: Cli, started: list[Config]) -> None:
    lines = [json.loads(line) for line in cli("up", "--json").stdout.splitlines()]
    assert lines == [STATUS, {"log": "rotterdam joined"}]


def test_a_running_node_is_used_whatever_bootstrap_says(node: ScriptedNode, cli: Cli) -> None:
    node.script["subscribe"] = [{"end": {}}]
    result = cli("subscribe", "-v", "--bootstrap", f"/ip4/10.0.0.1/tcp/4001/p2p/{ALICE}")
    assert result.exit_code == 0
    assert "--bootstrap is not needed" in result.stderr
    assert node.asked == [("subscribe", {})]
