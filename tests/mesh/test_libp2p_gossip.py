"""LIBP2P rows on gossip: queues, seqno, degree, heartbeat, spam protection, meshsub 1.2+, message ids, size, memory."""

from __future__ import annotations

import threading
import time
from contextlib import AsyncExitStack

import trio
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11
from libp2p.pubsub.pubsub import get_peer_and_seqno_msg_id

from meshinfer.mesh import limits
from tests.mesh.support import gossips, hear, join_libp2p, until


async def test_five_hundred_quick_announcements_all_arrive() -> None:
    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        await gossips(alice, bob, topic="jobs")
        sent = [b"%d" % n for n in range(500)]
        heard: set[bytes] = set()

        async def listen() -> None:
            async for message in bob.messages():
                heard.add(message.data)
                if heard >= set(sent):
                    return

        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                for data in sent:
                    await alice.publish("jobs", data)
        assert not [name for name in bob.counters if name.startswith("gossip_dropped")]


PEERS = "/meshinfer/test/peers/1"
"""What is announced before the peers have grafted each other may be lost: gossip is a hint."""


async def test_a_restarted_peer_is_not_taken_for_its_past_self() -> None:
    """libp2p numbers messages from int(time.time()): after 50 of them a quick restart repeats numbers."""
    async with join_libp2p("alice") as alice:
        for life in (b"first", b"second"):
            async with join_libp2p("bob", bootstrap=alice.addresses) as bob:
                graft = bob._gossip.router.mesh, alice._gossip.router.mesh
                await until(lambda graft=graft: all(mesh[PEERS] for mesh in graft))  # type: ignore[misc]  # bound now
                for n in range(50):
                    await bob.publish("peers", life + b"%d" % n)
                assert {m.data for m in await hear(alice, 50)} == {life + b"%d" % n for n in range(50)}
            await until(lambda: not alice.peers)


async def test_every_leaf_of_a_star_hears_every_other() -> None:
    """With libp2p's degree_high, a hub isolates the leaves above it for good."""
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(join_libp2p("hub"))
        leaves = [await stack.enter_async_context(join_libp2p(f"leaf {n}", bootstrap=hub.addresses)) for n in range(14)]
        await until(lambda: len(hub.peers) == 14)
        router = hub._gossip.router
        topic = "/meshinfer/test/events/1"
        await until(lambda: len(router.mesh[topic]) == 14)
        assert router.mesh_heartbeat()[1] == {}  # pruned: nobody
        await gossips(leaves[0], hub, *leaves[1:])
        await gossips(leaves[13], hub, *leaves[:13])


async def test_a_flood_is_cut_to_the_rate_and_counted_and_others_are_heard() -> None:
    async with (
        join_libp2p("alice") as alice,
        join_libp2p("flooder", bootstrap=alice.addresses) as flooder,
        join_libp2p("bob", bootstrap=alice.addresses) as bob,
    ):
        alice._gossip._by_origin = limits.Buckets(limits.Rate(per_second=1, burst=20))
        await until(lambda: len(alice.peers) == 2)
        for n in range(100):
            await flooder.publish("jobs", b"%d" % n)
        await until(lambda: alice.counters.get("gossip_dropped_origin_rate", 0) >= 75)
        await gossips(bob, alice)
        assert flooder.me in alice.peers


async def test_gossip_that_broke_on_a_live_connection_is_rebuilt() -> None:
    """0.8.1 opens a new stream, but the other side doesn't announce its subscriptions again."""
    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        await gossips(alice, bob)
        await alice._gossip.peers[bob._host.get_id()].reset()
        await alice.publish("events", b"goes nowhere")
        await until(lambda: alice.counters.get("gossip_rebuilt"))
        await gossips(alice, bob)
        await gossips(bob, alice)


async def test_what_libp2p_only_collects_is_swept() -> None:
    async with join_libp2p("alice") as alice, join_libp2p("bob", bootstrap=alice.addresses) as bob:
        await gossips(alice, bob)
        router = alice._gossip.router
        assert router.equivocation_detection
        router.back_off["/meshinfer/test/jobs/1"] = {bob._host.get_id(): int(time.time()) + 10**6}
        router._add_back_off(bob._host.get_id(), "a topic that nobody has", False)
        alice._gossip.sweep()
        assert not router.equivocation_detection
        assert not router.recent_message_deliveries
        assert "a topic that nobody has" not in router.back_off
    async with join_libp2p("carol") as carol:
        carol._gossip._by_forwarder.take("somebody", now=0.0)
        carol._gossip.sweep()
        assert len(carol._gossip._by_forwarder) == 0


async def test_a_closed_mesh_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    async with join_libp2p("alice"):
        pass
    assert set(threading.enumerate()) <= before


async def test_the_router_is_set_up_as_measured() -> None:
    async with join_libp2p("alice") as alice:
        router = alice._gossip.router
        assert router.get_protocols() == [PROTOCOL_ID_V11, PROTOCOL_ID]
        assert router.heartbeat_interval == 1
        assert router.degree_high >= 300
        assert not router.adaptive_gossip_enabled
        assert not router.spam_protection_enabled
        assert not router.do_px
        assert alice._gossip._msg_id_constructor is get_peer_and_seqno_msg_id
        assert alice._gossip.counter > 10**18
        assert alice._swarm.metric_send_channel is None
