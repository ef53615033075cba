"""How this host is doing: disk, loop lag, bootstrap peers that don't answer. What is wrong is said in words."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import trio

from meshinfer.mesh.api import Mesh
from meshinfer.model.ids import PeerId
from meshinfer.node.driver import Driver
from meshinfer.schedule.stimuli import RoomChanged

CHECK_EVERY = 5.0
GRACE = 3.0
"""Seconds that a bootstrap peer may be away before it is said."""
SAY_EVERY = 60.0
LAG_EVERY = 0.1
LAG_SAMPLES = 600
LATELY = 50
"""Samples of the last five seconds."""


class Lag(NamedTuple):
    """Seconds by which this peer's loop was late: for the task that is due now or was due last, and at worst in the
    last five seconds. Who was late itself has not heard others, and must not call them silent."""

    last: float
    worst: float


class Health:
    def __init__(
        self,
        home: Path,
        reserve_mb: int,
        bootstrap: tuple[str, ...],
        driver: Driver,
        mesh: Mesh,
        say: Callable[[str], None],
    ) -> None:
        self._home, self._driver, self._mesh, self._say = home, driver, mesh, say
        self._reserve_mb = max(1, reserve_mb)  # with none at all no job can be written down, and that must be said
        self._bootstrap = {PeerId(address.rpartition("/p2p/")[2]) for address in bootstrap}
        self._lags: deque[float] = deque(maxlen=LAG_SAMPLES)
        self._lately: deque[float] = deque(maxlen=LATELY)
        self._due: float | None = None
        self._said: dict[str, float] = {}
        self._strange: set[PeerId] = set()
        """Bootstrap peers that are connected, and have not said who they are."""

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._measure_lag)
            while True:
                await self._check_disk()
                self.check_peers()
                await trio.sleep(CHECK_EVERY)

    def trouble(self, why: str) -> None:
        """The store cannot be written: no tasks until the next check finds room."""
        self._driver.feed(RoomChanged(False, why))
        self._say_now_and_then("store", f"no tasks are started: {why}; this peer keeps serving and tries again")

    async def _check_disk(self) -> None:
        free_mb = (await trio.to_thread.run_sync(shutil.disk_usage, self._home)).free // 2**20
        room = free_mb >= self._reserve_mb
        why = "" if room else f"{free_mb} MB of disk left, {self._reserve_mb} MB are kept free (limits.disk_reserve_mb)"
        if why != self._driver.state.no_room:
            self._driver.feed(RoomChanged(room, why))
        if not room:
            self._say_now_and_then("disk", f"no tasks are started: {why}; free some disk")
        elif self._said.pop("disk", None) is not None:
            self._say("there is room on the disk again: tasks are started")

    def check_peers(self) -> None:
        """Say which bootstrap peers don't answer, and which do again. The others are in `meshinfer status`."""
        away = {peer: u for peer, u in self._mesh.unreached().items() if peer in self._bootstrap}
        for peer, unreached in sorted(away.items()):
            if unreached.seconds >= GRACE:
                self._say_now_and_then(
                    peer,
                    f"bootstrap peer {peer[-6:]}: {unreached.error}; is it up, with the same swarm key? trying on",
                )
        for peer in sorted(self._bootstrap & self._said.keys() - away.keys()):
            del self._said[peer]
            if peer in self._mesh.peers:  # else there are neighbours enough, and it is not looked for
                self._say(f"bootstrap peer {peer[-6:]}: connected")
        strange = self._bootstrap & self._mesh.peers - self._driver.state.peers.keys()
        for peer in sorted(strange & self._strange):  # at two looks: one that has just come may still say who it is
            text = f"bootstrap peer {peer[-6:]} says nothing of this mesh: is it in one of another name?"
            self._say_now_and_then(f"mesh of {peer}", text)
        self._strange = strange

    def _say_now_and_then(self, about: str, text: str) -> None:
        """Once a minute for each matter."""
        now = trio.current_time()
        if now - self._said.get(about, -SAY_EVERY) >= SAY_EVERY:
            if len(self._said) > 1000:
                self._said.clear()
            self._said[about] = now
            self._say(text)

    async def _measure_lag(self) -> None:
        while True:
            due = self._due = trio.current_time() + LAG_EVERY
            await trio.sleep_until(due)
            late = trio.current_time() - due
            self._lags.append(late)
            self._lately.append(late)

    def lag_now(self) -> Lag:
        """Cheap, and true from the first moment after a stall: what is overdue counts before it has been measured."""
        overdue = 0.0 if self._due is None else max(0.0, trio.current_time() - self._due)
        last = max(overdue, self._lately[-1] if self._lately else 0.0)
        return Lag(last, max(last, max(self._lately, default=0.0)))

    def lag(self) -> dict[str, float]:
        """Of the last minute, in milliseconds: how late the loop was for a task that was due."""
        ordered = sorted(self._lags) or [0.0]
        at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {k: round(1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))], 2) for k, q in at.items()}

    def notices(self) -> list[str]:
        why = self._driver.state.no_room
        return [f"no tasks are started: {why}"] if why else []
