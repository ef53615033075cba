"""A node that answers from a script, over the real socket: the contract of the command line with any node."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meshinfer.cli import app
from meshinfer.home import socket_path

ALICE = "12D3KooWFSu1Y7Kq81GoPK33UmSPfvhEWq84RQ65hdFnCkdos2Wo"
BOB = "12D3KooWHyQk2sxUNpYWSsSGTyBBZSmDXU2kjCLMHETqEPnjMhw5"

Script = Callable[[dict[str, Any]], Iterable[object]] | list[object]


class ScriptedNode:
    """`node.script["jobs"] = [{"end": {...}}]`: messages, or a function of the arguments that gives them.

    Bytes go as they are. An `Event` in a script holds the answer back until it is set or the client is gone.
    """

    def __init__(self, home: Path) -> None:
        self.script: dict[str, Script] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.path = socket_path(home)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:  # OSError: it detached
            if not (line := stream.readline()):
                return  # somebody looked whether a node runs
            request = json.loads(line)
            self.asked.append((request["call"], request["args"]))
            script = self.script[request["call"]]
            for message in script(request["args"]) if callable(script) else script:
                if isinstance(message, threading.Event):
                    message.wait(30)
                    continue
                stream.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
                stream.flush()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def node(home: Path) -> Iterator[ScriptedNode]:
    scripted = ScriptedNode(home)
    yield scripted
    scripted.close()


@pytest.fixture
def cli(home: Path) -> Callable[..., Result]:
    """`cli("jobs", "--json")` in `home`."""
    return lambda *args, **more: CliRunner().invoke(app, ["--home", str(home), *map(str, args)], **more)


def job_view(**changes: Any) -> dict[str, Any]:
    """A job that two peers finished."""
    peer = {"connected": True, "verdict": "runs", "reason": "", "tasks": 2, "done": 2, "failed": 0, "running": 0}
    peer |= {"analysed": 240, "frames": 240, "detections": 31, "seconds": 6.4, "fps": 37.5, "stands_by": 0}
    peer |= {"errors": [], "skipped": []}
    view: dict[str, Any] = {
        "job": "3f2a9c0011223344",
        "name": "people",
        "model": "yolox_nano",
        "digest": "ab" * 32,
        "publisher": BOB,
        "publisher_name": "office",
        "published": 1_790_000_000.0,
        "expires_in": 3600.0,
        "scope": "once",
        "state": "done",
        "spec": {"model": "yolox_nano"},
        "tasks": {"total": 4, "done": 4, "failed": 0, "running": 0, "pending": 0, "cancelled": 0},
        "analysed": 480,
        "frames": 480,
        "detections": 62,
        "seconds": 6.9,
        "peers": [{"peer": ALICE, "name": "hamburg-1", **peer}, {"peer": BOB, "name": "rotterdam", **peer}],
        "missing": [],
    }
    return view | changes


NOBODY: dict[str, Any] = {
    "state": "declined",
    "tasks": {"total": 0, "done": 0, "failed": 0, "running": 0, "pending": 0, "cancelled": 0},
    "analysed": 0,
    "frames": 0,
    "detections": 0,
    "peers": [
        {"peer": ALICE, "name": "hamburg-1", "verdict": "declines", "reason": "has no model yolox_nano", "tasks": 0}
    ],
}


def event(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "cursor": f"{ALICE}/1/7",
        "job": "3f2a9c0011223344",
        "task": "a" * 32,
        "peer": ALICE,
        "peer_name": "hamburg-1",
        "source": "dock",
        "entry": "yard-night.mp4",
        "content": "c" * 32,
        "frame": 124,
        "t": 12.4,
        "width": 640,
        "height": 360,
        "wall": None,
        "detections": [
            {"label": "person", "score": 0.77, "box": [10.0, 20.0, 30.0, 60.0]},
            {"label": "person", "score": 0.91, "box": [100.0, 20.0, 130.0, 90.0]},
        ],
    }
    return made | changes
