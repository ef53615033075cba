"""The overlay and what goes along it: connected, without a centre, each message to everybody once."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as some

from meshinfer.model.ids import ContentId, PeerId
from meshinfer.sim import gossip as going
from meshinfer.sim.agenda import Agenda, Process
from meshinfer.sim.gossip import Gossip
from meshinfer.sim.network import Network
from meshinfer.sim.overlay import Pair, random_links, sharing, without
from meshinfer.sim.scenario import Link

GOOD = Link(loss=0.0, duplicate=0.0, reorder=0.0, dial=(0.1, 0.1))


def reached(peers: set[int], links: list[Pair]) -> set[int]:
    seen, todo = set[int](), [min(peers)]
    while todo:
        peer = todo.pop()
        if peer in peers and peer not in seen:
            seen.add(peer)
            todo += [a + b - peer for a, b in links if peer in (a, b)]
    return seen


@given(seed=some.integers(0, 2**32), peers=some.integers(1, 60), each=some.integers(2, 8))
def test_everybody_is_reached_and_nobody_is_a_centre(seed: int, peers: int, each: int) -> None:
    links = random_links(random.Random(seed), peers, each)
    degrees = Counter(end for pair in links for end in pair)
    assert reached(set(range(peers)), links) == set(range(peers))
    assert all(a < b for a, b in links)
    assert max(degrees.values(), default=0) <= each + 1
    if peers > each + 1:
        assert sum(degrees.values()) >= 0.8 * each * peers


@given(seed=some.integers(0, 2**32), peers=some.integers(3, 40), each=some.integers(2, 6))
def test_who_goes_for_good_cuts_nobody_off(seed: int, peers: int, each: int) -> None:
    rng = random.Random(seed)
    links, left = random_links(rng, peers, each), set(range(peers))
    while len(left) > 1:
        gone = rng.choice(sorted(left))
        neighbours = [a + b - gone for a, b in links if gone in (a, b)]
        left.discard(gone)
        links = [pair for pair in links if gone not in pair] + without(neighbours)
        assert reached(left, links) == left


def test_a_third_of_a_large_mesh_goes_at_once() -> None:
    rng = random.Random(1)
    links, left = random_links(rng, 600, 7), set(rng.sample(range(600), 400))
    assert len(reached(left, links)) >= 399


def test_holders_of_copies_are_linked() -> None:
    a, b, c = map(ContentId, "abc")
    assert sharing([{a}, {b}, {a, c}, {c}, set()]) == [(0, 2), (2, 3)]


class End:
    """A peer that only listens."""

    def __init__(self, index: int) -> None:
        self.index, self.id = index, PeerId(f"p{index}")
        self.process = Process(f"p{index}", life=1, alive=True)
        self.heard: list[bytes] = []
        self.frames: list[tuple[int, bytes]] = []

    def connected(self, other: int) -> None: ...

    def disconnected(self, other: int) -> None: ...

    def gossip(self, data: bytes) -> None:
        self.heard.append(data)

    def frame(self, other: int, stream: int, data: bytes) -> None:
        self.frames.append((other, data))


class Mesh:
    """Ends that are connected along these links."""

    def __init__(self, ends: int, links: list[Pair], link: Link = GOOD, *, straight: bool = False) -> None:
        self.agenda = Agenda()
        self.network = Network(self.agenda, random.Random(0), link)
        self.gossip = Gossip(self.network, None if straight else links)
        self.ends = [End(i) for i in range(ends)]
        for end in self.ends:
            self.network.add(end)
        for a, b in links:
            self.network.link(a, b)
        self.play(1.0)

    def play(self, seconds: float) -> None:
        over: list[bool] = []
        self.agenda.after(seconds, "over", lambda: over.append(True))
        while not over:
            self.agenda.next()


def test_a_message_goes_along_a_line_and_comes_to_everybody_once() -> None:
    mesh = Mesh(5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    mesh.gossip.publish(0, b"news")
    mesh.play(2.0)
    assert [end.heard for end in mesh.ends] == [[], [b"news"], [b"news"], [b"news"], [b"news"]]
    assert mesh.gossip.traffic.total == (4, 16)


def test_in_a_ring_the_later_copy_is_dropped() -> None:
    mesh = Mesh(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)])
    mesh.gossip.publish(0, b"news")
    mesh.play(2.0)
    assert [len(end.heard) for end in mesh.ends] == [0, 1, 1, 1, 1, 1]


def test_a_loss_on_one_link_is_made_up_for_by_another() -> None:
    def heard(links: list[Pair], *, straight: bool) -> int:
        mesh = Mesh(20, links, Link(loss=0.3, duplicate=0.0, reorder=0.0, dial=(0.1, 0.1)), straight=straight)
        for n in range(50):
            mesh.gossip.publish(0, b"%d" % n)
            mesh.play(1.0)
        return sum(len(end.heard) for end in mesh.ends)

    relayed, straight = (
        heard(random_links(random.Random(1), 20, 6), straight=False),
        heard(random_links(random.Random(1), 20, 20), straight=True),
    )
    assert straight < 0.8 * 19 * 50
    assert relayed > 0.97 * 19 * 50


@pytest.mark.parametrize("straight", [True, False])
def test_a_partition_stops_it_and_its_end_does_not_bring_it_back(straight: bool) -> None:
    mesh = Mesh(4, [(0, 1), (1, 2), (2, 3), (0, 2)], straight=straight)
    mesh.network.part(frozenset({0, 1}))
    mesh.gossip.publish(0, b"news")
    mesh.play(5.0)
    mesh.network.join(frozenset({0, 1}))
    mesh.play(5.0)
    assert [len(end.heard) for end in mesh.ends] == [0, 1, 0, 0]
    mesh.gossip.publish(0, b"more")
    mesh.play(5.0)
    assert mesh.ends[2].heard == [b"more"]


def test_what_a_cut_holds_back_on_a_stream_arrives_when_it_heals_before_anybody_noticed() -> None:
    mesh = Mesh(2, [(0, 1)], Link(notice=(9.0, 9.0), dial=(0.1, 0.1), delay=(0.01, 0.01)))
    mesh.network.cut(0, 1)
    mesh.network.send(0, 1, 7, b"first")
    mesh.play(1.0)
    assert mesh.ends[1].frames == []
    mesh.network.heal(0, 1)
    mesh.network.send(0, 1, 7, b"second")
    mesh.play(1.0)
    assert mesh.ends[1].frames == [(0, b"first"), (0, b"second")]


def test_a_flood_is_cut_to_what_one_origin_may_say() -> None:
    mesh = Mesh(2, [(0, 1)])
    for _ in range(2000):
        mesh.gossip.publish(0, b"again")
    mesh.play(1.0)
    assert mesh.gossip.refused[0] == 2000 - going.ORIGIN_BURST
    mesh.play(2.0)
    mesh.gossip.publish(0, b"later")
    mesh.play(1.0)
    assert mesh.ends[1].heard[-1] == b"later"
