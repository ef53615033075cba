"""LIBP2P rows on connections: security, inbound slots, listen, PSK, frozen peers, addresses, dial, shutdown."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.secio import transport as secio
from multiaddr import Multiaddr

from meshinfer.errors import ConfigError, MeshError
from meshinfer.mesh.api import PeerChange, Stream
from meshinfer.mesh.identity import ephemeral
from meshinfer.mesh.libp2p import host, open_mesh
from meshinfer.mesh.libp2p.muxer import WatchedYamux
from meshinfer.model.ids import PeerId
from tests.mesh.support import ANY_PORT, gossips, identity, join_libp2p, listen_at, until

KEYS = create_new_key_pair()


@pytest.mark.parametrize(
    "security",
    [
        {TProtocol(PLAINTEXT_PROTOCOL_ID): InsecureTransport(KEYS)},
        {TProtocol(secio.ID): secio.Transport(KEYS)},
    ],
    ids=["plaintext", "secio"],
)
async def test_who_does_not_speak_noise_is_refused(security: dict[TProtocol, Any]) -> None:
    stranger = new_host(key_pair=KEYS, sec_opt=security)
    async with join_libp2p("alice") as alice, stranger.run(listen_addrs=[]):
        with trio.fail_after(10), pytest.raises(Exception, match="unable to connect"):
            await stranger.connect(info_from_p2p_addr(Multiaddr(alice.addresses[0])))
        assert alice.peers == frozenset()
        assert alice.counters["inbound_refused"] >= 1
        await stranger.close()


async def test_somebody_else_under_a_known_address_is_refused() -> None:
    async with join_libp2p("alice") as alice, join_libp2p("mallory") as mallory:
        alice.know((f"{listen_at(mallory.addresses[0])}/p2p/{identity('bob').peer_id}",))
        await until(lambda: alice.counters.get("dials_failed"))
        assert alice.peers == frozenset()
        assert "cannot reach" in alice.unreached()[identity("bob").peer_id].error


async def test_a_mesh_with_a_key_takes_nobody_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "UPGRADE_TIMEOUT", 1.0)  # each side waits for the other to make sense
    key, other = bytes(range(32)), bytes(32)
    async with (
        join_libp2p("alice", swarm_key=key) as alice,
        join_libp2p("bob", swarm_key=key, bootstrap=alice.addresses) as bob,
        join_libp2p("no key", bootstrap=alice.addresses) as without,
        join_libp2p("wrong key", swarm_key=other, bootstrap=alice.addresses) as wrong,
    ):
        await gossips(bob, alice)
        await until(lambda: without.counters.get("dials_failed") and wrong.counters.get("dials_failed"), 12)
        assert alice.peers == {bob.me}
        assert without.peers == wrong.peers == frozenset()


async def test_inbound_connections_one_after_another_never_run_out() -> None:
    """0.8.1 keeps a slot of every inbound connection there ever was, and refuses all from the 251st on."""
    async with join_libp2p("alice") as alice, join_libp2p("bob") as bob:
        (address,) = alice.addresses
        with trio.fail_after(40):
            for _ in range(310):
                await bob._dial(alice.me, address)
                for tcp in list(bob._tcp.sockets):
                    tcp.cut()
        await until(lambda: alice._swarm._inbound_limiter.borrowed_tokens == 0)
        await until(lambda: alice.peers == frozenset())
        assert "inbound_refused" not in alice.counters
        assert not alice._tcp.sockets


@pytest.mark.parametrize(
    ("listen", "cause"),
    [
        ("/ip4/203.0.113.7/tcp/0", "this machine has no such address"),
        ("/ip4/127.0.0.1/tcp/{used}", "it is already in use"),
    ],
)
async def test_a_failure_to_listen_says_where_why_and_what_to_do(listen: str, cause: str) -> None:
    """With SO_REUSEPORT, which libp2p sets, a second node would share the port of the first in silence."""
    async with join_libp2p("alice") as alice:
        used = alice.addresses[0].split("/")[4]
        where = listen.format(used=used)
        with pytest.raises(MeshError) as raised:
            async with open_mesh(ephemeral(), listen=(where,), mesh="test"):
                pass
        assert str(raised.value).startswith(f"cannot listen on {where}: {cause}; ")
        assert "--listen" in str(raised.value)


async def test_a_port_that_is_taken_between_the_probe_and_the_bind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_try_to_bind", lambda address: None)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(MeshError, match="already in use"):
            async with open_mesh(ephemeral(), listen=(f"/ip4/127.0.0.1/tcp/{other.getsockname()[1]}",), mesh="test"):
                pass


@pytest.mark.parametrize("bootstrap", ["nonsense", "/ip4/127.0.0.1/tcp/4001", "/ip4/1.2.3.4/udp/1/quic-v1"])
async def test_a_bad_bootstrap_address_is_the_users_mistake(bootstrap: str) -> None:
    with pytest.raises(ConfigError, match=bootstrap):
        async with open_mesh(ephemeral(), listen=ANY_PORT, mesh="test", bootstrap=(bootstrap,)):
            pass


async def test_a_wildcard_is_advertised_as_the_interfaces_it_means_loopback_first() -> None:
    async with open_mesh(ephemeral(), listen=("/ip4/0.0.0.0/tcp/0",), mesh="test") as alice:
        assert alice.addresses[0].startswith("/ip4/127.0.0.1/tcp/")
        assert not any("0.0.0.0" in address for address in alice.addresses)
        async with join_libp2p("bob", bootstrap=alice.addresses) as bob:
            await until(lambda: bob.peers == {alice.me})


async def test_what_is_announced_takes_the_place_of_where_it_listens() -> None:
    announce = ("/dns4/yard.example/tcp/4001", "/ip4/10.0.0.5/tcp/4002")
    async with open_mesh(identity("alice"), listen=ANY_PORT, announce=announce, mesh="test") as alice:
        assert alice.addresses == tuple(f"{address}/p2p/{alice.me}" for address in announce)


async def test_ipv6_is_listened_on_and_dialed() -> None:
    async with (
        open_mesh(ephemeral(), listen=("/ip6/::1/tcp/0",), mesh="test") as alice,
        join_libp2p("bob", bootstrap=alice.addresses) as bob,
    ):
        await until(lambda: bob.peers == {alice.me})
        await gossips(bob, alice)


async def test_every_address_of_a_peer_is_tried() -> None:
    """libp2p dials one per transport class, and a failed peer not again for a minute."""
    async with join_libp2p("alice") as alice, join_libp2p("bob") as bob:
        dead = f"/ip4/127.0.0.1/tcp/1/p2p/{alice.me}"
        bob.know((dead, alice.addresses[0]))
        await until(lambda: bob.peers == {alice.me}, 2)
        assert bob.counters["dials_failed"] == 1


async def test_news_of_an_address_ends_the_wait_for_the_old_one() -> None:
    async with join_libp2p("alice") as alice, join_libp2p("bob") as bob:
        bob.know((f"/ip4/127.0.0.1/tcp/1/p2p/{alice.me}",))
        await until(lambda: bob.counters.get("dials_failed", 0) >= 2)
        bob.know(alice.addresses)
        await until(lambda: bob.peers == {alice.me}, 0.5)


async def test_a_mesh_without_a_listen_address_dials_only() -> None:
    async with (
        join_libp2p("alice") as alice,
        open_mesh(ephemeral(), listen=(), mesh="test", bootstrap=alice.addresses) as guest,
    ):
        assert guest.addresses == ()
        await until(lambda: alice.peers == {guest.me})
        await gossips(guest, alice)


async def test_bytes_are_those_on_the_wire() -> None:
    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        await until(lambda: bob.peers)

        async def takes(stream: Stream) -> None:
            while await stream.receive() is not None:
                pass

        alice.serve("takes", takes)
        async with bob.open(alice.me, "takes") as stream:
            for _ in range(10):
                await stream.send(bytes(100_000))
        await until(lambda: alice.counters["bytes_in"] > 1_000_000)
        assert 1_000_000 < bob.counters["bytes_out"] < 1_050_000


async def test_a_stall_of_our_own_loop_drops_nobody() -> None:
    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        await gossips(bob, alice)
        async with alice.changes() as changes:
            time.sleep(2.5)  # the loop of both, blocked
            await gossips(bob, alice)
            with pytest.raises(trio.WouldBlock):
                changes.receive_nowait()
        connection = alice._swarm.get_connections(bob._host.get_id())[0]
        assert isinstance(connection.muxed_conn, WatchedYamux)


PEER = """
import trio
from meshinfer.mesh.identity import ephemeral
from meshinfer.mesh.libp2p import open_mesh

