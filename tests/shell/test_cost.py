"""docs/COST.md's formula for a mesh at rest, measured."""

from __future__ import annotations

import pytest
import trio

from meshinfer.node import sync
from tests.golden.costs import costs
from tests.shell.support import World, until


@pytest.mark.parametrize("peers", [4, 12])
async def test_a_mesh_at_rest_costs_what_the_formula_says(world: World, peers: int) -> None:
    names = [f"p{n}" for n in range(peers)]
    all_of_them = [await world.start(name, *names[:n]) for n, name in enumerate(names)]
    await until(lambda: all(len(p.driver.state.peers) == peers for p in all_of_them))
    await trio.sleep(30)
    before, seconds = sum(p.mesh.counters["bytes_out"] for p in all_of_them), 200
    await trio.sleep(seconds)
    sent = (sum(p.mesh.counters["bytes_out"] for p in all_of_them) - before) / seconds / peers
    size = {symbol: size for symbol, (_, size) in costs().items()}
    own = all_of_them[0].records.log.of_kind("peer")[0].record.sealed
    vector = size["v"] * peers
    assert sent == pytest.approx((3 * vector + 2 * len(own)) / sync.EVERY, rel=0.1)
