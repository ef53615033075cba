"""A world of peers under virtual time."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from pytest_trio import trio_fixture  # type: ignore[import-untyped]  # it has no types
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


@pytest.fixture
def gossip(request: pytest.FixtureRequest) -> bool:
    """Whether announcements reach anybody. `MESHINFER_DROP_GOSSIP=1` loses them in every test."""
    return bool(getattr(request, "param", not os.environ.get("MESHINFER_DROP_GOSSIP")))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_gossip: about announcements, so not run with all of them lost")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Modules that say WITHOUT_GOSSIP_TOO run a second time with every announcement lost."""
    if "world" in metafunc.fixturenames and getattr(metafunc.module, "WITHOUT_GOSSIP_TOO", False):
        needs = metafunc.definition.get_closest_marker("needs_gossip") is not None
        modes = [pytest.param(True, id="gossip")] + [pytest.param(False, id="dropped")] * (not needs)
        metafunc.parametrize("gossip", modes, indirect=True)


@trio_fixture  # type: ignore[untyped-decorator]  # pytest_trio has no types
async def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gossip: bool) -> AsyncIterator[World]:
    assert isinstance(trio.lowlevel.current_clock(), MockClock)
    virtual(monkeypatch)
    async with trio.open_nursery() as nursery:
        yield World(MemoryNetwork(drop_gossip=not gossip), tmp_path, nursery)
        nursery.cancel_scope.cancel()
