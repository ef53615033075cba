"""Models that come from other peers: `node/fetch.py` on virtual time. Bytes and seals are left out; what the schedule
hears of them is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.schedule.stimuli import Fetch, FetchMoved, Forgo, Stimulus
from meshinfer.sim.chance import Rng

LASTS = 0.2, 4.0
"""Seconds that a model is on its way."""

AGAIN = 1.0
"""Seconds until it is looked again for somebody who has it."""

REFUSED = 0.1
"""Share of tries that find only seals of strangers, until the next."""


class Shell(Protocol):
    """What a fetch needs of its peer."""

    def sources(self, model: ModelDigest) -> list[PeerId]:
        """Who is connected and has it."""

    def take_in(self, model: ModelDigest) -> None: ...

    def later(self, delay: float, label: str, do: Callable[[], None]) -> None: ...

    def feed(self, stimulus: Stimulus) -> None: ...


class Fetching:
    def __init__(self, shell: Shell, rng: Rng) -> None:
        self._shell, self._rng = shell, rng
        self._wanted: dict[ModelDigest, int] = {}
        """What is on its way: a number that tells one try from the next."""
        self._tries = 0

    def perform(self, effect: Fetch | Forgo) -> None:
        match effect:
            case Fetch(model):
                self._tries += 1
                self._wanted[model] = self._tries
                self._later(self._rng.uniform(0.0, 0.2), model, self._look)
            case Forgo(model):
                self._wanted.pop(model, None)

    def _later(self, delay: float, model: ModelDigest, do: Callable[[ModelDigest], None]) -> None:
        number = self._wanted[model]
        self._shell.later(delay, "fetch", lambda: do(model) if self._wanted.get(model) == number else None)

    def _look(self, model: ModelDigest) -> None:
        sources, refused = self._shell.sources(model), self._rng.random() < REFUSED
        self._later(self._rng.uniform(*LASTS) if sources and not refused else AGAIN, model, self._arrive)
        if sources:
            news = FetchMoved(model, 0, 2, trouble="strangers' seals", refused=True) if refused else None
            self._shell.feed(news or FetchMoved(model, self._rng.randint(0, 1), 2, tuple(sources)))

    def _arrive(self, model: ModelDigest) -> None:
        """Unless whoever sent it has gone meanwhile."""
        if self._shell.sources(model) and self._rng.random() >= REFUSED:
            self._shell.take_in(model)
        else:
            self._later(AGAIN, model, self._look)
