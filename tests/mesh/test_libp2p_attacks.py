"""Whatever a connected peer does, the node lives, others connect to it, and gossip reaches it and leaves it.

LIBP2P row: exceptions in inbound streams. Each case is one thing that a peer did to py-libp2p 0.8.1 in a probe; several
ended the process there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_uvarint

from meshinfer.mesh.api import Stream
from meshinfer.mesh.libp2p import Libp2pMesh
from meshinfer.model.ids import PeerId
from tests.mesh.support import gossips, join_libp2p, until

Attack = Callable[[Libp2pMesh, ID], Awaitable[None]]
ATTACKS: dict[str, Attack] = {}
TOPIC = "/meshinfer/test/peers/1"
GARBAGE = os.urandom(4096)


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


async def raw_stream(attacker: Libp2pMesh, victim: ID):  # type: ignore[no-untyped-def]  # libp2p's streams are untyped
    return await attacker._swarm.new_stream(victim)


async def send(attacker: Libp2pMesh, victim: ID, data: bytes, protocol: str = "/meshsub/1.1.0") -> None:
    stream = await attacker._host.new_stream(victim, [TProtocol(protocol)])
    await stream.write(data)


async def send_rpc(attacker: Libp2pMesh, victim: ID, rpc: rpc_pb2.RPC) -> None:
    data = rpc.SerializeToString()
    await send(attacker, victim, encode_uvarint(len(data)) + data)


def published(**fields: Any) -> rpc_pb2.RPC:
    message: dict[str, Any] = {"seqno": b"1" * 8, "topicIDs": [TOPIC], "data": b"d", "signature": b"s" * 64, **fields}
    return rpc_pb2.RPC(publish=[rpc_pb2.Message(**message)])


@attack
async def negotiates_in_no_utf8(attacker: Libp2pMesh, victim: ID) -> None:
    await (await raw_stream(attacker, victim)).write(encode_uvarint(5) + b"\xff\xfe\xfd\xfc\n")


@attack
async def negotiates_a_terabyte(attacker: Libp2pMesh, victim: ID) -> None:
    await (await raw_stream(attacker, victim)).write(encode_uvarint(2**40) + GARBAGE)


@attack
async def negotiates_garbage_on_many_streams(attacker: Libp2pMesh, victim: ID) -> None:
    for at in range(0, 4000, 100):
        await (await raw_stream(attacker, victim)).write(GARBAGE[at : at + 100])


@attack
async def negotiates_in_silence_on_many_streams(attacker: Libp2pMesh, victim: ID) -> None:
    for _ in range(80):
        await raw_stream(attacker, victim)


@attack
async def gossips_garbage_protobuf(attacker: Libp2pMesh, victim: ID) -> None:
    await send(attacker, victim, encode_uvarint(20) + b"\xff" * 20)


@attack
async def gossips_a_huge_length(attacker: Libp2pMesh, victim: ID) -> None:
    await send(attacker, victim, encode_uvarint(50_000_000) + GARBAGE)


@attack
async def gossips_a_bad_varint(attacker: Libp2pMesh, victim: ID) -> None:
    await send(attacker, victim, b"\xff" * 20)


@attack
async def gossips_half_a_message_and_closes(attacker: Libp2pMesh, victim: ID) -> None:
    stream = await attacker._host.new_stream(victim, [TProtocol("/meshsub/1.1.0")])
    await stream.write(b"\x50ab")
    await stream.close()


@attack
async def gossips_half_a_message_and_resets(attacker: Libp2pMesh, victim: ID) -> None:
    stream = await attacker._host.new_stream(victim, [TProtocol("/meshsub/1.1.0")])
    await stream.write(b"\x50ab")
    await stream.reset()


@attack
async def gossips_a_message_with_a_bad_key(attacker: Libp2pMesh, victim: ID) -> None:
    await send_rpc(attacker, victim, published(from_id=b"\x12\x20" + GARBAGE[:32], key=b"garbage-key"))


@attack
async def gossips_a_message_with_an_unknown_key_type(attacker: Libp2pMesh, victim: ID) -> None:
    await send_rpc(attacker, victim, published(from_id=b"\x12\x20" + GARBAGE[:32], key=b"\x08\x09\x12\x04abcd"))


@attack
async def gossips_messages_from_impossible_peers(attacker: Libp2pMesh, victim: ID) -> None:
    rpc = rpc_pb2.RPC()
    for origin in (b"", b"\x00", b"\x00\x24\x08\x01\x12\x20" + b"\xff" * 32, b"\x00\x03abc", GARBAGE[:300]):
        rpc.MergeFrom(published(from_id=origin, key=b"\x08\x01\x12\x20" + b"\xff" * 32))
    await send_rpc(attacker, victim, rpc)


@attack
async def gossips_a_message_with_a_bad_signature(attacker: Libp2pMesh, victim: ID) -> None:
    await send_rpc(attacker, victim, published(from_id=attacker._host.get_id().to_bytes()))


@attack
async def gossips_without_and_with_many_topics(attacker: Libp2pMesh, victim: ID) -> None:
    rpc = published(from_id=attacker._host.get_id().to_bytes(), topicIDs=[])
    rpc.MergeFrom(published(from_id=attacker._host.get_id().to_bytes(), topicIDs=[TOPIC] * 1000))
    await send_rpc(attacker, victim, rpc)


@attack
async def gossips_control_garbage(attacker: Libp2pMesh, victim: ID) -> None:
    rpc = rpc_pb2.RPC()
    rpc.control.ihave.add(topicID="t", messageIDs=[b"zz", b"\xff\x00", b"abc", b""])
    rpc.control.iwant.add(messageIDs=[b"zz", b"abc", b""])
    rpc.control.graft.add(topicID="never heard of")
    rpc.control.graft.add(topicID=TOPIC)
    prune = rpc.control.prune.add(topicID=TOPIC, backoff=2**62)
    prune.peers.add(peerID=b"xx", signedPeerRecord=b"junk")
    prune.peers.add(peerID=b"")
    rpc.control.idontwant.add(messageIDs=[GARBAGE[:20]] * 100)
    await send_rpc(attacker, victim, rpc)


@attack
async def gossips_a_bad_sender_record(attacker: Libp2pMesh, victim: ID) -> None:
    await send_rpc(attacker, victim, rpc_pb2.RPC(senderRecord=b"junk"))


@attack
async def pings_half_and_resets(attacker: Libp2pMesh, victim: ID) -> None:
    stream = await attacker._host.new_stream(victim, [TProtocol("/ipfs/ping/1.0.0")])
    await stream.write(b"x" * 10)
    await stream.reset()


@attack
async def pushes_identify_garbage(attacker: Libp2pMesh, victim: ID) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - refused: the victim doesn't take identify pushes
        await send(attacker, victim, encode_uvarint(50) + GARBAGE[:50], "/ipfs/id/push/1.0.0")


@attack
async def asks_identify_and_resets(attacker: Libp2pMesh, victim: ID) -> None:
    for _ in range(20):
        await (await attacker._host.new_stream(victim, [TProtocol("/ipfs/id/1.0.0")])).reset()


@attack
async def sends_garbage_to_a_handler(attacker: Libp2pMesh, victim: ID) -> None:
    for data in (b"\x00\x00", b"\xff\xff\xff\xfe", b"\x7f\xff\xff\xff", GARBAGE):
        await send(attacker, victim, data, "/meshinfer/test/echo/1")


@attack
async def resets_a_handler(attacker: Libp2pMesh, victim: ID) -> None:
    stream = await attacker._host.new_stream(victim, [TProtocol("/meshinfer/test/echo/1")])
    await stream.write(b"\x00\x00\x00\x05abc")
    await stream.reset()


@attack
async def sends_tcp_garbage(attacker: Libp2pMesh, victim: ID) -> None:
    _, _, host, _, port, *_ = attacker._dialer._targets[PeerId(str(victim))].addresses[0].split("/")
    for size in (0, 1, 500, 4000):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(GARBAGE[:size])


@attack
async def sends_noise_garbage(attacker: Libp2pMesh, victim: ID) -> None:
    await muxer(attacker, victim).socket.write(b"\x00\x40" + GARBAGE[:64])


@attack
async def sends_bad_yamux_frames(attacker: Libp2pMesh, victim: ID) -> None:
    yamux = muxer(attacker, victim)
    for version, kind, flags, stream, length in (
        (0, 9, 0, 77, 5),
        (0, 200, 0, 77, 5),
        (7, 0, 0xFFFF, 0, 0),
        (0, 1, 0, 999, 2**32 - 1),
        (0, 1, 1, 0, 0),
        (0, 1, 1, 2, 0),
    ):
        await yamux._write_frame(struct.pack("!BBHII", version, kind, flags, stream, length))


@attack
async def opens_two_thousand_yamux_streams(attacker: Libp2pMesh, victim: ID) -> None:
    yamux = muxer(attacker, victim)
    for number in range(2000):
        await yamux._write_frame(struct.pack("!BBHII", 0, 1, 1, 100_001 + 2 * number, 0))


@attack
async def says_go_away(attacker: Libp2pMesh, victim: ID) -> None:
    await muxer(attacker, victim)._write_frame(struct.pack("!BBHII", 0, 3, 0, 0, 0))


@attack
async def cuts_the_wire_in_the_middle_of_a_stream(attacker: Libp2pMesh, victim: ID) -> None:
    stream = await attacker._host.new_stream(victim, [TProtocol("/meshinfer/test/echo/1")])
    await stream.write(b"\x00\x01\x00\x00" + GARBAGE)
    muxer(attacker, victim).socket.cut()


def muxer(attacker: Libp2pMesh, victim: ID):  # type: ignore[no-untyped-def]  # our WatchedYamux, made by libp2p
    return attacker._swarm.get_connections(victim)[0].muxed_conn


async def echo(stream: Stream) -> None:
    while (frame := await stream.receive()) is not None:
        await stream.send(frame)


GROUPS = {
    "negotiation": [name for name in ATTACKS if name.startswith("negotiates")],
    "gossip": [name for name in ATTACKS if name.startswith("gossips")],
}
GROUPS["the rest"] = [name for name in ATTACKS if not any(name in names for names in GROUPS.values())]


@pytest.mark.parametrize("group", list(GROUPS))
async def test_the_node_survives_what_a_peer_does_in(group: str, capfd: pytest.CaptureFixture[str]) -> None:
    async with join_libp2p("victim") as victim, join_libp2p("bystander", bootstrap=victim.addresses) as bystander:
        victim.serve("echo", echo)
        await until(lambda: bystander.peers)
        for name in GROUPS[group]:
            try:
                await check_survival(name, victim, bystander)
            except BaseException as error:
                error.add_note(f"the attack was: {name}")
                raise
        # Each exception was expected where it arose: the supervisor, the last net, caught none.
        assert not [name for name in victim.counters if name.startswith("guarded_")]
        async with join_libp2p("newcomer", bootstrap=victim.addresses) as newcomer:
            await until(lambda: newcomer.peers)
            await gossips(victim, newcomer)
            async with newcomer.open(victim.me, "echo") as stream:
                await stream.send(b"and streams")
                assert await stream.receive() == b"and streams"
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


async def check_survival(name: str, victim: Libp2pMesh, bystander: Libp2pMesh) -> None:
    async with join_libp2p(f"who {name}", bootstrap=victim.addresses) as attacker, bystander.changes() as changes:
        await until(lambda: attacker.peers)
        with trio.fail_after(10):
            try:
                await ATTACKS[name](attacker, victim._host.get_id())
            except Exception:
                if attacker.me not in victim.kept_out():
                    raise  # else it was cut off in the middle of it
        await gossips(bystander, victim)
        await gossips(victim, bystander)
        with pytest.raises(trio.WouldBlock):
            changes.receive_nowait()
