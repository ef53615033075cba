"""`aclosing` for generators that hold a nursery.

A nursery wraps the GeneratorExit that closes its generator in a group, which `aclose` then raises instead of returning:
whoever only left a loop early would be told that something failed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def closing(generator: AsyncGenerator[T, None]) -> AsyncIterator[AsyncGenerator[T, None]]:
    """The generator, closed in the task that used it."""
    try:
        yield generator
    finally:
        try:
            await generator.aclose()
        except BaseExceptionGroup as group:
            _, others = group.split(GeneratorExit)
            if others is not None:
                raise others from None
