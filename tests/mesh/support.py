"""Peers with names: the same name is the same identity in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from meshinfer.mesh.api import Mesh, Message, Topic
from meshinfer.mesh.identity import Identity
from meshinfer.mesh.libp2p import Libp2pMesh, open_mesh

ANY_PORT = ("/ip4/127.0.0.1/tcp/0",)
PROBE = b"alive?"


class Join(Protocol):
    """Join a mesh under a name. `at` is an address this peer had before."""

    def __call__(
        self, name: str, *, bootstrap: tuple[str, ...] = (), at: str | None = None
    ) -> AbstractAsyncContextManager[Mesh]: ...


def identity(name: str) -> Identity:
    return Identity.from_seed(hashlib.sha256(name.encode()).digest())


def listen_at(address: str) -> str:
    return address.split("/p2p/")[0]


def join_libp2p(
    name: str, *, bootstrap: tuple[str, ...] = (), at: str | None = None, swarm_key: bytes | None = None
) -> AbstractAsyncContextManager[Libp2pMesh]:
    listen = ANY_PORT if at is None else (listen_at(at),)
    return open_mesh(identity(name), listen=listen, mesh="test", bootstrap=bootstrap, swarm_key=swarm_key)


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Return once `condition()` is true; fails the test after `seconds`."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.005)


async def hear(mesh: Mesh, count: int = 1, seconds: float = 5.0) -> list[Message]:
    """The next `count` announcements, the probes of `gossips` left out."""
    found: list[Message] = []
    with trio.fail_after(seconds):
        async for message in mesh.messages():
            if message.data == PROBE:
                continue
            found.append(message)
            if len(found) == count:
                break
    return found


async def gossips(sender: Mesh, *receivers: Mesh, topic: Topic = "events", seconds: float = 8.0) -> None:
    """What `sender` announces on `topic` reaches every receiver from here on.

    A link that is up does not carry gossip yet: its ends must hear of each other's topics and graft each other,
    topic by topic. An announcement before that is lost, as gossip may be, so the probe is sent again and again.
    """
    missing = set(receivers)

    async def listen(receiver: Mesh) -> None:
        async for message in receiver.messages():
            if message.origin == sender.me and message.data == PROBE:
                missing.discard(receiver)
                return

    with trio.fail_after(seconds):
        async with trio.open_nursery() as nursery:
            for receiver in receivers:
                nursery.start_soon(listen, receiver)
            while missing:
                await sender.publish(topic, PROBE)
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
