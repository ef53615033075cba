"""Pictures of others: how many are taken at a time, and that who is refused hears it before a byte of it is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from meshinfer.detect.card import ModelCard
from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.pool import Lease
from meshinfer.errors import ModelError
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.mesh.memory import MemoryNetwork
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.node.inference import AT_ONCE, PATIENCE, PROTOCOL, WAITING, Inference
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import MAX_PICTURE, InferOn, read_inferred

ALICE, BOB = PeerId("alice"), PeerId("bob")


def nothing(reference: str) -> ModelCard:
    raise ModelError(f"no model {reference!r}")


def unused(digest: ModelDigest) -> Lease[AnyDetector]:
    raise AssertionError(digest)


@asynccontextmanager
async def asking(*, allowed: bool) -> AsyncIterator[Mesh]:
    network = MemoryNetwork()
    async with (
        network.mesh(ALICE, listen=("alice",)) as alice,
        network.mesh(BOB, bootstrap=(f"/memory/{ALICE}/p2p/{ALICE}",)) as bob,
        bob.changes() as changes,
    ):
        Inference(alice, nothing, unused, allowed=allowed)
        await changes.receive()
        yield bob


async def refusal(stream: Stream) -> str:
    return read_inferred(await stream.receive() or b"").refused


async def begins(held: AsyncExitStack, bob: Mesh) -> str:
    """What is said of a picture that is promised and does not come; "" while it is waited for."""
    stream = await held.enter_async_context(bob.open(ALICE, PROTOCOL))
    await stream.send(encode(InferOn("x", MAX_PICTURE)))
    with trio.move_on_after(1):
        return await refusal(stream)
    return ""


@pytest.mark.parametrize("leave", [True, False])
async def test_few_pictures_are_taken_at_a_time(autojump_clock: MockClock, leave: bool) -> None:
    """Those that never come are in the way until who promised them leaves, or has taken longer than anybody waits."""
    async with asking(allowed=True) as bob, AsyncExitStack() as held:
        assert {await begins(held, bob) for _ in range(AT_ONCE + WAITING)} == {""}
        assert "busy with the pictures of others" in await begins(held, bob)
        if leave:
            await held.aclose()
        await trio.sleep(1 if leave else PATIENCE)
        assert await begins(held, bob) == ""


async def test_where_none_is_looked_at_none_is_taken(autojump_clock: MockClock) -> None:
    async with asking(allowed=False) as bob, bob.open(ALICE, PROTOCOL) as stream:
        await stream.send(encode(InferOn("x", MAX_PICTURE)))
        assert "looks at no pictures of others" in await refusal(stream)
