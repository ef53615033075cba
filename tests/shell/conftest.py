"""A world of peers under virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from pytest_trio import trio_fixture  # type: ignore[import-untyped]
from trio.testing import MockClock

from meshinfer.mesh.memory import MemoryNetwork
from tests.shell.support import World, virtual


def run_virtual(main: Any, *, clock: object, instruments: Any) -> Any:
    return trio.run(main, clock=MockClock(autojump_threshold=0), instruments=instruments)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses a world has virtual time: pytest-trio looks for a clock among a test's own arguments only."""
    for item in items:
        if "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=run_virtual), append=False)


@trio_fixture  # type: ignore[untyped-decorator]  # pytest_trio has no types
async def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[World]:
    assert isinstance(trio.lowlevel.current_clock(), MockClock)
    virtual(monkeypatch)
    async with trio.open_nursery() as nursery:
        yield World(MemoryNetwork(), tmp_path, nursery)
        nursery.cancel_scope.cancel()
