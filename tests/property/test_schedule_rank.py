"""Rendezvous hashing and the sketch: the statistics that the rest relies on."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from meshinfer.model.ids import ContentId, PeerId, TaskId, hash_of
from meshinfer.schedule.rank import ranked
from meshinfer.schedule.sketch import MAX_BYTES, may_hold, sketch

IDS = [hash_of(str(i).encode()) for i in range(20_000)]
TASKS = [TaskId(i) for i in IDS[:4000]]
peers = st.lists(st.sampled_from([PeerId(f"p{i}") for i in range(8)]), unique=True, min_size=1)


@given(peers, st.sampled_from(TASKS), st.randoms(use_true_random=False), st.integers(1, 64))
def test_the_order_depends_on_no_order(candidates: list[PeerId], task: TaskId, rng: object, cores: int) -> None:
    weights = {candidates[0]: cores}
    assert ranked(task, candidates, weights) == ranked(task, sorted(candidates), weights)
    assert sorted(ranked(task, candidates, weights)) == sorted(candidates)


@given(peers, st.sampled_from(TASKS), st.data())
def test_when_a_peer_goes_only_its_tasks_move(candidates: list[PeerId], task: TaskId, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(candidates))
    before = ranked(task, candidates, {})
    assert ranked(task, [p for p in candidates if p != gone], {}) == [p for p in before if p != gone]


def test_shares_follow_the_weights() -> None:
    """Within three standard deviations over 4000 tasks (sqrt(4000 p (1 - p)) < 32)."""
    weights = {PeerId("small"): 1, PeerId("middle"): 2, PeerId("large"): 5}
    first = Counter(ranked(task, weights, weights)[0] for task in TASKS)
    for peer, weight in weights.items():
        assert abs(first[peer] - 4000 * weight / 8) < 3 * 32


def test_a_weight_of_nothing_is_one() -> None:
    assert [ranked(t, [PeerId("a"), PeerId("b")], {PeerId("a"): 0}) for t in TASKS[:50]] == [
        ranked(t, [PeerId("a"), PeerId("b")], {}) for t in TASKS[:50]
    ]


@given(st.sets(st.sampled_from(IDS), max_size=200))
def test_a_sketch_never_denies_what_it_holds(ids: set[str]) -> None:
    contents = [ContentId(i) for i in ids]
    bits = sketch(contents)
    assert all(may_hold(bits, content) for content in contents)
    assert bits == sketch(reversed(contents))


def test_a_sketch_is_seldom_wrong() -> None:
    """0.8 % by theory at 10 bits an item; at most 2 % is asked here."""
    held, others = [ContentId(i) for i in IDS[:5000]], [ContentId(i) for i in IDS[5000:]]
    bits = sketch(held)
    assert len(bits) == 5000 * 10 // 8
    assert sum(may_hold(bits, content) for content in others) / len(others) < 0.02


def test_a_sketch_is_bounded_and_may_be_empty() -> None:
    assert len(sketch(map(ContentId, IDS))) == MAX_BYTES
    assert sketch([]) == b""
    assert not may_hold(b"", ContentId(IDS[0]))
