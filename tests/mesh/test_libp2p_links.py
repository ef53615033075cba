"""Links that die without a word, one way or both, and neighbours that stop taking what they are sent."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from meshinfer.mesh.api import MAX_MESSAGE, PeerChange
from meshinfer.mesh.libp2p import Libp2pMesh
from meshinfer.mesh.libp2p.gossip import OUTBOUND_QUEUE
from meshinfer.mesh.libp2p.transport import DEAD_AFTER
from meshinfer.model.ids import PeerId
from tests.mesh.support import gossips, join_libp2p, until
from tests.mesh.test_libp2p_connections import other_process


class Wire:
    """A TCP proxy between two peers. What goes in a direction that is cut vanishes; both ends stay open."""

    def __init__(self, nursery: trio.Nursery, listener: trio.SocketListener, port: int) -> None:
        self.cut_there = self.cut_back = False
        self._port = port
        self.port: int = listener.socket.getsockname()[1]
        self.opened = 0
        nursery.start_soon(trio.serve_listeners, self._carry, [listener])

    async def _carry(self, here: trio.SocketStream) -> None:
        self.opened += 1
        async with here, await trio.open_tcp_stream("127.0.0.1", self._port) as there, trio.open_nursery() as nursery:

            async def pump(source: trio.SocketStream, sink: trio.SocketStream, back: bool) -> None:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    while data := await source.receive_some(65536):
                        if not (self.cut_back if back else self.cut_there):
                            await sink.send_all(data)
                if not (self.cut_back if back else self.cut_there):  # nor does a goodbye pass where nothing does
                    nursery.cancel_scope.cancel()

            nursery.start_soon(pump, here, there, False)
            nursery.start_soon(pump, there, here, True)


@asynccontextmanager
async def wired() -> AsyncIterator[tuple[Wire, Libp2pMesh, Libp2pMesh]]:
    """bob dials alice over the wire."""
    async with join_libp2p("alice") as alice, join_libp2p("bob") as bob, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        wire = Wire(nursery, listener, int(alice.addresses[0].split("/")[4]))
        bob.know((f"/ip4/127.0.0.1/tcp/{wire.port}/p2p/{alice.me}",))
        await gossips(bob, alice)
        yield wire, alice, bob
        nursery.cancel_scope.cancel()


async def test_a_link_that_works_one_way_only_is_noticed_at_both_ends_and_dialed_again() -> None:
    for direction in ("cut_there", "cut_back"):
        async with wired() as (wire, alice, bob), alice.changes() as at_alice, bob.changes() as at_bob:
            setattr(wire, direction, True)
            with trio.fail_after(30):
                assert await at_alice.receive() == PeerChange(bob.me, up=False)
                assert await at_bob.receive() == PeerChange(alice.me, up=False)
            assert alice.counters.get("connections_cut_silent", 0) + bob.counters.get("connections_cut_silent", 0) >= 1
            setattr(wire, direction, False)
            with trio.fail_after(60):
                assert await at_alice.receive() == PeerChange(bob.me, up=True)
                assert await at_bob.receive() == PeerChange(alice.me, up=True)
            await gossips(alice, bob, seconds=30)
            assert wire.opened >= 2


async def test_a_link_that_swallows_everything_is_noticed_at_both_ends() -> None:
    """A cable that is pulled: neither end gets as much as a FIN."""
    async with wired() as (wire, alice, bob), alice.changes() as at_alice, bob.changes() as at_bob:
        wire.cut_there = wire.cut_back = True
        with trio.fail_after(30):
            assert await at_alice.receive() == PeerChange(bob.me, up=False)
            assert await at_bob.receive() == PeerChange(alice.me, up=False)
        assert alice.counters["connections_cut_silent"] == bob.counters["connections_cut_silent"] == 1


async def test_the_kernel_watches_every_connection_too() -> None:
    """Ours sees silence by its ticks; the kernel's probes go on while our loop stalls or a write blocks."""
    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        await until(lambda: bob.peers and alice.peers)
        for mesh in (alice, bob):
            (tcp,) = mesh._tcp.sockets
            raw = tcp.stream.socket
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * DEAD_AFTER
                idle, every, probes = (
                    raw.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                )
                assert idle + every * probes == DEAD_AFTER


async def test_for_a_frozen_neighbour_only_so_much_is_kept_and_nobody_waits() -> None:
    """Its kernel takes what fits and acknowledges it: what comes after must wait here, or go."""
    async with other_process() as (address, process), join_libp2p("alice", bootstrap=(address,)) as alice:
        peer = PeerId(address.rsplit("/", 1)[1])
        async with join_libp2p("bob", bootstrap=alice.addresses) as bob:
            await gossips(alice, bob, topic="events")
            await until(lambda: all(len(mesh) == 2 for mesh in alice._gossip.router.mesh.values()), 15)
            process.send_signal(signal.SIGSTOP)
            heard: set[bytes] = set()
            sent: list[bytes] = []
            most = 0

            async def listen() -> None:
                async for message in bob.messages():
                    heard.add(message.data[:8])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                with trio.fail_after(60):
                    while peer in alice.peers:
                        sent.append(len(sent).to_bytes(8, "big"))
                        await alice.publish("events", sent[-1] + bytes(MAX_MESSAGE // 2))
                        most = max(most, alice._gossip.backlog())
                        await trio.sleep(0.02)  # fifty a second: what one origin may say
                await until(lambda: len(alice._gossip.peer_queues) == 1, 15)
                await until(lambda: heard >= set(sent), 30)
                nursery.cancel_scope.cancel()
            assert most <= OUTBOUND_QUEUE
            assert alice._gossip.backlog() < 10, "what it did not take is let go with it"
