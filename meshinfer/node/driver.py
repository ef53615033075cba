"""The only code that touches `ScheduleState`: feeds it, performs what it asks for, wakes it when a deadline passes."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import Effect, Stimulus, Tick


class Driver:
    """`perform` starts work and never waits for it, so feeding is a plain call: no queue in which stimuli could pile
    up.
    """

    def __init__(self, state: ScheduleState, perform: Callable[[Effect], None]) -> None:
        self.state = state
        self._perform = perform
        self._woken = trio.Event()
        self._changed = trio.Event()

    def feed(self, stimulus: Stimulus) -> None:
        for effect in self.state.handle(stimulus, trio.current_time()):
            self._perform(effect)
        self._woken.set()
        self._changed.set()
        self._changed = trio.Event()

    async def changed(self) -> None:
        """Wait until the state may have changed."""
        await self._changed.wait()

    async def serve(self) -> None:
        while True:
            self._woken = trio.Event()
            deadline = self.state.next_deadline()
            with trio.move_on_at(math.inf if deadline is None else deadline) as waiting:
                await self._woken.wait()
            if waiting.cancelled_caught:
                self.feed(Tick())
