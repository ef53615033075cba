"""How long it takes until the work of a peer that was killed goes on elsewhere, from the events that peers make."""

from __future__ import annotations

import threading
import time
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from meshinfer.errors import MeshInferError
from meshinfer.node.client import ask, call

IN_HAND = 2.0
"""A task that a peer has told of within so many seconds before it was killed was being worked on."""


class Takeover(NamedTuple):
    task: str
    lost: str
    """The peer that was killed."""
    by: str
    seconds: float
    """From the kill to the first event of the new one: deciding, opening the file and reading on included."""


class Watch:
    """Listens to every peer's own events at that peer, so that no network lies between."""

    def __init__(self) -> None:
        self.takeovers: list[Takeover] = []
        self.repeated = 0
        """Frames that were told a second time: analysed twice, by two peers or by one again."""
        self._lock = threading.Lock()
        self._frames: dict[str, set[int]] = {}
        self._told: dict[str, dict[str, float]] = {}
        """By task: who told of it, and when last."""
        self._lost: dict[str, tuple[str, float]] = {}
        """Tasks of peers that are down: whose, and since when."""

    def listen(self, name: str, node: Path) -> None:
        """To the peer whose control socket is at `node`, until it ends."""
        threading.Thread(target=self._listen, args=(name, node), name=f"watch {name}", daemon=True).start()

    def busy(self, names: Container[str]) -> str | None:
        """Which of these told of a task last."""
        with self._lock:
            last = [(at, name) for told in self._told.values() for name, at in told.items() if name in names]
        return max(last)[1] if last else None

    def at_work(self, names: Container[str], within: float = 0.3) -> str | None:
        """Which of these told, a moment ago, of a task that nobody else has."""
        now = time.monotonic()
        with self._lock:
            sole = [next(iter(told.items())) for told in self._told.values() if len(told) == 1]
        return next((name for name, at in sole if name in names and now - at < within), None)

    def killed(self, name: str, at: float) -> set[str]:
        """The tasks it had in hand, which nobody else has begun."""
        with self._lock:
            in_hand = {t for t, told in self._told.items() if told.keys() == {name} and at - told[name] < IN_HAND}
            self._lost |= dict.fromkeys(in_hand, (name, at))
        return in_hand

    def back(self, name: str) -> None:
        """Nobody takes over from it any more."""
        with self._lock:
            self._lost = {task: lost for task, lost in self._lost.items() if lost[0] != name}

    def heard(self, name: str, task: str, frame: int, at: float) -> None:
        with self._lock:
            frames = self._frames.setdefault(task, set())
            self.repeated += frame in frames
            frames.add(frame)
            self._told.setdefault(task, {})[name] = at
            if task in self._lost and self._lost[task][0] != name:
                lost, since = self._lost.pop(task)
                self.takeovers.append(Takeover(task, lost, name, at - since))

    def _listen(self, name: str, node: Path) -> None:
        try:
            me = ask(node, "status")["peer"]
            with call(node, "subscribe", {"peer": me}, silence=None) as events:
                for message in events:
                    if event := message.get("event"):
                        self.heard(name, event["task"], event["frame"], time.monotonic())
        except MeshInferError:
            return  # it was killed: whoever starts it again listens again


def percentile(values: list[float], share: float) -> float:
    """Nearest rank; of no values 0."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
