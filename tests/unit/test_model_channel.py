"""Channels as values: their names, what moves make of them, and that whoever knows the same agrees."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.model.channel import (
    MAX_CANARIES,
    MAX_GENERATION,
    Channel,
    Move,
    Trial,
    Version,
    canaries,
    ended,
    is_channel,
    placed,
    returned,
    strength,
    tried,
)
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.schedule.channels import Channels, Said

YARD = "yard:stable"
A, B, C = (Version(ModelDigest(digit * 64), f"yard@{digit}") for digit in "123")
PEERS = [PeerId(name) for name in ("alice", "bob", "carol")]
TRIAL = Trial(B, (PEERS[0],), 100, 60.0)
SAID: dict[str, Any] = {"why": "w", "stated": 0.0}


@pytest.mark.parametrize(
    ("reference", "yes"),
    [
        ("yard-detector:stable", True),
        ("a:b", True),
        ("sha256:" + "a" * 12, False),
        ("yard", False),
        ("yard@2", False),
        ("yard:", False),
        (":stable", False),
        ("Yard:stable", False),
        ("yard:stable\n", False),
        ("a:b:c", False),
        ("a" * 64 + ":stable", True),
        ("a" * 65 + ":stable", False),
    ],
)
def test_what_names_a_channel(reference: str, yes: bool) -> None:
    assert is_channel(reference) is yes


def test_what_moves_make_of_it() -> None:
    first = placed(None, YARD, A, **SAID)
    assert (first.generation, first.stable, first.before, first.trying) == (1, A, None, None)
    trying = tried(first, TRIAL, **SAID)
    assert (trying.generation, trying.stable, trying.trying) == (2, A, TRIAL)
    good, bad, few = (ended(trying, move, **SAID) for move in ("promote", "rollback", "lapse"))
    assert (good.generation, good.stable, good.before, good.trying, good.trial) == (3, B, A, None, TRIAL)
    assert {(end.generation, end.stable, end.before, end.trying) for end in (bad, few)} == {(3, A, None, None)}
    back = returned(good, **SAID)
    assert (back.generation, back.stable, back.before, back.trial) == (4, A, B, None)
    with pytest.raises(ValueError, match="no roll-out"):
        ended(good, "promote", **SAID)
    with pytest.raises(ValueError, match="nothing else before"):
        returned(first, **SAID)
    assert placed(Channel(YARD, MAX_GENERATION, "set", A), YARD, B, **SAID).generation == MAX_GENERATION


@given(st.integers(1, 999), st.integers(1, 300))
def test_a_share_is_at_least_one_peer_and_no_more_than_it_says(permille: int, count: int) -> None:
    peers = [PeerId(f"peer{n}") for n in range(count)]
    chosen = canaries(YARD, B.model, permille, peers)
    assert 1 <= len(chosen) <= MAX_CANARIES
    assert len(chosen) == len(set(chosen)) == min(MAX_CANARIES, -(-count * permille // 1000))
    assert set(canaries(YARD, B.model, permille, peers[::-1])) == set(chosen), "in whatever order they are known"


def test_other_candidates_are_tried_elsewhere() -> None:
    peers = [PeerId(f"peer{n}") for n in range(100)]
    assert canaries(YARD, B.model, 100, peers) != canaries(YARD, C.model, 100, peers)


moves: st.SearchStrategy[Move] = st.sampled_from(["try", "lapse", "promote", "set", "rollback"])
states = st.builds(
    Channel,
    name=st.just(YARD),
    generation=st.integers(1, 3),
    move=moves,
    stable=st.sampled_from([A, B]),
    trial=st.sampled_from([TRIAL, None]),
)
claims = st.lists(st.tuples(st.sampled_from(PEERS), states), min_size=1, max_size=6, unique_by=lambda claim: claim[0])


def leads(said: Any) -> Said:
    known = Channels()
    for origin, state in said:
        known.heard(origin, state, 0.0)
    found = known.get(YARD)
    assert found is not None
    return found


@given(claims)
def test_all_who_know_the_same_agree(said: list[tuple[PeerId, Channel]]) -> None:
    """Commutative and idempotent: any order, any of them twice. Associative: what leads among some, with the rest."""
    first = leads(said)
    for order in itertools.islice(itertools.permutations(said), 24):
        assert leads(order) == first
    assert leads(said + said) == first
    for cut in range(1, len(said)):
        some = leads(said[:cut])
        assert leads([(some.origin, some.state), *said[cut:]]).state == first.state


@given(claims)
def test_the_strongest_counts(said: list[tuple[PeerId, Channel]]) -> None:
    found = leads(said)
    assert (found.origin, found.state) == max(said, key=lambda claim: strength(*claim))
    assert found.state.generation == max(state.generation for _, state in said)


@given(st.lists(st.tuples(st.sampled_from(PEERS), st.one_of(st.none(), states)), max_size=12))
def test_no_channel_goes_back_whoever_is_forgotten_or_loses_its_store(
    said: list[tuple[PeerId, Channel | None]],
) -> None:
    """None: the peer is forgotten. What counts is always what somebody says, or is to be said again."""
    known, live, best = Channels(), dict[PeerId, Channel](), 0
    for origin, state in said:
        if state is None:
            known.forget(origin)
            live.pop(origin, None)
        else:
            known.heard(origin, state, 0.0)
            live[origin] = state
        if (leads := known.get(YARD)) is not None:
            assert leads.state.generation >= best
            best = leads.state.generation
            orphans = [orphan.state for orphan in known.orphans()]
            assert (leads.state in live.values()) != (leads.state in orphans)
            assert known.busy == bool(orphans or leads.state.trying)
            assert all(strength(*claim) <= strength(leads.origin, leads.state) for claim in live.items())


def test_of_one_generation_the_safe_one_counts_whoever_says_it() -> None:
    trying = tried(placed(None, YARD, A, **SAID), TRIAL, **SAID)
    order: list[Move] = ["rollback", "promote", "lapse"]
    for (strong, weak), (one, other) in itertools.product(
        itertools.combinations(order, 2), itertools.permutations(PEERS[:2])
    ):
        said = [(one, ended(trying, strong, **SAID)), (other, ended(trying, weak, **SAID))]
        assert leads(said).state.move == strong


def test_what_nobody_says_any_more_counts_until_somebody_does() -> None:
    alice, bob, _ = PEERS
    known, now = Channels(), placed(placed(None, YARD, A, **SAID), YARD, B, **SAID)
    known.heard(bob, placed(None, YARD, A, **SAID), 1.0)
    known.heard(alice, now, 2.0)
    assert not known.busy
    known.forget(alice)
    assert known.busy
    assert [said.state for said in known.orphans()] == [now]
    assert (said := known.get(YARD)) is not None
    assert said.state == now
    known.heard(bob, now, 3.0)
    assert not known.busy
    assert known.orphans() == []
    assert (said := known.get(YARD)) is not None
    assert said == Said(bob, now, 2.0), "as old as it was"


def test_a_peer_that_lost_its_store_takes_nothing_back() -> None:
    known, alice = Channels(), PEERS[0]
    second = placed(placed(None, YARD, A, **SAID), YARD, B, **SAID)
    known.heard(alice, second, 1.0)
    known.heard(alice, placed(None, YARD, C, **SAID), 2.0)
    assert (said := known.get(YARD)) is not None
    assert said.state == second
    third = placed(second, YARD, C, **SAID)
    known.heard(alice, third, 3.0)
    assert known.orphans() == []


def test_its_age_is_that_of_whoever_said_it_first() -> None:
    known, state = Channels(), placed(None, YARD, A, **SAID)
    known.heard(PEERS[0], state, 5.0)
    known.heard(PEERS[1], state, 50.0)
    assert (said := known.get(YARD)) is not None
    assert (said.origin, said.born) == (PEERS[1], 5.0)
