"""Ten real peers that all came by one door: they let go of it, and everything reaches everybody."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from meshinfer.mesh import offences
from meshinfer.node.wiring import HIGH, LOW
from tests.mesh.light import LightPeer, is_settled, light_peer
from tests.mesh.support import Join, gossips, join_libp2p, until

COUNT = 10


async def ten_peers(stack: AsyncExitStack, folder: Path) -> list[LightPeer]:
    first = await stack.enter_async_context(light_peer("p0", folder))
    door = first.mesh.addresses
    others = [await stack.enter_async_context(light_peer(f"p{n}", folder, door)) for n in range(1, COUNT)]
    return [first, *others]


async def test_jobs_and_announcements_reach_all_of_ten_that_came_by_one_door(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        peers = await ten_peers(stack, tmp_path)
        # At once: a link more or less at one of them, a moment later, is as it should be.
        await until(lambda: is_settled(peers, HIGH) and all(len(peer.links) >= LOW - 1 for peer in peers), 90)
        orders = [peer.publish(f"of {peer.name}") for peer in peers]
        jobs = {order.id for order in orders}
        await until(lambda: all(peer.driver.state.jobs.keys() == jobs for peer in peers), 30)
        first, *others = peers
        await first.mesh.hang_up(others[0].mesh.me)  # whoever goes, goes
        await until(lambda: all(len(peer.links) >= LOW - 1 for peer in peers), 30)


async def test_a_persistent_offender_is_cut_off_neither_dialed_nor_let_in_and_then_forgiven(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends dial each other; a bystander keeps its link and hears everything."""
    monkeypatch.setattr(offences, "FIRST", 8.0)
    async with join("alice") as alice, join("mallory", bootstrap=alice.addresses) as mallory:
        alice.know(mallory.addresses)
        async with join("bob", bootstrap=alice.addresses) as bob:
            await until(lambda: alice.peers == {mallory.me, bob.me})
            for _ in range(int(offences.LIMIT) - 1):
                alice.blame(mallory.me, "garbage")
            assert mallory.me in alice.peers
            for _ in range(3):
                alice.blame(mallory.me, "garbage")
            assert alice.kept_out()[mallory.me].why == "garbage"
            await until(lambda: mallory.me not in alice.peers)
            await until(lambda: "kept out" in alice.unreached()[mallory.me].error, 15)
            assert bob.me in alice.peers
            assert alice.counters["peers_kept_out"] == 1
            await until(lambda: mallory.me in alice.peers, 60)
            assert not alice.kept_out()
            await gossips(bob, alice)


async def test_a_flood_is_blamed_on_its_author_and_not_on_who_passes_it_on() -> None:
    """bob is between: alice keeps mallory's announcements out, and bob's link."""
    async with (
        join_libp2p("alice") as alice,
        join_libp2p("bob", bootstrap=alice.addresses) as bob,
        join_libp2p("mallory", bootstrap=bob.addresses) as mallory,
    ):
        await gossips(mallory, alice, seconds=30)
        for _ in range(int(offences.LIMIT) + 2):
            alice.blame(mallory.me, "garbage in announcements")
        for n in range(20):
            await mallory.publish("events", b"more %d" % n)
        await until(lambda: alice.counters.get("gossip_dropped_kept_out", 0) >= 10, 15)
        assert alice.peers == {bob.me}
        assert set(alice.kept_out()) == {mallory.me}
        await gossips(bob, alice, seconds=30)


async def test_a_forged_announcement_is_blamed_on_who_hands_it_over() -> None:
    from tests.mesh.test_libp2p_attacks import published, send_rpc

    async with join_libp2p("alice") as alice, join_libp2p("mallory", bootstrap=alice.addresses) as mallory:
        await until(lambda: alice.peers and mallory.peers)
        victim = alice._host.get_id()
        forged = published(from_id=alice._host.get_id().to_bytes())
        await send_rpc(mallory, victim, forged)
        await until(lambda: alice.counters.get("offences"))
        assert mallory.me in alice.peers, "once may happen"
        for n in range(20):
            if mallory.me not in alice.peers:
                break
            with trio.move_on_after(5):
                try:
                    await send_rpc(mallory, victim, published(from_id=victim.to_bytes(), seqno=b"%8d" % n))
                except Exception:
                    break  # cut off in the middle of it
        await until(lambda: mallory.me in alice.kept_out(), 15)
        await until(lambda: mallory.me not in alice.peers, 15)
