"""The graph that peers make who each look only at their own links: connected, narrow, and without a centre."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshinfer.model.ids import PeerId
from meshinfer.node.wiring import AIM, ALONE, FAIL_AFTER, FAR, HIGH, LOW, REWIRE, SHARING, Seen, Wiring
from tests.property.overlay_world import Overlay

SPREAD = HIGH + 4
"""Links that nobody has more of for long: those that came since it last let one go."""


def joined(seed: int, count: int, *, at_once: int) -> tuple[Overlay, PeerId]:
    """`count` peers that all come by the same door, so many a second."""
    overlay = Overlay(seed)
    door = overlay.join("p0000")
    for n in range(1, count):
        overlay.join(f"p{n:04}", door)
        if n % at_once == 0:
            overlay.run(1)
    return overlay, door


@pytest.mark.parametrize(("count", "at_once", "hops"), [(24, 24, 3), (100, 3, 4), (400, 40, 6)])
def test_many_that_come_by_one_door(count: int, at_once: int, hops: int) -> None:
    overlay, door = joined(1, count, at_once=at_once)
    overlay.run(120)
    degrees = overlay.degrees()
    assert len(overlay.parts()) == 1
    assert degrees[0] >= LOW
    assert degrees[-1] <= SPREAD, "nobody is a centre, the door neither"
    assert overlay.diameter() <= hops
    assert len(overlay.graph[door]) <= SPREAD


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(30, 120), at_once=st.integers(1, 60))
def test_a_third_dies_at_once_and_the_first_with_it(seed: int, count: int, at_once: int) -> None:
    overlay, door = joined(seed, count, at_once=at_once)
    overlay.run(60)
    others = sorted(overlay.graph.keys() - {door})
    overlay.kill([door, *overlay.dice.sample(others, count * 3 // 10)])
    overlay.run(45)
    assert len(overlay.parts()) == 1
    assert overlay.degrees()[0] >= LOW - 1
    assert overlay.degrees()[-1] <= SPREAD


def test_a_thousand_after_the_death_of_three_hundred() -> None:
    overlay, door = joined(3, 1000, at_once=50)
    overlay.run(45)
    overlay.kill([door, *overlay.dice.sample(sorted(overlay.graph.keys() - {door}), 300)])
    assert len(overlay.parts()[-1]) >= 695, "even before anybody does anything about it nearly all hang together"
    overlay.run(60)
    assert len(overlay.parts()) == 1
    assert overlay.degrees()[0] >= LOW - 1
    assert overlay.diameter(5) <= 6


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(8, 80))
def test_a_partition_heals(seed: int, count: int) -> None:
    """Both halves mended themselves meanwhile, so nobody lacks a link when the network is whole again."""
    overlay, _ = joined(seed, count, at_once=10)
    overlay.run(60)
    overlay.cut(lambda a, b: (a < f"p{count // 2:04}") == (b < f"p{count // 2:04}"))
    overlay.run(600)
    assert len(overlay.parts()) == 2
    overlay.cut(lambda a, b: True)
    overlay.run(5)
    assert len(overlay.parts()) == 1


def test_a_graph_at_rest_hardly_moves() -> None:
    overlay, _ = joined(4, 60, at_once=10)
    overlay.run(120)
    made = overlay.made
    overlay.run(600)
    assert overlay.made - made <= 60 * 1.5 * 600 / REWIRE
    assert overlay.degrees()[-1] <= SPREAD


def test_it_becomes_random_however_it_began() -> None:
    """A ring in which everybody knows eight to its sides: hops across it fall to those of a random graph."""
    overlay = Overlay(5)
    peers = [overlay.join(f"p{n:04}") for n in range(200)]
    for at, peer in enumerate(peers):
        for step in (1, 2, 3, 4):
            other = peers[(at + step) % len(peers)]
            overlay.graph[peer].add(other)
            overlay.graph[other].add(peer)
    assert overlay.diameter() == 25
    overlay.run(int(3 * REWIRE))
    assert overlay.diameter() <= 7
    assert overlay.degrees()[-1] <= SPREAD


def test_peers_that_only_dial_out_hang_on_several_others() -> None:
    overlay, door = joined(6, 20, at_once=5)
    behind = [overlay.join(f"q{n}", door, dials_only=True) for n in range(20)]
    overlay.run(120)
    assert len(overlay.parts()) == 1
    for peer in behind:
        assert len(overlay.graph[peer]) >= LOW
        assert not overlay.graph[peer] & set(behind)


def test_those_with_the_same_footage_are_linked_besides() -> None:
    overlay, _ = joined(7, 100, at_once=20)
    group = sorted(overlay.graph)[:5]
    for peer in group:
        overlay.sharing[peer] = tuple(other for other in group if other != peer)
    overlay.run(60)
    for peer in group:
        assert set(group) - {peer} <= overlay.graph[peer]
        assert len(overlay.graph[peer] - set(group)) >= LOW, "a clique of its own would be cut off by its own end"


# ---- one peer --------------------------------------------------------------------------------------------------------


def names(letter: str, count: int) -> list[PeerId]:
    return [PeerId(f"{letter}{n:03}") for n in range(count)]


def seen(linked: list[PeerId], known: list[PeerId], sharing: list[PeerId] | None = None, **unreached: float) -> Seen:
    return Seen(frozenset(linked), sharing or [], frozenset(known), {PeerId(k): v for k, v in unreached.items()})


def test_all_are_dialed_where_there_are_few() -> None:
    wiring, known = Wiring(random.Random(0)), names("a", 5)
    for now in range(0, 1000, 5):
        assert wiring.plan(seen([], known, **{p: float(now) for p in known}), float(now)).dial == set(known)
    assert wiring.lacks(frozenset(known[:5]))


def test_who_does_not_answer_makes_room_for_others_and_is_tried_again() -> None:
    wiring, known = Wiring(random.Random(0)), names("a", 60)
    linked, tried, now = known[:1], set[PeerId](), 0.0
    since: dict[PeerId, float] = {}
    while now < 12 * FAIL_AFTER:
        plan = wiring.plan(seen(linked, known, **{p: now - at for p, at in since.items()}), now)
        since = {p: since.get(p, now) for p in plan.dial}
        assert len(plan.dial) <= AIM + FAR + 1
        tried |= plan.dial
        now += 2.0
    assert tried >= set(known) - set(linked)


def test_only_so_many_are_dialed_by_who_is_alone() -> None:
    plan = Wiring(random.Random(0)).plan(seen([], names("a", 500)), 0.0)
    assert LOW < len(plan.dial) <= ALONE + FAR


def test_of_many_that_share_footage_a_few_are_wanted() -> None:
    wiring = Wiring(random.Random(0))
    crowd, linked = names("s", 100), names("a", LOW)
    plan = wiring.plan(seen(linked, linked + crowd, crowd), 0.0)
    assert set(crowd[:SHARING]) == plan.dial
    dead = dict.fromkeys(crowd[:SHARING], 2 * FAIL_AFTER)
    plan = wiring.plan(seen(linked, linked + crowd, crowd, **dead), 2 * FAIL_AFTER)
    assert set(crowd[SHARING : 2 * SHARING]) <= plan.dial, "those that do not answer give way"


def test_a_lost_link_is_dialed_again_whoever_made_it() -> None:
    wiring, linked = Wiring(random.Random(0)), names("a", HIGH)
    wiring.plan(seen(linked, linked), 0.0)
    plan = wiring.plan(seen(linked[1:], linked), 5.0)
    assert plan.dial == {linked[0]}


def test_a_link_is_given_up_only_where_it_can_be_spared() -> None:
    wiring, linked = Wiring(random.Random(0)), names("a", HIGH)
    sharing = names("s", 2)
    wiring.plan(seen(linked + sharing, linked + sharing, sharing), 0.0)
    assert not wiring.may_go(sharing[0], 20, frozenset(linked + sharing))
    assert wiring.may_go(linked[0], 20, frozenset(linked + sharing))
    assert not wiring.may_go(linked[0], 20, frozenset(linked[:LOW] + sharing))
    assert wiring.may_go(PeerId("stranger"), 20, frozenset(linked[:LOW]))


def test_links_in_use_stay_and_are_not_counted() -> None:
    wiring, linked = Wiring(random.Random(0)), names("a", 20)
    needed = frozenset(linked[:15])
    for now in range(100):
        plan = wiring.plan(seen(linked, linked)._replace(needed=needed), float(now))
        assert not plan.ask
    assert not wiring.may_go(linked[0], 30, frozenset(linked))
    assert wiring.plan(seen(linked, linked), 100.0).ask, "until they are not any more"


def test_who_is_asked_by_one_that_is_crowded_looks_for_another_first() -> None:
    wiring, linked, known = Wiring(random.Random(0)), names("a", LOW), names("a", 50)
    assert not wiring.plan(seen(linked, known), 0.0).dial
    assert not wiring.may_go(linked[0], 10, frozenset(linked))
    assert not wiring.plan(seen(linked, known), 1.0).dial
    assert not wiring.may_go(linked[0], 200, frozenset(linked))
    (other,) = wiring.plan(seen(linked, known), 2.0).dial
    assert other not in linked
    assert wiring.may_go(linked[0], 200, frozenset([*linked, other]))


def test_nobody_is_asked_all_the_time_to_leave() -> None:
    """A hub of peers that have no other: it asks each, then less and less often."""
    wiring, linked = Wiring(random.Random(0)), names("a", 12)
    asked: list[tuple[PeerId, int]] = []
    for now in range(3600):
        for peer in wiring.plan(seen(linked, linked), float(now)).ask:
            wiring.refused(peer)
            asked.append((peer, now))
    assert len({peer for peer, _ in asked[:12]}) == 12
    assert len([at for _, at in asked if at > 1800]) <= (1800 / 600 + 1) * 12


def test_a_guest_dials_little_and_leaves_the_graph_alone() -> None:
    wiring, known = Wiring(random.Random(0), guest=True), names("a", 50)
    assert len(wiring.plan(seen(known[:1], known), 0.0).dial) < AIM
    assert not wiring.plan(seen(known[:20], known), 10 * REWIRE).ask
    assert not wiring.plan(seen(known[:20], known), 20 * REWIRE).dial - set(known[:20])
