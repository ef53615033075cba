"""What a node relies on, whichever mesh it is given."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio

from meshinfer.errors import MeshError, MessageTooBig
from meshinfer.mesh.api import MAX_FRAME, MAX_MESSAGE, Message, PeerChange, Stream
from tests.mesh.support import Join, gossips, hear, until


async def echo(stream: Stream) -> None:
    while (frame := await stream.receive()) is not None:
        await stream.send(frame)


async def test_announcements_reach_the_others_and_never_oneself(join: Join) -> None:
    async with join("alice") as alice, join("bob", bootstrap=alice.addresses) as bob:
        await gossips(bob, alice, topic="peers")
        await gossips(alice, bob, topic="jobs")
        await bob.publish("peers", b"from bob")
        assert await hear(alice) == [Message("peers", bob.me, b"from bob")]
        await alice.publish("jobs", b"from alice")
        assert await hear(bob) == [Message("jobs", alice.me, b"from alice")]


async def test_announcements_travel_over_peers_in_between(join: Join) -> None:
    async with (
        join("alice") as alice,
        join("hub", bootstrap=alice.addresses) as hub,
        join("bob", bootstrap=hub.addresses) as bob,
    ):
        await gossips(alice, bob)
        await alice.publish("events", b"far")
        assert await hear(bob) == [Message("events", alice.me, b"far")]


async def test_an_announcement_over_the_limit_is_refused_and_one_at_the_limit_arrives(join: Join) -> None:
    async with join("alice") as alice, join("bob", bootstrap=alice.addresses) as bob:
        await gossips(alice, bob, topic="jobs")
        with pytest.raises(MessageTooBig, match=str(MAX_MESSAGE)):
            await alice.publish("jobs", bytes(MAX_MESSAGE + 1))
        await alice.publish("jobs", bytes(MAX_MESSAGE))
        assert len((await hear(bob))[0].data) == MAX_MESSAGE


async def test_a_stream_carries_frames_both_ways_until_both_have_finished(join: Join) -> None:
    async with join("alice") as alice, join("bob", bootstrap=alice.addresses) as bob:
        alice.serve("echo", echo)
        await until(lambda: bob.peers and alice.peers)
        frames = [b"", b"x", bytes(MAX_FRAME), b"last"]
        async with bob.open(alice.me, "echo") as stream:
            assert stream.peer == alice.me
            for frame in frames:
                await stream.send(frame)
                assert await stream.receive() == frame
            await stream.finish()
            assert await stream.receive() is None
            assert await stream.receive() is None
            with pytest.raises(MeshError, match="finished"):
                await stream.send(b"more")


async def test_a_frame_over_the_limit_is_refused(join: Join) -> None:
    async with join("alice") as alice, join("bob", bootstrap=alice.addresses) as bob:
        alice.serve("echo", echo)
        await until(lambda: bob.peers and alice.peers)
        with pytest.raises(MessageTooBig, match=str(MAX_FRAME)):
            async with bob.open(alice.me, "echo") as stream:
                await stream.send(bytes(MAX_FRAME + 1))


async def test_what_a_handler_raises_is_counted_and_resets_its_stream_alone(join: Join) -> None:
    async def fails(stream: Stream) -> None:
        await stream.send(b"a start")
        raise MeshError("no more")

    async def crashes(stream: Stream) -> None:
        raise ValueError("a bug")

    async with join("alice") as alice, join("bob", bootstrap=alice.addresses) as bob:
        alice.serve("fails", fails)
        alice.serve("crashes", crashes)
        alice.serve("echo", echo)
        await until(lambda: bob.peers and alice.peers)

        async def read_all(name: str) -> None:
            async with bob.open(alice.me, name) as stream:
                while await stream.receive() is not None:
                    pass

        for name in ("fails", "crashes"):
            with pytest.raises(MeshError):
                await read_all(name)
        assert alice.counters["serve_fails_failed"] == 1
        assert alice.counters["serve_crashes_crashed"] == 1
        async with bob.open(alice.me, "echo") as stream:
            await stream.send(b"still here")
            assert await stream.receive() == b"still here"


async def test_leaving_a_stream_with_an_exception_is_no_end_to_the_other_side(join: Join) -> None:
    """A truncated answer must never pass for a whole one."""
    seen: list[str] = []

    async def reads(stream: Stream) -> None:
        try:
            while (frame := await stream.receive()) is not None:
                seen.append(frame.decode())
            seen.append("end")
        except MeshError:
            seen.append("broken")

    async with join("alice") as alice, join("bob", bootstrap=alice.addresses) as bob:
        alice.serve("reads", reads)
        await until(lambda: bob.peers and alice.peers)

        async def breaks_off() -> None:
            async with bob.open(alice.me, "reads") as stream:
                await stream.send(b"half")
                await until(lambda: seen == ["half"])
                raise KeyError

        with pytest.raises(KeyError):
            await breaks_off()
        await until(lambda: len(seen) == 2)
        assert seen == ["half", "broken"]


async def test_opening_a_stream_that_nobody_serves_or_to_a_stranger_fails_at_once(join: Join) -> None:
    async with join("alice") as alice, join("bob", bootstrap=alice.addresses) as bob, join("carol") as carol:
        await until(lambda: bob.peers and alice.peers)
        with trio.fail_after(2):
            with pytest.raises(MeshError, match="nonsense"):
                async with bob.open(alice.me, "nonsense"):
                    pass
            with pytest.raises(MeshError, match="not connected"):
                async with bob.open(carol.me, "echo"):
                    pass


async def test_one_peer_gets_a_bounded_number_of_streams(join: Join) -> None:
    async def waits(stream: Stream) -> None:
        await stream.send(b"in")
        await stream.receive()

    async with join("alice") as alice, join("bob", bootstrap=alice.addresses) as bob, AsyncExitStack() as stack:
        alice.serve("waits", waits)
        await until(lambda: bob.peers and alice.peers)
        for _ in range(32):
            stream = await stack.enter_async_context(bob.open(alice.me, "waits"))
            assert await stream.receive() == b"in"
        with pytest.raises(MeshError):
            async with bob.open(alice.me, "waits") as one_too_many:
                await one_too_many.receive()
        assert alice.counters["streams_refused"] == 1


async def test_a_peer_that_leaves_and_comes_back_is_noticed_and_dialed_again(join: Join) -> None:
    async with join("alice") as alice, alice.changes() as changes:
        async with join("bob") as bob:
            where = bob.addresses
            alice.know(where)
            with trio.fail_after(5):
                assert await changes.receive() == PeerChange(bob.me, up=True)
            assert alice.peers == {bob.me}
            assert alice.unreached() == {}
        with trio.fail_after(5):
            assert await changes.receive() == PeerChange(bob.me, up=False)
        assert alice.peers == frozenset()
        await until(lambda: "cannot reach" in alice.unreached()[bob.me].error)
        assert alice.unreached()[bob.me].addresses == where
        async with join("bob", at=where[0]) as bob:
            with trio.fail_after(10):
                assert await changes.receive() == PeerChange(bob.me, up=True)
            await gossips(bob, alice, topic="peers")
            await bob.publish("peers", b"back")
            assert (await hear(alice))[0].data == b"back"


async def test_a_forgotten_peer_is_not_dialed_again(join: Join) -> None:
    async with join("alice") as alice:
        async with join("bob") as bob:
            alice.know(bob.addresses)
            await until(lambda: alice.peers)
            alice.forget(bob.me)
            assert alice.peers == {bob.me}
        await until(lambda: not alice.peers)
        assert alice.unreached() == {}


async def test_two_that_dial_each_other_are_up_once(join: Join) -> None:
    async with join("alice") as alice, join("bob") as bob, alice.changes() as changes:
        alice.know(bob.addresses)
        bob.know(alice.addresses)
        with trio.fail_after(5):
            assert await changes.receive() == PeerChange(bob.me, up=True)
        await gossips(bob, alice, topic="peers")
        await bob.publish("peers", b"once")
        assert [m.data for m in await hear(alice)] == [b"once"]
        with pytest.raises(trio.WouldBlock):
            changes.receive_nowait()


async def test_bad_addresses_are_counted_and_good_ones_beside_them_used(join: Join) -> None:
    async with join("alice") as alice, join("bob") as bob:
        alice.know(("", "/ip4/1.2.3.4", "nonsense", *bob.addresses, *alice.addresses))
        await until(lambda: alice.peers)
        assert alice.counters["addresses_refused"] == 3
        assert alice.peers == {bob.me}


async def test_a_handler_is_cancelled_when_its_peer_goes(join: Join) -> None:
    ended = trio.Event()

    async def waits(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with join("alice") as alice:
        alice.serve("waits", waits)
        async with join("bob", bootstrap=alice.addresses) as bob:
            await until(lambda: bob.peers and alice.peers)
            async with bob.open(alice.me, "waits") as stream:
                await stream.send(b"x")
                assert not ended.is_set()
        with trio.fail_after(5):
            await ended.wait()


async def test_an_exception_in_the_body_comes_out_as_it_is(join: Join) -> None:
    with pytest.raises(KeyError):
        async with join("alice"):
            raise KeyError
