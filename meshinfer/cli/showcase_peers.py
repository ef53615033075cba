"""The demo's peers: `meshinfer up` as a user would start it, in processes that end with the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from meshinfer.errors import MeshError, NodeNotRunning
from meshinfer.home import socket_path
from meshinfer.node.client import ask

PATIENCE = 30.0
"""Seconds for a step of the start that takes two."""

GRACE = 5.0
"""Seconds that a process has to end before it is killed."""

POLL = 0.05
LOG_LINES = 12
LOG_TAIL = 16 * 1024


class Peer:
    """One `meshinfer up`; what it says goes to `log`."""

    def __init__(
        self, name: str, home: Path, process: subprocess.Popen[bytes], log: Path, flags: tuple[str, ...]
    ) -> None:
        self.name, self.home, self.process, self.log, self.flags = name, home, process, log, flags
        self.socket = socket_path(home)
        self.sent_before = 0
        """Bytes, up to when it was killed."""

    def status(self) -> dict[str, Any] | None:
        """What the peer says of itself; None while it is not up."""
        try:
            return ask(self.socket, "status")
        except NodeNotRunning:
            return None

    @property
    def sent(self) -> int:
        """Bytes that it has sent to other peers."""
        return self.sent_before + int((self.status() or {}).get("bytes_out", 0))

    def is_up(self) -> bool:
        return self.status() is not None

    def last_lines(self) -> list[str]:
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LOG_TAIL))
                return file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            return []


class Crew:
    """`with Crew(folder) as crew:` the peers it starts end with the context, and with this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.peers: dict[str, Peer] = {}
        self.killed: set[str] = set()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        end_all(peer.process for peer in self.peers.values())

    def start(self, name: str, *flags: str) -> Peer:
        """Raises MeshError."""
        home, log = self._folder / name, self._folder / f"{name}.log"
        fixed = ["--home", str(home), "--name", name, "--mesh", "demo", "--listen", "/ip4/127.0.0.1/tcp/0"]
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with log.open("ab") as file:
                process = subprocess.Popen(
                    [sys.executable, "-m", "meshinfer", "up", *fixed, "--until-stdin-closes", *flags],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment(),
                    start_new_session=True,  # Ctrl-C is for us: we end them, and in order
                )
        except OSError as e:
            raise MeshError(f"the peer {name} cannot be started: {e.strerror or e}") from None
        self.peers[name] = Peer(name, home, process, log, flags)
        return self.peers[name]

    def kill(self, name: str) -> None:
        """As a power cut would: with SIGKILL."""
        peer = self.peers[name]
        peer.sent_before = peer.sent
        self.killed.add(name)
        peer.process.kill()
        end_all([peer.process])

    def revive(self, name: str) -> Peer:
        """Start it again in its folder, with its flags. Raises MeshError."""
        old = self.peers[name]
        new = self.start(name, *old.flags)
        new.sent_before = old.sent_before
        self.killed.discard(name)
        return new

    def wait(self, what: str, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Until `condition` holds. Raises MeshError when that takes too long or a peer has ended."""
        deadline = time.monotonic() + patience
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise MeshError(f"{what}: not within {patience:.0f} s; is this machine very busy?")
            time.sleep(POLL)

    def check(self) -> None:
        """Raises MeshError when a peer has ended that was not killed here."""
        for peer in self.peers.values():
            if peer.name not in self.killed and (code := peer.process.poll()) is not None:
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                raise MeshError(f"the peer {peer.name} has ended ({how})")


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Without MESHINFER_*: the user's own settings would take these peers into the user's own mesh."""
    kept = {key: value for key, value in environ.items() if not key.startswith("MESHINFER_")}
    return kept | {"PYTHONUNBUFFERED": "1"}


def end_all(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Terminate all; kill what is still there after `GRACE` seconds."""
    processes = list(processes)
    try:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + GRACE
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
    finally:
        for process in processes:
            if process.poll() is None:  # a second Ctrl-C, or it was killed just now
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stderr):
                if pipe is not None:
                    pipe.close()
