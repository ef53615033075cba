"""Real peers for the story: processes of `meshinfer up`, each in its own folder, ended by their pids."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meshinfer.errors import MeshInferError
from meshinfer.home import socket_path
from meshinfer.node.client import ask, call

PATIENCE = 60.0
"""Seconds for anything a test waits for: many times what it takes, for machines that are busy."""

CLI = [sys.executable, "-m", "meshinfer"]


def eventually(what: str, check: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The first true value of `check`; a node that does not answer yet counts as false."""
    until = time.monotonic() + patience
    last: object = None
    while time.monotonic() < until:
        try:
            if last := check():
                return last
        except MeshInferError as e:
            last = e
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience:.0f} s (last: {last!r})")


class PeerProcess:
    def __init__(self, home: Path, *flags: str) -> None:
        self.home, self.flags = home, flags
        self.command = CLI
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home.with_suffix(".log")
        self.address = ""

    def start(self) -> PeerProcess:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "--home", str(self.home), "up", *self.flags], stdout=log, stderr=subprocess.STDOUT
            )
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        def up() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.home.name} ended:\n{self.log.read_text()}"
            self.address = self.ask("status")["addresses"][0]
            return True

        eventually(f"{self.home.name} is up", up)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(20)

    def ask(self, call_name: str, /, **args: Any) -> dict[str, Any]:
        return ask(socket_path(self.home), call_name, args)

    def cli(self, *args: str, check: int | None = 0, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*CLI, "--home", str(self.home), *args], capture_output=True, text=True, timeout=timeout, check=False
        )
        assert check is None or done.returncode == check, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def add_model(self, file: Path, name: str | None = None) -> None:
        self.ask("model_add", file=str(file), name=name)

    def publish(self, **spec: Any) -> str:
        return str(self.ask("publish", spec=spec)["job"])

    def job(self, job: str) -> dict[str, Any]:
        return next(j for j in self.ask("jobs")["jobs"] if j["job"] == job)

    def wait_connected(self, n: int) -> None:
        eventually(f"{self.home.name} has {n} peers", lambda: self.ask("status")["connected"] >= n)

    def wait_model(self, name: str, holders: int) -> None:
        """Until this peer knows of so many that hold a model."""
        eventually(
            f"{holders} hold {name}",
            lambda: sum(any(m["name"] == name for m in p["models"]) for p in self.ask("peers")["peers"]) >= holders,
        )

    def wait_entries(self, n: int) -> None:
        def entries() -> bool:
            with call(socket_path(self.home), "catalog", {"all": False}) as lines:
                return sum("entry" in line for line in lines) == n

        eventually(f"{self.home.name} lists {n} entries", entries)

    def wait_done(self, job: str, total: int) -> dict[str, Any]:
        def done() -> dict[str, Any] | None:
            view = self.job(job)
            return view if view["state"] == "done" and view["tasks"]["total"] == total else None

        return eventually(f"job {job} is done", done)  # type: ignore[no-any-return]  # whatever `done` returned

    def results(self, job: str, folder: Path, check: int = 0) -> list[dict[str, Any]]:
        self.cli("results", job, "-d", str(folder), check=check)
        return [json.loads(line) for line in (folder / "detections.jsonl").read_text().splitlines()]


class Subscriber:
    """`meshinfer subscribe --json` in a process of its own."""

    def __init__(self, peer: PeerProcess, *flags: str) -> None:
        self.process = subprocess.Popen(
            [*CLI, "--home", str(peer.home), "subscribe", "--json", *flags], stdout=subprocess.PIPE, text=True
        )

    def events(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            data = json.loads(line)
            if "cursor" in data:
                yield data

    def stop(self) -> None:
        """What it had printed by then can still be read."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def close(self) -> None:
        self.stop()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def mesh(folder: Path) -> Iterator[Callable[..., PeerProcess]]:
    """Starts peers: `peer("alice", "--source", ...)`. All of them have ended when the context is left."""
    peers: list[PeerProcess] = []

    def peer(name: str, *flags: str, listen: str = "/ip4/127.0.0.1/tcp/0") -> PeerProcess:
        one = PeerProcess(folder / name, "--name", name, "--listen", listen, *flags)
        peers.append(one)
        return one.start()

    environ = dict(os.environ)
    try:
        yield peer
    finally:
        os.environ.clear()
        os.environ.update(environ)
        for one in peers:
            if one.process is not None and one.process.poll() is None:
                one.process.kill()
                one.process.wait(10)
