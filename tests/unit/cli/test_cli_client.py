"""The conversation with the local node, and each way in which it fails."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from meshinfer import errors
from meshinfer.errors import MeshInferError, NodeNotRunning, ProtocolError, TimedOut
from meshinfer.home import SOCKET_PATH_LIMIT, socket_path
from meshinfer.node.client import MAX_LINE, ask, call, is_running
from tests.unit.cli.conftest import ScriptedNode


def test_data_comes_before_the_end(node: ScriptedNode) -> None:
    node.script["count"] = lambda args: [*({"data": n} for n in range(args["to"])), {"end": {"sum": 3}}]
    with call(node.path, "count", {"to": 3}) as conversation:
        assert list(conversation) == [0, 1, 2]
    assert conversation.end == {"sum": 3}


def test_no_node(home: Path) -> None:
    with pytest.raises(NodeNotRunning, match="start one with `meshinfer up`"):
        ask(socket_path(home), "status")
    assert not is_running(socket_path(home))


def test_a_socket_that_a_dead_node_left(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path(home)))
    with pytest.raises(NodeNotRunning, match="left its socket behind"):
        ask(socket_path(home), "status")


@pytest.mark.parametrize("kind", ["ConfigError", "ModelError", "StoreError", "TimedOut", "PartialResult"])
def test_errors_are_what_they_were_in_the_node(node: ScriptedNode, kind: str) -> None:
    node.script["publish"] = [{"error": {"kind": kind, "message": "why", "exit": getattr(errors, kind).exit_code}}]
    with pytest.raises(getattr(errors, kind), match=r"^why$"):
        ask(node.path, "publish")


@pytest.mark.parametrize("kind", ["KeyError", "MeshInferError", "annotations", None])
def test_unknown_errors_keep_their_exit_code(node: ScriptedNode, kind: str | None) -> None:
    node.script["publish"] = [{"error": {"kind": kind, "message": "why", "exit": 4}}]
    with pytest.raises(MeshInferError) as caught:
        ask(node.path, "publish")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("answer", [b"no json\n", b"[]\n", b'{"end": 3}\n', b'{"neither": {}}\n', b"\xff\xfe\n"])
def test_garbage_is_a_protocol_error(node: ScriptedNode, answer: bytes) -> None:
    node.script["status"] = [answer]
    with pytest.raises(ProtocolError):
        ask(node.path, "status")


def test_a_line_is_bounded(node: ScriptedNode) -> None:
    node.script["status"] = [b"x" * (MAX_LINE + 200_000)]
    with pytest.raises(ProtocolError, match="4 MiB"):
        ask(node.path, "status")


def test_a_node_that_dies_in_the_middle(node: ScriptedNode) -> None:
    node.script["status"] = [{"data": 1}]
    with pytest.raises(MeshInferError, match="stopped, or it crashed"):
        ask(node.path, "status")


def test_silence_and_deadline_are_told_apart(node: ScriptedNode) -> None:
    node.script["status"] = [threading.Event()]
    with pytest.raises(MeshInferError, match="did not answer"), call(node.path, "status", silence=0.05) as hung:
        hung.finish()
    with pytest.raises(TimedOut), call(node.path, "status", silence=None, timeout=0.05) as late:
        late.finish()


def test_long_homes_get_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * SOCKET_PATH_LIMIT)
    path = socket_path(deep)
    assert len(bytes(path)) <= SOCKET_PATH_LIMIT
    assert path == socket_path(deep)
    assert path != socket_path(deep / "other")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert socket_path(Path("/short")) == Path("/short/control.sock")
