"""Where luck comes from: the caller's generator, so that a seed is a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Rng(Protocol):
    """What the simulator uses of `random.Random`."""

    def random(self) -> float: ...

    def uniform(self, a: float, b: float, /) -> float: ...

    def randint(self, a: int, b: int, /) -> int: ...

    def choice(self, seq: Sequence[T], /) -> T: ...

    def sample(self, population: Sequence[T], k: int, /) -> list[T]: ...
