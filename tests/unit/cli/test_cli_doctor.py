"""`meshinfer doctor` against a node that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from tests.unit.cli.conftest import ScriptedNode

Cli = Callable[..., Result]
FINE = {"check": "reach", "ok": True, "what": "2 peers connected", "todo": ""}
NOTE = {"check": "models", "ok": True, "what": "no model here", "todo": "add one"}
BAD = {"check": "overlay", "ok": False, "what": "a star around \x1b[2Jbob", "todo": "link them"}


def test_what_is_wrong_comes_first_with_what_to_do(node: ScriptedNode, cli: Cli) -> None:
    node.script["doctor"] = [{"end": {"checks": [FINE, NOTE, BAD]}}]
    result = cli("doctor")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["wrong", "to", "note", "to", "ok", "1"]
    assert "overlay: a star around  [2Jbob" in lines[0]
    assert "to do: link them" in lines[1]
    assert lines[-1] == "1 thing wrong"


@pytest.mark.parametrize(
    ("checks", "code"),
    [([FINE], 0), ([FINE, NOTE], 0), ([FINE, BAD], 1), ([], 1), ([{"what": "of another version"}], 1)],
)
def test_the_exit_code_says_whether_it_is_well(
    node: ScriptedNode, cli: Cli, checks: list[dict[str, object]], code: int
) -> None:
    node.script["doctor"] = [{"end": {"checks": checks}}]
    assert cli("doctor").exit_code == code
    result = cli("doctor", "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout) == {"checks": checks}


def test_it_wants_a_node(cli: Cli) -> None:
    result = cli("doctor")
    assert result.exit_code == 3
    assert "no node runs" in result.stderr
