"""The real mesh: the `Mesh` protocol over a guarded libp2p host."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from meshinfer.errors import ConfigError, MeshError, MeshInferError, MessageTooBig, ProtocolError
from meshinfer.mesh.addresses import Address, advertised, parse_announce, parse_dial, parse_listen
from meshinfer.mesh.api import MAX_MESSAGE, TOPICS, Handler, Message, PeerChange, Stream, Topic, Unreached
from meshinfer.mesh.dialer import Dialer
from meshinfer.mesh.identity import Identity
from meshinfer.mesh.libp2p import gossip
from meshinfer.mesh.libp2p.causes import cause, why_not
from meshinfer.mesh.libp2p.guards import silence, supervised
from meshinfer.mesh.libp2p.host import build_host, build_swarm, close_swarm, hang_up, interfaces, listen_on
from meshinfer.mesh.libp2p.streams import OPEN_TIMEOUT, FramedStream
from meshinfer.mesh.libp2p.transport import CountingTCP
from meshinfer.mesh.limits import MAX_STREAMS_PER_PEER
from meshinfer.mesh.links import Links, ungrouped
from meshinfer.mesh.offences import OWN, RELAYED, KeptOut, Offences
from meshinfer.model.ids import PeerId

log = logging.getLogger("meshinfer.mesh")

DIAL_TIMEOUT = 10.0

INBOX = 4096
"""Announcements that wait for `messages()`; above it they are dropped and counted: they are hints."""

PUBLISH_PATIENCE = 2.0
"""Seconds that `publish` waits for the slowest neighbour before it goes on without it."""

SWEEP_INTERVAL = 10.0
CLOSE_PATIENCE = 1.0
"""Seconds for each step of closing; all of them together stay below five."""

MAX_RAW_STREAMS = 64
"""Inbound streams of any kind that one peer may have open: ours, meshsub, and those that still negotiate."""


class Libp2pMesh:
    """See `meshinfer.mesh.api.Mesh`. Made by `open_mesh`."""

    def __init__(self, identity: Identity, mesh: str, swarm_key: bytes | None) -> None:
        self._identity = identity
        self._mesh = mesh
        self._counters: Counter[str] = Counter()
        self._links = Links(self._counters)
        self._dialer = Dialer(self._dial, self._links, self._counters)
        self._inbox, self._messages = trio.open_memory_channel[Message](INBOX)
        self._topics: dict[str, Topic] = {f"/meshinfer/{mesh}/{topic}/1": topic for topic in TOPICS}
        self._streams: Counter[PeerId] = Counter()
        self._raw_streams: Counter[ID] = Counter()
        self._asking: Counter[PeerId] = Counter()
        self._offences = Offences()
        self._addresses: tuple[str, ...] = ()

        self._tcp = CountingTCP(self._counters, self._blame)
        self._swarm = build_swarm(identity.seed, self._tcp, swarm_key, self._counters)
        self._host = build_host(self._swarm)
        self._swarm.register_notifee(self)
        self._swarm.set_stream_handler(self._accept)
        self._gossip = gossip.GuardedPubsub(
            self._host,
            gossip.QuietGossipSub(),
            frozenset(self._topics),
            self._deliver,
            self._rebuild,
            self._blame,
            self._is_kept_out,
            self._counters,
        )

    # What the node sees: meshinfer.mesh.api.Mesh.

    @property
    def me(self) -> PeerId:
        return self._identity.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._addresses

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
        if len(data) > MAX_MESSAGE:
            raise MessageTooBig(f"an announcement of {len(data)} bytes on {topic}; the limit is {MAX_MESSAGE}")
        if not await gossip.wait_for_room(self._gossip, PUBLISH_PATIENCE):
            self._counters["publish_slow_peer"] += 1
        await self._gossip.publish(f"/meshinfer/{self._mesh}/{topic}/1", data)
        await trio.lowlevel.checkpoint()

    def serve(self, protocol: str, handler: Handler) -> None:
        async def handle(raw: Any) -> None:
            await self._serve(protocol, handler, raw)

        self._host.set_stream_handler(self._protocol(protocol), handle)

    @asynccontextmanager
    async def open(self, peer: PeerId, protocol: str) -> AsyncIterator[Stream]:
        await self._dialer.reach(peer)
        self._asking[peer] += 1
        try:
            stream = FramedStream(await self._open_raw(peer, protocol), peer)
            try:
                yield stream
            except BaseException as error:
                await stream.reset()
                if isinstance(error, ProtocolError):
                    self.blame(peer, f"{protocol}: {error}")
                raise
            await stream.close()
        finally:
            _release(self._asking, peer)
        self._nursery.start_soon(stream.linger)

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
        for text in addresses:
            try:
                peer, address = parse_dial(text)
            except ConfigError:
                self._counters["addresses_refused"] += 1
            else:
                found.setdefault(peer, []).append(address)
        return {peer: tuple(there) for peer, there in found.items() if peer != self.me}

    def forget(self, peer: PeerId) -> None:
        self._dialer.forget(peer)

    async def hang_up(self, peer: PeerId) -> None:
        self.forget(peer)
        with trio.move_on_after(CLOSE_PATIENCE):
            await self._disconnect(ID.from_string(peer))

    def busy(self, peer: PeerId) -> bool:
        return peer in self._asking or peer in self._streams

    def blame(self, peer: PeerId, why: str, weight: float = OWN) -> None:
        self._counters["offences"] += 1
        if self._offences.note(peer, why, trio.current_time(), weight):
            self._counters["peers_kept_out"] += 1
            log.warning("peer %s is kept out for %.0f s: %s", peer, self._offences.left(peer, trio.current_time()), why)
            for connection in self._swarm.get_connections(ID.from_string(peer)):
                connection.muxed_conn.socket.cut()  # an offender is not waited for

    def kept_out(self) -> Mapping[PeerId, KeptOut]:
        return self._offences.kept_out(trio.current_time())

    def _blame(self, peer: ID, why: str, weight: float) -> None:
        self.blame(PeerId(str(peer)), why, weight)

    def _is_kept_out(self, peer: ID) -> bool:
        return self._offences.left(PeerId(str(peer)), trio.current_time()) > 0

    def unreached(self) -> dict[PeerId, Unreached]:
        return self._dialer.unreached()

    # Running and closing.

    @asynccontextmanager
    async def run(self, listen: list[Address], announce: list[Address]) -> AsyncIterator[None]:
        """Services first, the host last: a peer that opens a meshsub stream before pubsub runs would be lost."""
        async with AsyncExitStack() as stack:
            for service in (self._gossip, self._gossip.router, self._swarm):
                await stack.enter_async_context(supervised(service, self._counters, CLOSE_PATIENCE))
            stack.push_async_callback(self._close)
            await self._gossip.wait_until_ready()
            for topic in self._topics:
                await self._gossip.subscribe(topic)
            listening = advertised(await listen_on(self._swarm, listen), interfaces(), self.me)
            self._addresses = tuple(str(a._replace(peer=self.me)) for a in announce) or listening
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await nursery.start(self._dialer.run)
                nursery.start_soon(self._keep_house)
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()

    async def _close(self) -> None:
        self._inbox.close()
        self._gossip.seen_messages.stop()  # a thread of its own, which nothing else ends
        await close_swarm(self._swarm, self._tcp, CLOSE_PATIENCE)

    async def _keep_house(self) -> None:
        while True:
            await trio.sleep(SWEEP_INTERVAL)
            self._gossip.sweep()
            store = self._swarm.peerstore
            for peer in store.peer_ids():
                if peer not in self._swarm.connections and peer != self._host.get_id():
                    store.clear_peerdata(peer)

    # Connections.

    async def _dial(self, peer: PeerId, address: str) -> None:
        """One address, one try, without the cache that blocks a failed peer for a minute."""
        if offender := self.kept_out().get(peer):
            raise MeshError(f"kept out for {offender.seconds:.0f} s more: {offender.why}")
        try:
            with trio.fail_after(DIAL_TIMEOUT):
                await self._swarm.dial_addr(Multiaddr(address), ID.from_string(peer))
        except trio.TooSlowError as error:
            raise MeshError(f"no answer from {address} within {DIAL_TIMEOUT:g} s") from error
        except Exception as error:
            raise MeshError(f"cannot reach {address}: {why_not(error)}") from error

    async def _rebuild(self, peer: ID) -> None:
        """Gossip with `peer` broke though it is connected: only a new connection brings its subscriptions again."""
        self._counters["gossip_rebuilt"] += 1
        await self._disconnect(peer)

    async def _disconnect(self, peer: ID) -> None:
        for connection in self._swarm.get_connections(peer):
            await hang_up(connection)

    # libp2p's notifee interface. Pubsub registers its own beside this one.

    async def connected(self, network: Any, connection: Any) -> None:
        if self._is_kept_out(connection.muxed_conn.peer_id):
            self._counters["inbound_kept_out"] += 1
            connection.muxed_conn.socket.cut()
            return
        self._links.add(_name(connection), connection)

    async def disconnected(self, network: Any, connection: Any) -> None:
        peer = connection.muxed_conn.peer_id
        self._links.remove(_name(connection), connection)
        stream = self._gossip.peers.get(peer)
        if stream is not None and stream.muxed_conn is connection.muxed_conn and self._swarm.get_connections(peer):
            self._swarm.manager.run_task(self._rebuild, peer)

    async def opened_stream(self, network: Any, stream: Any) -> None: ...

    async def closed_stream(self, network: Any, stream: Any) -> None: ...

    async def listen(self, network: Any, multiaddr: Any) -> None: ...

    async def listen_close(self, network: Any, multiaddr: Any) -> None: ...

    # Streams and messages.

    def _protocol(self, protocol: str) -> TProtocol:
        return TProtocol(f"/meshinfer/{self._mesh}/{protocol}/1")

    async def _open_raw(self, peer: PeerId, protocol: str) -> Any:
        try:
            with trio.fail_after(OPEN_TIMEOUT):
                return await self._host.new_stream(ID.from_string(peer), [self._protocol(protocol)])
        except trio.TooSlowError as error:
            raise MeshError(f"{peer} did not accept a {protocol} stream within {OPEN_TIMEOUT:g} s") from error
        except Exception as error:
            raise MeshError(f"cannot open a {protocol} stream to {peer}: {cause(error)}") from error

    async def _accept(self, raw: Any) -> None:
        """Every inbound stream, from its negotiation on. An exception that left here would end the host."""
        peer = raw.muxed_conn.peer_id
        if self._raw_streams[peer] >= MAX_RAW_STREAMS:
            self._counters["streams_refused"] += 1
            self._blame(peer, "more streams than a peer may open", RELAYED)
            await raw.reset()
            return
        self._raw_streams[peer] += 1
        try:
            await self._host._swarm_stream_handler(raw)
        except* Exception:  # noqa: BLE001 - the peer decides what is raised in there
            self._counters["streams_broken"] += 1
            if not raw.muxed_conn.is_closed:
                self._blame(peer, "a stream that broke off while it was negotiated", RELAYED)
            with trio.move_on_after(CLOSE_PATIENCE):
                await raw.reset()
        finally:
            _release(self._raw_streams, peer)

    async def _serve(self, protocol: str, handler: Handler, raw: Any) -> None:
        peer = PeerId(str(raw.muxed_conn.peer_id))
        stream = FramedStream(raw, peer)
        if self._streams[peer] >= MAX_STREAMS_PER_PEER:
            self._counters["streams_refused"] += 1
            self.blame(peer, "more streams than a peer may open", RELAYED)
            await stream.reset()
            return
        self._streams[peer] += 1
        done = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, raw.muxed_conn.event_closed, nursery.cancel_scope)
                await handler(stream)
                done = True
                nursery.cancel_scope.cancel()
        except* MeshInferError as group:  # the peer broke the rules or went away
            self._counters[f"serve_{protocol}_failed"] += 1
            if wrong := group.subgroup(ProtocolError):
                self.blame(peer, f"{protocol}: {wrong.exceptions[0]}")
        except* Exception:
            self._counters[f"serve_{protocol}_crashed"] += 1
            log.exception("the handler of %s streams failed on one from %s", protocol, peer)
        finally:
            if done:
                await stream.close()
                await stream.linger()
            else:
                await stream.reset()
            _release(self._streams, peer)

    def _deliver(self, topic: str, origin: bytes, data: bytes) -> None:
        try:
            self._inbox.send_nowait(Message(self._topics[topic], PeerId(str(ID(origin))), data))
        except trio.WouldBlock:
            self._counters["inbox_full"] += 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # closing, or nobody listens to messages any more


@asynccontextmanager
async def open_mesh(
    identity: Identity,
    *,
    listen: tuple[str, ...],
    announce: tuple[str, ...] = (),
    mesh: str,
    bootstrap: tuple[str, ...] = (),
    swarm_key: bytes | None = None,
) -> AsyncIterator[Libp2pMesh]:
    """Join the mesh called `mesh`.

    `listen`: multiaddrs of this machine; none at all for a peer that only dials. `announce`: what others are told to
    dial, where that differs. `bootstrap`: full multiaddrs of peers to keep connected to. `swarm_key`: 32 bytes, without
    which nobody connects (py-libp2p's cipher differs: other libp2p implementations cannot join such a mesh). Raises
    `ConfigError` for an address that is wrong, `MeshError` where it cannot listen.
    """
    silence()
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", mesh):
        raise ConfigError(f"bad mesh name {mesh[:80]!r}: letters, digits, dots, dashes and underscores, at most 64")
    where = list(dict.fromkeys(parse_listen(text) for text in listen))
    told = list(dict.fromkeys(parse_announce(text) for text in announce))
    known = tuple(parse_dial(text)[1] for text in bootstrap)
    network = Libp2pMesh(identity, mesh, swarm_key)
    with ungrouped():
        async with network.run(where, told):
            network.know(known)
            yield network


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _release(counter: Counter[Any], key: Any) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


def _name(connection: Any) -> PeerId:
    return PeerId(str(connection.muxed_conn.peer_id))
