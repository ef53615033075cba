"""Keeps connections to known peers: dials for ever, politely."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from meshinfer.errors import MeshError
from meshinfer.mesh.api import Unreached
from meshinfer.mesh.links import Links
from meshinfer.model.ids import PeerId

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that libp2p brings; trio's own types give way to them

log = logging.getLogger("meshinfer.mesh")

FIRST_DELAY, LAST_DELAY = 0.5, 15.0
"""Seconds between rounds of dialing one peer: doubled each time, drawn within 30 % so that a mesh doesn't pulse."""

SETTLED = 10.0
"""A connection that lived this many seconds starts the next series at `FIRST_DELAY`; one that dies at once does not."""

REMIND = 60.0
"""Seconds between two log lines about one peer that nobody reaches."""

MAX_ADDRESSES = 16
"""Addresses kept per peer, the latest said: old ones of a peer that moves around make room."""

MAX_PEERS = 1024
"""Peers dialed for. Above it, new ones are counted and ignored: they can still dial us."""

AT_ONCE = 16
"""Tries under way at a time, for all peers."""

MAX_BOOK = 2048
"""Peers whose addresses are kept for the case that a stream to one is wanted."""

REACH_PATIENCE = 5.0
REACH_AGAIN = 5.0
"""Seconds before one that could not be reached for a stream is tried for another."""

STAGGER = 0.3
"""Seconds that one address of a peer has before the next is tried beside it: some never answer (RFC 8305's idea)."""


class _Target:
    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.addresses = addresses
        self.scope = trio.CancelScope()
        self.news = trio.Event()
        self.down_since = trio.current_time()
        self.error = "not tried yet"


class Dialer:
    """One task per known peer. `connect(peer, address)` makes one try and raises `MeshError`."""

    def __init__(
        self,
        connect: Callable[[PeerId, str], Awaitable[None]],
        links: Links,
        counters: Counter[str],
        rng: random.Random | None = None,
    ) -> None:
        self._connect = connect
        self._links = links
        self._counters = counters
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._targets: dict[PeerId, _Target] = {}
        self._book: dict[PeerId, tuple[str, ...]] = {}
        self._reaching: dict[PeerId, _Target] = {}
        self._limit = trio.CapacityLimiter(AT_ONCE)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def know(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        """Keep a connection to `peer`; more addresses of a known peer are tried at once."""
        assert self._nursery is not None, "know() before run()"
        target = self._targets.get(peer)
        if target is not None:
            new = tuple(a for a in addresses if a not in target.addresses)
            if new:
                target.addresses = (new + target.addresses)[:MAX_ADDRESSES]
                target.news.set()
        elif len(self._targets) >= MAX_PEERS:
            self._counters["know_refused"] += 1
        else:
            target = self._targets[peer] = _Target(addresses[:MAX_ADDRESSES])
            self._nursery.start_soon(self._keep, peer, target)

    def introduce(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        """Where `peer` is, should it be wanted."""
        self._book.pop(peer, None)
        self._book[peer] = addresses[:MAX_ADDRESSES]
        if len(self._book) > MAX_BOOK:
            del self._book[next(iter(self._book))]

    async def reach(self, peer: PeerId) -> None:
        """Connect to `peer` now, if it is not. Raises `MeshError`."""
        if peer in self._links.peers:
            return
        known = self._targets.get(peer)
        addresses = known.addresses if known is not None else self._book.get(peer, ())
        if not addresses:
            raise MeshError(f"not connected to {peer}")
        assert self._nursery is not None, "reach() before run()"
        if peer not in self._reaching:
            self._reaching[peer] = _Target(addresses)
            self._reaching[peer].error = f"no answer within {REACH_PATIENCE:g} s"
            self._nursery.start_soon(self._reach_once, peer, self._reaching[peer])
        target = self._reaching[peer]
        await self._over_or_up(peer, target)
        if peer not in self._links.peers:
            raise MeshError(f"not connected to {peer}: {target.error}")

    async def _reach_once(self, peer: PeerId, target: _Target) -> None:
        """One try for all who want it; a failure stands for a while."""
        try:
            with trio.move_on_after(REACH_PATIENCE):
                await self._try_all(peer, target)
            target.news.set()
            if peer not in self._links.peers:
                await trio.sleep(REACH_AGAIN)
        finally:
            del self._reaching[peer]

    def forget(self, peer: PeerId) -> None:
        target = self._targets.pop(peer, None)
        if target is not None:
            target.scope.cancel()

    def unreached(self) -> dict[PeerId, Unreached]:
        now = trio.current_time()
        return {
            peer: Unreached(t.addresses, now - t.down_since, t.error)
            for peer, t in self._targets.items()
            if peer not in self._links.peers
        }

    async def _keep(self, peer: PeerId, target: _Target) -> None:
        with target.scope:
            delay = FIRST_DELAY
            while True:
                target.down_since = trio.current_time()
                delay = await self._reach(peer, target, delay)
                up_since = trio.current_time()
                await self._links.wait(peer, up=False)
                if trio.current_time() - up_since >= SETTLED:
                    delay = FIRST_DELAY
                with trio.move_on_after(delay * self._rng.uniform(0.2, 1.0)):  # two that lost each other don't collide
                    await self._links.wait(peer, up=True)

    async def _reach(self, peer: PeerId, target: _Target, delay: float) -> float:
        """Dial, round after round, until there is a connection, whoever made it. Returns the delay it had grown to."""
        reminded = trio.current_time()
        while peer not in self._links.peers:
            target.news = trio.Event()
            if await self._try_all(peer, target):
                break
            if trio.current_time() - reminded >= REMIND:
                reminded = trio.current_time()
                log.info(  # the node knows which of these the user named, and says so from `unreached`
                    "still trying to reach %s at %s: %s",
                    peer,
                    ", ".join(target.addresses) or "no address",
                    target.error,
                )
            with trio.move_on_after(delay * self._rng.uniform(0.7, 1.3)):
                await self._over_or_up(peer, target)
            delay = min(LAST_DELAY, delay * 2)
        return delay

    async def _try_all(self, peer: PeerId, target: _Target) -> bool:
        """Every address once, each in its own try, the next beside one that takes long. The first to work ends it."""
        reached = False

        async def attempt(address: str, over: trio.Event) -> None:
            nonlocal reached
            try:
                async with self._limit:
                    await self._connect(peer, address)
            except MeshError as error:
                self._counters["dials_failed"] += 1
                target.error = str(error)
            else:
                reached = True
                nursery.cancel_scope.cancel()
            over.set()

        async with trio.open_nursery() as nursery:
            for address in target.addresses:
                if peer in self._links.peers:  # it dialed us meanwhile
                    reached = True
                    nursery.cancel_scope.cancel()
                over = trio.Event()
                nursery.start_soon(attempt, address, over)
                with trio.move_on_after(STAGGER):
                    await over.wait()
        return reached

    async def _over_or_up(self, peer: PeerId, target: _Target) -> None:
        async with trio.open_nursery() as nursery:

            async def until(wait: Callable[[], Awaitable[None]]) -> None:
                await wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until, target.news.wait)
            nursery.start_soon(until, lambda: self._links.wait(peer, up=True))
