"""Commands in processes of their own, which a test may interrupt, and what a good complaint of one looks like."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from meshinfer.home import SOCKET_PATH_LIMIT, socket_path
from tests.story.peers import CLI, PATIENCE, PeerProcess

Done = subprocess.CompletedProcess[str]

WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 and shutil.which("setpriv") else []
"""Before a command: root without its privileges, so that permissions count for it as for anybody."""


AT_ONCE = ["env", "MESHINFER_LIMITS_SETTLE=0"]
"""Before a command: files are taken in without the wait for one that is still being written."""


class Command:
    """`meshinfer ARGS` in the background."""

    def __init__(self, home: Path, *args: str) -> None:
        self.process = subprocess.Popen(
            [*CLI, "--home", str(home), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_line(self, text: str = "") -> str:
        """The next line of its standard output that has `text` in it."""
        assert self.process.stdout is not None
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            for line in self.process.stdout:
                if text in line:
                    return line
        finally:
            timer.cancel()
        raise AssertionError(f"it ended, or was ended, without saying {text!r}: {self.end()}")

    def end(self, how: signal.Signals | None = None, within: float = PATIENCE) -> Done:
        if how is not None:
            self.process.send_signal(how)
        try:
            out, err = self.process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return Done(self.process.args, self.process.returncode, out, err)


class Host(PeerProcess):
    """A peer behind another command that sets its surroundings up; `inside`: in a mount namespace of its own."""

    def __init__(self, home: Path, *flags: str, before: Iterable[str] = (), inside: bool = False) -> None:
        super().__init__(home, *flags)
        self.command = [*before, *CLI]
        self._inside = inside

    def wait_ready(self) -> None:
        assert self.process is not None
        if self._inside:
            self.home = Path(f"/proc/{self.process.pid}/root{self.home}")
            assert len(str(socket_path(self.home))) <= SOCKET_PATH_LIMIT, "the socket would have a name of its own"
        super().wait_ready()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


@contextmanager
def hosts(folder: Path) -> Iterator[Callable[..., Host]]:
    """As `mesh` of peers.py, with what a `Host` takes: `start("alice", "--source", ..., before=...)`."""
    started: list[Host] = []

    def start(name: str, *flags: str, listen: str = "/ip4/127.0.0.1/tcp/0", **surroundings: Any) -> Host:
        started.append(Host(folder / name, "--name", name, "--listen", listen, *flags, **surroundings))
        started[-1].start()
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            if one.process is not None and one.process.poll() is None:
                one.process.kill()
                one.process.wait(10)


def meshinfer(home: Path, *args: str, before: Iterable[str] = ()) -> Done:
    """`meshinfer ARGS`, done."""
    command = [*before, *CLI, "--home", str(home), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def refused(done: Done, code: int, *pieces: str, lines: int = 1) -> None:
    """It failed with `code` and one line that has the `pieces` in it. (`lines`: more that belong to it are set in.)"""
    said = done.stderr.splitlines()
    assert done.returncode == code, (done.args, done.returncode, done.stdout, done.stderr)
    assert len(said) == lines, said
    assert said[0].startswith("meshinfer: "), said
    assert all(line.startswith("  ") for line in said[1:]), said
    for piece in pieces:
        assert piece in done.stderr, f"{piece!r} is not in {done.stderr!r}"
