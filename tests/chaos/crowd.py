"""Real peers with overlapping footage that can be killed, stopped, frozen, and cut off from each other."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from meshinfer.home import socket_path
from tests.chaos.links import How, Links, PidOf
from tests.chaos.watch import Watch
from tests.story.command import Host
from tests.story.peers import eventually

SETTLE = 240.0
"""Seconds after the trouble in which everything must be as if it had never been."""

NEIGHBOURS = 4
"""Connections that a peer has at least, where there are so many others."""


class Crowd:
    """`with Crowd(folder, held, links) as crowd`: a peer for each of `held`, by name with its files.

    Each is connected and knows its footage when the context is entered; all have ended when it is left.
    """

    def __init__(self, folder: Path, held: Mapping[str, Sequence[Path]], make: Callable[[PidOf], Links]) -> None:
        self._folder, self.held = folder, held
        self.peers: dict[str, Host] = {}
        self.down: set[str] = set()
        self.frozen: set[str] = set()
        self.cuts: set[frozenset[str]] = set()
        self.counts: Counter[str] = Counter()
        self.watch = Watch()
        self.links = make(self._pid)

    def __enter__(self) -> Crowd:
        try:
            for name in self.held:
                self._add(name)
            for name, peer in self.peers.items():
                peer.wait_connected(min(len(self.peers) - 1, NEIGHBOURS))
                peer.wait_entries(len(self.held[name]))
                self.watch.listen(name, socket_path(peer.home))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for peer in self.peers.values():
            if peer.process is not None and peer.process.poll() is None:
                peer.process.kill()
                peer.process.wait(10)
        self.links.close()

    @property
    def answering(self) -> list[str]:
        return sorted(self.peers.keys() - self.down - self.frozen)

    def check(self) -> None:
        """Raises AssertionError where a peer has ended that nobody ended."""
        for name in self.peers.keys() - self.down:
            process = self.peers[name].process
            assert process is not None
            code = process.poll()
            assert code is None, f"{name} ended by itself ({code}):\n{self.peers[name].log.read_text()[-4000:]}"

    # Trouble, and its end.

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> set[str]:
        """The tasks that it had in hand when it died; of a peer that was asked to stop none, it says goodbye."""
        self.down.add(name)
        at = time.monotonic()
        self.peers[name].kill(how)
        self.counts["killed" if how is signal.SIGKILL else "stopped"] += 1
        return self.watch.killed(name, at) if how is signal.SIGKILL else set()

    def revive(self, name: str) -> None:
        self.watch.back(name)
        self.peers[name].start()
        self.down.discard(name)
        self.watch.listen(name, socket_path(self.peers[name].home))

    def freeze(self, name: str) -> None:
        self.frozen.add(name)
        self._signal(name, signal.SIGSTOP)
        self.counts["frozen"] += 1

    def thaw(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)
        self.frozen.discard(name)

    def cut(self, a: str, b: str, how: How) -> None:
        self.cuts.add(frozenset((a, b)))
        self.links.cut(a, b, how)
        self.counts[f"cut ({how})"] += 1

    def heal(self, a: str, b: str) -> None:
        self.cuts.discard(frozenset((a, b)))
        self.links.heal(a, b)

    # Asking.

    def wait_done(self, name: str, job: str) -> dict[str, Any]:
        def done() -> dict[str, Any] | None:
            self.check()
            view = self.peers[name].job(job)
            return view if view["state"] == "done" else None

        try:
            return eventually(f"{name} knows that job {job} is done", done, SETTLE)  # type: ignore[no-any-return]  # `done`'s
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.told(job)}") from None

    def told(self, job: str) -> str:
        """What each peer says of a job, for whoever looks for the reason."""
        said = []
        for name in self.answering:
            view = self.peers[name].ask("job", job=job, explain=True)
            for peer in view["peers"]:
                peer.pop("skipped", None)
            said.append(f"{name}: {json.dumps({key: value for key, value in view.items() if key != 'spec'})}")
        return "\n".join(said)

    def results(self, name: str, job: str) -> list[dict[str, Any]] | None:
        """What `meshinfer results` writes there; None where somebody who took part cannot be reached yet."""
        out = self._folder / f"out-{name}-{job}"
        done = self.peers[name].cli("results", job, "-d", str(out), "--force", check=None)
        assert done.returncode in (0, 4), f"{name}: {done.stdout}\n{done.stderr}"
        if done.returncode:
            return None
        return [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]

    def _add(self, name: str) -> None:
        source = self._folder / f"footage-{name}"
        source.mkdir()
        for video in self.held[name]:
            shutil.copy(video, source / video.name)
        place = self.links.place(name)
        join = ("--bootstrap", next(iter(self.peers.values())).address) if self.peers else ()
        flags = ("--name", name, "--source", f"cam={source}", "--workers", "1", *place.flags, *join)
        self.peers[name] = Host(self._folder / name, *flags, before=place.before)
        self.peers[name].start()

    def _pid(self, name: str) -> int | None:
        peer = self.peers.get(name)
        return peer.process.pid if peer is not None and peer.process is not None else None

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self.peers[name].process
        assert process is not None
        process.send_signal(number)


def overlapping(videos: Sequence[Path], peers: int) -> dict[str, list[Path]]:
    """Who holds what: of three peers or more the last one holds nothing, and each video lies at two others or more."""
    holders = peers - 1
    held = {f"peer{i}": [v for k, v in enumerate(videos) if holders < 3 or (i + k) % 3 != 2] for i in range(holders)}
    return {**held, f"peer{holders}": []}