async def main():
    async def waits(stream):
        await stream.send(b"in")
        await trio.sleep_forever()

    async with open_mesh(ephemeral(), listen=("/ip4/127.0.0.1/tcp/0",), mesh="test") as mesh:
        mesh.serve("waits", waits)
        print(mesh.addresses[0], flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@asynccontextmanager
async def other_process() -> AsyncIterator[tuple[str, trio.Process]]:
    """A peer of its own, at its address: what is frozen must not be the test."""
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-c", PEER],
                stdout=subprocess.PIPE,
                check=False,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )
        try:
            assert process.stdout is not None
            with trio.fail_after(30):
                line = b""
                while not line.endswith(b"\n"):
                    line += await process.stdout.receive_some()
            yield line.decode().strip(), process
        finally:
            process.kill()


async def test_a_frozen_peer_is_noticed_and_comes_back() -> None:
    """The kernel of a stopped process goes on acknowledging: TCP alone notices nothing for hours."""
    async with other_process() as (address, process), join_libp2p("alice", bootstrap=(address,)) as alice:
        peer = PeerId(address.rsplit("/", 1)[1])
        async with alice.changes() as changes:
            if not alice.peers:
                assert await changes.receive() == PeerChange(peer, up=True)
            process.send_signal(signal.SIGSTOP)
            start = trio.current_time()
            with trio.fail_after(10):
                assert await changes.receive() == PeerChange(peer, up=False)
            assert 3 < trio.current_time() - start < 8
            assert alice.counters["connections_cut_silent"] == 1
            process.send_signal(signal.SIGCONT)
            with trio.fail_after(15):
                assert await changes.receive() == PeerChange(peer, up=True)


