"""The peer in JavaScript as a process, and its packages."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
INSTALL_PATIENCE, PATIENCE = 120.0, 30.0
"""Seconds for npm, and for each thing that the peer is waited for."""

OFFLINE = re.compile(r"code (E(NOTFOUND|AI_AGAIN|CONN\w+|\w*TIMEDOUT|NETUNREACH|HOSTUNREACH|403)|ERR_SOCKET_TIMEOUT)")
NPM = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-retry-mintimeout=500")
MIN_NODE = 20

Things = list[dict[str, Any]]


class Unavailable(Exception):
    """The peer cannot be run here, and why."""


class JsPeer:
    """The Node process: one JSON object a line both ways, ended by closing its input."""

    def __init__(self, script: Path, config: dict[str, Any], log: Path) -> None:
        self.said: defaultdict[str, Things] = defaultdict(list)
        self._lines: queue.Queue[str | None] = queue.Queue()
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                ["node", script, json.dumps(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait(self, at: str, enough: Callable[[Things], object] = bool) -> Things:
        """All that it has said of the kind `at`, as soon as that is enough."""
        until = time.monotonic() + PATIENCE
        while not enough(self.said[at]):
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                line = None
            said = {kind: len(things) for kind, things in self.said.items()}
            assert line is not None, f"waited for {at}; it said {said}:\n{self._log.read_text()}"
            thing = json.loads(line)
            assert thing["at"] != "broken", thing["error"]
            self.said[thing.pop("at")].append(thing)
        return self.said[at]

    def tell(self, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def sync(self, what: Literal["new", "all"], opaque: int = 0) -> dict[str, Any]:
        before = len(self.said["synced"])
        self.tell(sync=what, opaque=opaque)
        return self.wait("synced", lambda things: len(things) > before)[-1]

    def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.wait("stopped")
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def packages() -> Path:
    """`node_modules` as package-lock.json says, in a folder of the user's cache. Raises Unavailable."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise Unavailable(f"no {tool} here: the peer in JavaScript needs Node {MIN_NODE} or newer")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < MIN_NODE:
        raise Unavailable(f"Node {version} is too old for js-libp2p: {MIN_NODE} or newer")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshinfer"
    done = cache / f"interop-{hashlib.sha256((HERE / 'package-lock.json').read_bytes()).hexdigest()[:16]}"
    if not done.is_dir():
        _install(cache, done)
    return done / "node_modules"


def _install(cache: Path, done: Path) -> None:
    """Whole or not at all; another run may be installing the same."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="npm-") as folder:
        draft = Path(folder) / "draft"
        draft.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, draft)
        try:
            npm = subprocess.run(NPM, cwd=draft, capture_output=True, text=True, timeout=INSTALL_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"npm did not fetch the packages within {INSTALL_PATIENCE:.0f} s") from None
        if npm.returncode and (why := OFFLINE.search(npm.stderr)):
            raise Unavailable(f"npm cannot fetch the packages: {why[1]}")
        assert npm.returncode == 0, npm.stderr
        with suppress(OSError):  # the other was faster
            draft.rename(done)
    assert done.is_dir()
