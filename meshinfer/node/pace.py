"""A token bucket on trio's clock: so many turns a second on average, a burst at once."""

from __future__ import annotations

import trio


class Pace:
    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens = float(burst)
        self._at = trio.current_time()

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = trio.current_time()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            await trio.sleep((1 - self._tokens) / self._rate)
            self._tokens += (trio.current_time() - self._at) * self._rate
            self._at = trio.current_time()
        self._tokens -= 1
