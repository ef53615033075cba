"""Models that come from other peers: `node/fetch.py` on virtual time. Bytes and seals are left out; what the schedule
hears of them is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class Holder(Protocol):
    @property
    def id(self) -> PeerId: ...

    @property
    def models(self) -> dict[ModelDigest, tuple[str, ...]]: ...


class Shell(Holder, Protocol):
    """What a fetch needs of its peer."""

    @property
    def neighbours(self) -> set[int]: ...

    def set_models(self, models: dict[ModelDigest, tuple[str, ...]]) -> None: ...

    def later(self, delay: float, label: str, do: Callable[[], None]) -> None: ...

    def feed(self, stimulus: Stimulus) -> None: ...


class Fetching:
    def __init__(self, shell: Shell, ends: Sequence[Holder], rng: Rng) -> None:
        """`ends`: all peers, by their numbers."""
        self._shell, self._ends, self._rng = shell, ends, rng
        self._wanted: dict[ModelDigest, int] = {}
        """What is on its way: a number that tells one try from the next."""
        self._tries = 0
        self.arrived = 0

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

    def _holders(self, model: ModelDigest) -> list[Holder]:
        """Who is connected and has it."""
        return [end for n in sorted(self._shell.neighbours) if model in (end := self._ends[n]).models]

    def _look(self, model: ModelDigest) -> None:
        holders, refused = self._holders(model), self._rng.random() < REFUSED
        self._later(self._rng.uniform(*LASTS) if holders and not refused else AGAIN, model, self._arrive)
        if holders and refused:
            self._shell.feed(FetchMoved(model, 0, 2, trouble="strangers' seals", refused=True))
        elif holders:
            self._shell.feed(FetchMoved(model, self._rng.randint(0, 1), 2, tuple(end.id for end in holders)))

    def _arrive(self, model: ModelDigest) -> None:
        """Unless whoever sent it has gone meanwhile."""
        holders = self._holders(model)
        if holders and self._rng.random() >= REFUSED:
            self.arrived += 1
            self._shell.set_models({**self._shell.models, model: holders[0].models[model]})
        else:
            self._later(AGAIN, model, self._look)
