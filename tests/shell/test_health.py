"""What is wrong with this host is said in words, once a minute, and keeps it from taking tasks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from meshinfer.node.health import Health
from tests.shell.support import Peer, World, until, where


class Disk:
    free_mb = 10_000

    def usage(self, path: object) -> shutil._ntuple_diskusage:
        return shutil._ntuple_diskusage(10**12, 0, self.free_mb * 2**20)


def health(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, *bootstrap: str
) -> tuple[Disk, list[tuple[float, str]], Callable[[], list[str]]]:
    disk = Disk()
    said: list[tuple[float, str]] = []
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    watch = Health(
        peer.world.folder,
        512,
        bootstrap,
        peer.driver,
        peer.mesh,
        lambda text: said.append((trio.current_time(), text)),
    )
    peer.nursery.start_soon(watch.serve)
    return disk, said, watch.notices


async def test_a_full_disk_stops_tasks_and_is_said_once_a_minute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await world.start("alice")
    disk, said, notices = health(alice, monkeypatch)
    await trio.sleep(30)
    assert said == []
    assert notices() == []
    disk.free_mb = 100
    await until(lambda: alice.driver.state.no_room, 6)
    alice.holds("film")
    job = alice.publish()
    began = trio.current_time()
    while trio.current_time() < began + 240:
        disk.free_mb += 1  # it changes all the time
        await trio.sleep(1)
    assert alice.started == []
    assert job.id in alice.jobs, "it keeps serving"
    times = [t for t, _ in said]
    assert 4 <= len(times) <= 5
    assert all(b - a >= 60 for a, b in pairwise(times))
    assert "MB of disk left" in said[0][1]
    assert "free some disk" in said[0][1]
    assert "512 MB" in notices()[0]
    disk.free_mb = 5000
    await until(lambda: alice.started, 6)
    assert notices() == []


async def test_a_store_that_cannot_be_written_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await world.start("alice")
    disk = Disk()
    said: list[str] = []
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    watch = Health(world.folder, 512, (), alice.driver, alice.mesh, said.append)
    for _ in range(5):
        watch.trouble("no room left to write")
    assert len(said) == 1
    assert "keeps serving" in said[0]
    assert alice.driver.state.no_room
    alice.nursery.start_soon(watch.serve)
    await until(lambda: not alice.driver.state.no_room, 6)


async def test_a_bootstrap_peer_that_is_down_is_said_once_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.start("alice", "bob")
    _, said, _ = health(alice, monkeypatch, where("bob"))
    await trio.sleep(200)
    about = [(t, text) for t, text in said if "bootstrap peer" in text]
    assert 3 <= len(about) <= 4
    assert "nobody listens" in about[0][1]
    bob = await world.start("bob")
    await until(lambda: bob.id in alice.mesh.peers, 30)
    before = len(said)
    await trio.sleep(200)
    assert len(said) <= before + 1


async def test_a_stall_of_our_own_loop_is_known_at_once_and_for_five_seconds(world: World) -> None:
    """Whoever is woken first after it must see it: the sampler may be later."""
    alice = await world.start("alice")
    watch = Health(world.folder, 512, (), alice.driver, alice.mesh, lambda text: None)
    assert watch.lag_now() == (0.0, 0.0)
    alice.nursery.start_soon(watch.serve)
    await trio.sleep(1)
    assert watch.lag_now().worst < 0.01
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    clock.jump(3.0)  # nobody ran meanwhile
    assert watch.lag_now().last == pytest.approx(2.9, abs=0.11)
    await trio.sleep(2)
    assert watch.lag_now().last < 0.01
    assert watch.lag_now().worst == pytest.approx(2.9, abs=0.11)
    await trio.sleep(5)
    assert watch.lag_now().worst < 0.01
