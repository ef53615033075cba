"""A mesh without sockets, for tests: links can be cut and healed, gossip can be lost, and time may be virtual.

The same protocol, limits and dialer as the real one. Nothing here reads a clock but trio's, so it runs under the
autojump clock, and it is deterministic by seed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from meshinfer.errors import MeshError, MeshInferError, MessageTooBig, ProtocolError
from meshinfer.mesh.api import (
    MAX_MESSAGE,
    TOPICS,
    Handler,
    Message,
    PeerChange,
    Stream,
    Topic,
    Unreached,
)
from meshinfer.mesh.dialer import Dialer
from meshinfer.mesh.identity import Identity
from meshinfer.mesh.limits import MAX_STREAMS_PER_PEER
from meshinfer.mesh.links import Links, ungrouped
from meshinfer.mesh.memory_stream import MemoryStream
from meshinfer.mesh.offences import OWN, KeptOut, Offences
from meshinfer.model.ids import PeerId

INBOX = 4096


class MemoryNetwork:
    """What the peers of one test share. `latency` is seconds per hop; `drop_gossip` loses every announcement; in a
    network that `forgives`, offences are counted and nobody is kept out."""

    def __init__(self, *, latency: float = 0.001, seed: int = 0, drop_gossip: bool = False) -> None:
        self.latency = latency
        self.drop_gossip = drop_gossip
        self.forgives = False
        self._rng = random.Random(seed)  # noqa: S311 - a test's dice
        self._meshes: dict[PeerId, MemoryMesh] = {}
        self._cut: set[frozenset[PeerId]] = set()

    @asynccontextmanager
    async def mesh(
        self,
        peer: Identity | PeerId,
        *,
        listen: tuple[str, ...] = (),
        bootstrap: tuple[str, ...] = (),
    ) -> AsyncIterator[MemoryMesh]:
        """Join. `listen` are names (`alice` becomes /memory/alice/p2p/<peer>): without one, nobody dials this peer."""
        me = peer.peer_id if isinstance(peer, Identity) else peer
        if me in self._meshes:
            raise MeshError(f"{me} is in this network already")
        mesh = MemoryMesh(self, me, listen, random.Random(self._rng.random()))  # noqa: S311  # a test mesh is the same every time
        for name in mesh.names:
            if any(name in other.names for other in self._meshes.values()):
                raise MeshError(f"cannot listen on /memory/{name}: it is already in use; choose another with --listen")
        with ungrouped():
            async with trio.open_nursery() as nursery:
                self._meshes[me] = mesh
                try:
                    await mesh.start(nursery)
                    mesh.know(bootstrap)
                    yield mesh
                finally:
                    del self._meshes[me]
                    mesh.close()
                    nursery.cancel_scope.cancel()

    def cut(self, a: PeerId, b: PeerId) -> None:
        """Break the connection and every stream between two peers, and let none through until `heal`."""
        self._cut.add(frozenset((a, b)))
        for here, there in ((a, b), (b, a)):
            if here in self._meshes:
                self._meshes[here].lose(there)

    def heal(self, a: PeerId, b: PeerId) -> None:
        self._cut.discard(frozenset((a, b)))

    def at(self, peer: PeerId) -> MemoryMesh | None:
        return self._meshes.get(peer)

    def dial(self, caller: MemoryMesh, peer: PeerId, address: str) -> MemoryMesh:
        """The mesh of `peer` at `address`, or `MeshError`."""
        other = self._meshes.get(peer)
        if other is None or address not in other.addresses:
            raise MeshError(f"cannot reach {address}: nobody listens there")
        if frozenset((caller.me, peer)) in self._cut:
            raise MeshError(f"cannot reach {address}: the link is cut")
        if caller.me in other.kept_out():
            raise MeshError(f"cannot reach {address}: it hangs up")
        return other


class MemoryMesh:
    """See `meshinfer.mesh.api.Mesh`. Made by `MemoryNetwork.mesh`."""

    def __init__(self, network: MemoryNetwork, me: PeerId, names: tuple[str, ...], rng: random.Random) -> None:
        self.names = names
        self._network = network
        self._me = me
        self._counters: Counter[str] = Counter()
        self._links = Links(self._counters)
        self._dialer = Dialer(self._dial, self._links, self._counters, rng)
        self._inbox, self._messages = trio.open_memory_channel[Message](INBOX)
        self._handlers: dict[str, Handler] = {}
        self._open: dict[PeerId, set[MemoryStream]] = {}
        self._serving: Counter[PeerId] = Counter()
        self._offences = Offences()
        self._seen: dict[tuple[PeerId, int], None] = {}
        self._sequence = 0
        self._nursery: trio.Nursery | None = None

    @property
    def me(self) -> PeerId:
        return self._me

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(f"/memory/{name}/p2p/{self._me}" for name in self.names)

    @property
    def peers(self) -> frozenset[PeerId]:
        return self._links.peers

    @property
    def counters(self) -> dict[str, int]:
        return dict(self._counters)

    def changes(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[PeerChange]]:
        return self._links.changes()

    def messages(self) -> AsyncIterator[Message]:
        return self._messages.__aiter__()

    async def publish(self, topic: Topic, data: bytes) -> None:
        if topic not in TOPICS:
            raise MeshError(f"no topic {topic!r}")
        if len(data) > MAX_MESSAGE:
            raise MessageTooBig(f"an announcement of {len(data)} bytes on {topic}; the limit is {MAX_MESSAGE}")
        self._sequence += 1
        self._flood(Message(topic, self._me, data), self._sequence, self._me)
        await trio.lowlevel.checkpoint()

    def serve(self, protocol: str, handler: Handler) -> None:
        self._handlers[protocol] = handler

    @asynccontextmanager
    async def open(self, peer: PeerId, protocol: str) -> AsyncIterator[Stream]:
        await self._dialer.reach(peer)
        other = self._network.at(peer)
        if other is None:
            raise MeshError(f"not connected to {peer}")
        await trio.sleep(2 * self._network.latency)
        stream = other.accept(self, protocol)
        try:
            yield stream
        except BaseException as error:
            stream.reset()
            if isinstance(error, ProtocolError):
                self.blame(peer, f"{protocol}: {error}")
            raise
        await stream.close()

    def know(self, addresses: tuple[str, ...]) -> None:
        for peer, there in self._parsed(addresses).items():
            self._dialer.know(peer, there)

    def introduce(self, addresses: tuple[str, ...]) -> None:
        for peer, there in self._parsed(addresses).items():
            self._dialer.introduce(peer, there)

    async def reach(self, peer: PeerId) -> None:
        await self._dialer.reach(peer)

    def _parsed(self, addresses: tuple[str, ...]) -> dict[PeerId, tuple[str, ...]]:
        found: dict[PeerId, list[str]] = {}
        for address in addresses:
            match address.split("/"):
                case ["", "memory", _, "p2p", peer]:
                    found.setdefault(PeerId(peer), []).append(address)
                case _:
                    self._counters["addresses_refused"] += 1
        return {peer: tuple(there) for peer, there in found.items() if peer != self._me}

    def forget(self, peer: PeerId) -> None:
        self._dialer.forget(peer)

    async def hang_up(self, peer: PeerId) -> None:
        self.forget(peer)
        self._cut_off(peer)
        await trio.lowlevel.checkpoint()

    def busy(self, peer: PeerId) -> bool:
        return bool(self._open.get(peer))

    def blame(self, peer: PeerId, why: str, weight: float = OWN) -> None:
        self._counters["offences"] += 1
        if self._offences.note(peer, why, trio.current_time(), weight) and not self._network.forgives:
            self._counters["peers_kept_out"] += 1
            self._cut_off(peer)

    def kept_out(self) -> Mapping[PeerId, KeptOut]:
        return {} if self._network.forgives else self._offences.kept_out(trio.current_time())

    def unreached(self) -> dict[PeerId, Unreached]:
        return self._dialer.unreached()

    # What the network and the other meshes call.

    async def start(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        await nursery.start(self._dialer.run)

    def close(self) -> None:
        for peer in self._links.peers:
            self._cut_off(peer)
        self._inbox.close()

    def _cut_off(self, peer: PeerId) -> None:
        self.lose(peer)
        if (other := self._network.at(peer)) is not None:
            other.lose(self._me)

    def link(self, peer: PeerId) -> None:
        self._links.add(peer, peer)

    def lose(self, peer: PeerId) -> None:
        for stream in self._open.pop(peer, set()):
            stream.reset()
            stream.scope.cancel()  # of its handler, where this end has one
        self._links.remove(peer, peer)

    def accept(self, caller: MemoryMesh, protocol: str) -> MemoryStream:
        """The caller's end of a new stream; this peer's end goes to its handler."""
        if caller.me not in self._links.peers or self._nursery is None:
            raise MeshError(f"not connected to {self._me}")
        handler = self._handlers.get(protocol)
        if handler is None:
            raise MeshError(f"cannot open a {protocol} stream to {self._me}: it doesn't serve that")
        if self._serving[caller.me] >= MAX_STREAMS_PER_PEER:
            self._counters["streams_refused"] += 1
            raise MeshError(f"cannot open a {protocol} stream to {self._me}: refused")
        theirs, ours = self._stream_to(caller.me), caller._stream_to(self._me)
        theirs.other, ours.other = ours, theirs
        self._nursery.start_soon(self._serve, protocol, handler, theirs)
        return ours

    def hear(self, message: Message, sequence: int, forwarder: PeerId) -> None:
        if (message.origin, sequence) in self._seen:
            return
        if message.origin in self.kept_out():
            self._counters["gossip_dropped_kept_out"] += 1
            return
        try:
            self._inbox.send_nowait(message)
        except trio.WouldBlock:
            self._counters["inbox_full"] += 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        self._counters["bytes_in"] += len(message.data)
        self._flood(message, sequence, forwarder)

    # Within.

    def _flood(self, message: Message, sequence: int, forwarder: PeerId) -> None:
        self._seen[message.origin, sequence] = None
        while len(self._seen) > INBOX:
            del self._seen[next(iter(self._seen))]
        for peer in sorted(self._links.peers - {forwarder, message.origin}):  # a set's order differs from run to run
            if self._nursery is not None and not self._network.drop_gossip:
                self._nursery.start_soon(self._tell, peer, message, sequence)

    async def _tell(self, peer: PeerId, message: Message, sequence: int) -> None:
        await trio.sleep(self._network.latency)
        other = self._network.at(peer)
        if other is not None and peer in self._links.peers:
            self._counters["bytes_out"] += len(message.data)
            other.hear(message, sequence, self._me)

    async def _dial(self, peer: PeerId, address: str) -> None:
        if offender := self.kept_out().get(peer):
            raise MeshError(f"kept out for {offender.seconds:.0f} s more: {offender.why}")
        await trio.sleep(self._network.latency)
        other = self._network.dial(self, peer, address)
        other.link(self._me)
        self.link(peer)

    def _stream_to(self, peer: PeerId) -> MemoryStream:
        stream = MemoryStream(peer, self._network.latency, self._counters)
        self._open.setdefault(peer, set()).add(stream)
        stream.on_close = lambda: self._open.get(peer, set()).discard(stream)
        return stream

    async def _serve(self, protocol: str, handler: Handler, stream: MemoryStream) -> None:
        self._serving[stream.peer] += 1
        done = False
        try:
            with stream.scope:
                await handler(stream)
                done = True
        except* MeshInferError as group:
            self._counters[f"serve_{protocol}_failed"] += 1
            if wrong := group.subgroup(ProtocolError):
                self.blame(stream.peer, f"{protocol}: {wrong.exceptions[0]}")
        except* Exception:  # noqa: BLE001 - the contract: what a handler raises is counted, not spread
            self._counters[f"serve_{protocol}_crashed"] += 1
        finally:
            self._serving[stream.peer] -= 1
            if done:
                await stream.close()
            else:
                stream.reset()
