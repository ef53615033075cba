"""A libp2p swarm and host with nothing on it that we don't want, how it listens, and how it ends.

LIBP2P rows: security, redial (no retries and no memory of libp2p's own), listen, QUIC (TCP alone), PSK, metrics (off),
shutdown.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from contextlib import suppress
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.host.defaults import get_default_protocols
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.address_validation import get_available_interfaces
from multiaddr import Multiaddr

from meshinfer.errors import MeshError
from meshinfer.mesh.addresses import Address, parse_address
from meshinfer.mesh.libp2p.guards import GuardedSwarm
from meshinfer.mesh.libp2p.muxer import WatchedYamux
from meshinfer.mesh.libp2p.transport import CountingTCP

UPGRADE_TIMEOUT = 5.0
"""Seconds for the handshakes: longer only holds a slot for somebody who says nothing."""

MAX_CONNECTIONS = 300


def build_swarm(seed: bytes, tcp: CountingTCP, swarm_key: bytes | None, counters: Counter[str]) -> GuardedSwarm:
    """Noise, yamux and TCP alone: libp2p's defaults also accept SECIO and PLAINTEXT, and so any claimed identity."""
    keys = create_new_key_pair(seed)
    peer = ID.from_pubkey(keys.public_key)
    store = PeerStore()
    store.add_key_pair(peer, keys)
    return GuardedSwarm(
        peer,
        store,
        TransportUpgrader(
            secure_transports_by_protocol={NOISE: Noise(keys, noise_privkey=create_noise_key_pair().private_key)},
            muxer_transports_by_protocol={TProtocol(YAMUX): WatchedYamux},
        ),
        [tcp],
        retry_config=RetryConfig(max_retries=0),
        connection_config=ConnectionConfig(
            max_connections=MAX_CONNECTIONS,
            min_connections=0,
            low_watermark=0,
            high_watermark=MAX_CONNECTIONS,
            inbound_upgrade_timeout=UPGRADE_TIMEOUT,
            outbound_upgrade_timeout=UPGRADE_TIMEOUT,
            inbound_stream_protocol_negotiation_timeout=UPGRADE_TIMEOUT,
            outbound_stream_protocol_negotiation_timeout=UPGRADE_TIMEOUT,
        ),
        psk=None if swarm_key is None else swarm_key.hex(),
        counters=counters,
    )


def build_host(swarm: GuardedSwarm) -> BasicHost:
    """Protocol negotiation over `swarm`: it answers ping and identify, and asks nobody."""
    host = BasicHost(swarm, disable_identify_address_discovery=True)
    protocols = get_default_protocols(host)
    del protocols[ID_PUSH]  # it would let any peer write any address into the peerstore
    host.multiselect.handlers = dict(protocols)
    swarm.notifees = []  # no identify of ours: it reads what peers say in system tasks, where an error ends the run
    return host


async def listen_on(swarm: GuardedSwarm, listen: list[Address]) -> list[Address]:
    """Listen; returns where, with the ports that the system chose. Raises `MeshError`: libp2p fails in silence."""
    bound: list[Address] = []
    for address in listen:
        _try_to_bind(address)
        multiaddr = Multiaddr(address.transport)
        await swarm.listen(multiaddr)
        listener = swarm.listeners.get(str(multiaddr))
        if listener is None:  # it was free a moment ago
            raise MeshError(_listen_failed(address, "it is already in use"))
        bound.extend(parse_address(str(on)) for on in listener.get_addrs())
    return bound


def interfaces() -> list[str]:
    """The IP addresses of this machine."""
    found = (m.value_for_protocol(p) for m in get_available_interfaces(0) for p in ("ip4", "ip6") if f"/{p}/" in str(m))
    return [host for host in found if host]


async def close_swarm(swarm: GuardedSwarm, tcp: CountingTCP, patience: float) -> None:
    """Nobody new, then a good-bye to everybody at once, then no patience: sockets are cut, so nothing can block.

    Each of the first two steps takes at most `patience` seconds. libp2p's own close says good-bye to one after another
    and waits for each; without it, sockets and listeners stay open.
    """
    with trio.move_on_after(patience) as scope:
        scope.shield = True
        for listener in list(swarm.listeners.values()):
            await listener.close()
    swarm.listeners.clear()
    with trio.move_on_after(patience) as scope:
        scope.shield = True
        async with trio.open_nursery() as nursery:
            for connection in swarm.get_connections():
                nursery.start_soon(hang_up, connection)
    for connected in list(tcp.sockets):
        connected.cut()
    swarm.connections.clear()


async def hang_up(connection: Any) -> None:
    """Close; libp2p may raise anything while a connection goes, and then it is gone."""
    with suppress(Exception):
        await connection.close()


def _try_to_bind(address: Address) -> None:
    """libp2p swallows why it cannot listen; the system says it here."""
    family = socket.AF_INET6 if address.family == "ip6" else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        causes = {
            errno.EADDRINUSE: "it is already in use",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "it is not permitted (ports below 1024 need privileges)",
        }
        raise MeshError(_listen_failed(address, causes.get(error.errno or 0, error.strerror or str(error)))) from error


def _listen_failed(address: Address, cause: str) -> str:
    return (
        f"cannot listen on {address.transport}: {cause}; "
        f"choose another with --listen (/{address.family}/{address.host}/tcp/0 takes any free port)"
    )
