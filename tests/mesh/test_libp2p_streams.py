"""LIBP2P rows on streams: yamux, and what a peer that doesn't play by the rules can hold."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
import trio
from libp2p.custom_types import TProtocol

from meshinfer.errors import MeshError
from meshinfer.mesh.api import MAX_FRAME, Stream
from meshinfer.mesh.libp2p import muxer, streams
from tests.mesh.support import gossips, join_libp2p, until


async def sleeps(stream: Stream) -> None:
    await trio.sleep_forever()


async def test_a_peer_that_does_not_read_fails_the_sender_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SEND_TIMEOUT", 0.5)
    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        alice.serve("sleeps", sleeps)
        await until(lambda: bob.peers)

        async def send_for_ever() -> None:
            async with bob.open(alice.me, "sleeps") as stream:
                while True:
                    await stream.send(bytes(MAX_FRAME))

        with trio.fail_after(5), pytest.raises(MeshError, match="did not take"):
            await send_for_ever()
        await gossips(bob, alice)  # the connection is as good as before


async def test_a_peer_that_sends_nothing_fails_the_receiver_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RECEIVE_TIMEOUT", 0.2)
    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        alice.serve("sleeps", sleeps)
        await until(lambda: bob.peers)
        with trio.fail_after(5), pytest.raises(MeshError, match="sent nothing"):
            async with bob.open(alice.me, "sleeps") as stream:
                await stream.receive()


async def test_many_short_streams_leave_nothing_behind() -> None:
    """yamux has 256 slots for open outbound streams; one lost per stream would stop the 257th."""

    async def answers(stream: Stream) -> None:
        await stream.receive()
        await stream.send(b"answer")

    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        alice.serve("answers", answers)
        await until(lambda: bob.peers)
        with trio.fail_after(20):
            for _ in range(300):
                async with bob.open(alice.me, "answers") as stream:
                    await stream.send(b"question")
                    assert await stream.receive() == b"answer"
        for here, there in ((alice, bob), (bob, alice)):
            yamux = here._swarm.get_connections(there._host.get_id())[0].muxed_conn
            await until(lambda yamux=yamux: len(yamux.streams) <= 4)  # type: ignore[misc]  # the loop's, bound now
        await until(lambda: not alice._streams)


async def test_a_peer_that_ignores_the_window_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muxer, "TICK", 0.1)
    monkeypatch.setattr(muxer, "MAX_BUFFERED", 4 * 2**20)
    async with join_libp2p("alice") as alice, join_libp2p("flooder", bootstrap=alice.addresses) as flooder:
        alice.serve("sleeps", sleeps)
        await until(lambda: flooder.peers)
        stream = await flooder._host.new_stream(alice._host.get_id(), [TProtocol("/meshinfer/test/sleeps/1")])
        yamux, number = stream.muxed_conn, stream.muxed_stream.stream_id
        frame = struct.pack("!BBHII", 0, 0, 0, number, 60_000) + bytes(60_000)
        with trio.fail_after(5), suppress(Exception):  # whatever a cut socket raises
            while flooder.peers:
                await yamux._write_frame(frame)
        await until(lambda: alice.peers == frozenset())
        assert alice.counters["connections_cut_flooding"] == 1


async def test_streams_of_any_kind_are_bounded_per_peer() -> None:
    async with join_libp2p("alice") as alice, join_libp2p("greedy", bootstrap=alice.addresses) as greedy:
        await until(lambda: greedy.peers and alice.peers)
        for _ in range(80):
            await greedy._swarm.new_stream(alice._host.get_id())
        await until(lambda: alice.counters.get("streams_refused", 0) >= 10)
        assert alice._raw_streams[greedy._host.get_id()] <= 64