async def test_closing_beside_a_frozen_peer_is_quick_even_with_the_wire_full() -> None:
    async with other_process() as (address, process):
        peer = PeerId(address.rsplit("/", 1)[1])
        async with join_libp2p("alice", bootstrap=(address,)) as alice:
            await until(lambda: alice.peers)

            async def fill(yamux: WatchedYamux) -> None:
                """Until the kernel takes no more: from then on every write waits, a good-bye's too."""
                while True:
                    await yamux._write_frame(struct.pack("!BBHII", 0, 2, 2, 0, 0) * 5000)

            process.send_signal(signal.SIGSTOP)
            alice._swarm.manager.run_task(fill, alice._swarm.get_connections(ID.from_string(peer))[0].muxed_conn)
            sent = -1
            while sent != alice.counters["bytes_out"]:
                sent = alice.counters["bytes_out"]
                await trio.sleep(0.2)
            assert alice.peers == {peer}  # not noticed yet
            sockets = list(alice._tcp.sockets)
            start = trio.current_time()
        assert trio.current_time() - start < 5
        assert sockets
        assert all(tcp.stream.socket.fileno() == -1 for tcp in sockets)


async def test_an_address_that_never_answers_delays_the_next_by_a_moment() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # accepts, and says nothing
        async with join_libp2p("alice") as alice, join_libp2p("bob") as bob:
            bob.know((f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/{alice.me}", alice.addresses[0]))
            await until(lambda: bob.peers == {alice.me}, 2)


@pytest.mark.parametrize("name", ["", "a/b", "ü", "x" * 65])
async def test_a_mesh_name_that_would_not_fit_a_protocol_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="bad mesh name"):
        async with open_mesh(ephemeral(), listen=ANY_PORT, mesh=name):
            pass


async def test_meshes_of_different_names_share_connections_but_nothing_else() -> None:
    async with (
        open_mesh(ephemeral(), listen=ANY_PORT, mesh="one") as alice,
        open_mesh(ephemeral(), listen=ANY_PORT, mesh="two", bootstrap=alice.addresses) as bob,
    ):
        await until(lambda: bob.peers)
        with pytest.raises(MeshError, match="sync"):
            async with bob.open(alice.me, "sync"):
                pass
        assert alice._gossip.peer_topics == bob._gossip.peer_topics == {}
