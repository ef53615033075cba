"""The demo's catastrophe: the busiest peer and the publisher are killed half-way, and the others go on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from meshinfer.cli.output import count
from meshinfer.cli.showcase_peers import Crew
from meshinfer.cli.showcase_plan import Plan
from meshinfer.cli.showcase_screen import JobScreen, Screen

HALF_WAY = 0.4
"""Share of the frames of which the watcher has heard; the work is ahead of that."""

PIECE = 300
EARLY = range(10, 100)
"""Frames of each `PIECE` at which its work has begun and is not about to end, wherever tasks are cut."""


class Takeover(Struct, frozen=True):
    """A task that the killed peer had begun, and who went on with it."""

    source: str
    entry: str
    frame: int
    """The first that was told by the new one and not by the old one."""
    lost: str
    by: str
    seconds: float
    """From the kill until the watcher heard of that frame."""


class Catastrophe:
    """Fed with every event that the watcher hears; strikes once."""

    def __init__(self, plan: Plan, crew: Crew, screen: Screen, live: JobScreen, frames: int) -> None:
        """`frames`: how many there are in all."""
        self._plan, self._crew, self._screen, self._live, self._frames = plan, crew, screen, live, frames
        self._told: Counter[str] = Counter()
        """Frames that each peer told of."""
        self._last: dict[str, str] = {}
        """Who told of a task last."""
        self._at = 0.0
        self.victim = ""
        self.takeovers: list[Takeover] = []

    @property
    def killed(self) -> list[str]:
        return [self.victim, self._plan.publisher] if self.victim else []

    def event(self, event: Mapping[str, Any]) -> None:
        peer, task, frame = str(event.get("peer_name")), str(event.get("task")), int(event.get("frame", 0))
        before, self._last[task] = self._last.get(task, peer), peer
        self._told[peer] += 1
        if self.victim:
            if before == self.victim != peer:
                self._taken_over(event, peer, frame)
        elif self._told.total() >= HALF_WAY * self._frames and frame % PIECE in EARLY and peer == self._busiest():
            self._strike(peer, event)

    def _busiest(self) -> str:
        return max(self._plan.holders, key=lambda name: self._told[name])

    def _strike(self, victim: str, event: Mapping[str, Any]) -> None:
        self.victim, self._at = victim, time.monotonic()
        for name in (victim, self._plan.publisher):
            self._crew.kill(name)
        self._live.killed = {victim, self._plan.publisher}
        self._screen.warn(
            f"killed {victim}, the busiest, at {_place(event)}, and {self._plan.publisher}, which had published the job"
        )

    def _taken_over(self, event: Mapping[str, Any], by: str, frame: int) -> None:
        seconds = round(time.monotonic() - self._at, 1)
        taken = Takeover(str(event.get("source")), str(event.get("entry")), frame, self.victim, by, seconds)
        self.takeovers.append(taken)
        self._screen.step(
            f"{by} goes on with what {self.victim} had begun, {_place(event)}, {seconds} s after the kill"
        )

    def revive(self) -> None:
        """The victim comes back, with what it had stored; the publisher stays dead, nobody needs it."""
        watcher = self._crew.peers[self._plan.watcher]
        victim = self._crew.revive(self.victim)
        self._crew.wait(f"{self.victim} comes back", victim.is_up)
        holders = len(self._plan.holders)
        self._crew.wait(f"{self.victim} is met again", lambda: (watcher.status() or {}).get("connected", 0) >= holders)
        kept = count(self._told[self.victim], "frame")
        self._screen.step(f"{self.victim} is back: what it had stored, {kept} of which were heard, counts")


def _place(event: Mapping[str, Any]) -> str:
    return f"{event.get('source')}/{event.get('entry')} #{event.get('frame')}"
