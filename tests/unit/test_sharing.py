"""Who is taken for a holder of the same footage, and in which order."""

from __future__ import annotations

import pytest

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.ids import ContentId, PeerId, hash_of
from meshinfer.node.sharing import AT_A_TIME, Sharing, compare
from meshinfer.schedule.sketch import sketch
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import CatalogChanged, Heard
from tests.property.strategies import PEERS
from tests.shell.support import entry

ME, BOB, CAROL, *_ = (identity.peer_id for identity in PEERS)


def contents(start: int, stop: int) -> list[ContentId]:
    return [ContentId(hash_of(b"%d" % n)) for n in range(start, stop)]


@pytest.mark.parametrize(
    ("ours", "theirs", "shared"),
    [
        ((0, 4), (0, 4), True),
        ((0, 4), (3, 7), True),
        ((0, 4), (4, 400), False),
        ((0, 3000), (3000, 9000), False),  # a thousand looked up: eight false hits are no evidence
        ((0, 3000), (2500, 9000), True),
        ((0, 0), (0, 9), False),
    ],
)
def test_who_shares_some(ours: tuple[int, int], theirs: tuple[int, int], shared: bool) -> None:
    found = compare(contents(*ours), [(BOB, (sketch(contents(*theirs)),)), (CAROL, ())])
    assert found[CAROL] == 0
    assert (found[BOB] > 0) == shared


def source(*names: str) -> SourceSummary:
    held = [entry(name).content for name in names]
    return SourceSummary("cam", ("video",), {}, len(names), 0, 0, 0.0, digest="-".join(names)[:32], sketch=sketch(held))


def test_each_is_compared_once_and_again_when_something_changed() -> None:
    state = ScheduleState(ME)
    sharing = Sharing(state)
    state.handle(CatalogChanged((entry("film"),)), 0.0)
    for peer, names in ((ME, ("film",)), (BOB, ("film", "other")), (CAROL, ("third",))):
        state.handle(Heard(peer, source(*names), 0.0), 0.0)

    def look() -> list[PeerId]:
        stale = sharing.stale()
        sharing.note(compare(sharing.contents(), stale))
        return sorted(peer for peer, _ in stale)

    assert look() == sorted([BOB, CAROL])
    assert sharing.ranked() == (BOB,)
    assert look() == []
    state.handle(Heard(CAROL, source("third", "film"), 0.0), 0.0)
    assert look() == [CAROL]
    assert set(sharing.ranked()) == {BOB, CAROL}
    state.handle(Heard(ME, source("new"), 0.0), 0.0)
    state.handle(CatalogChanged((entry("new"),), ((entry("film").source, "film"),)), 0.0)
    assert look() == sorted([BOB, CAROL])
    assert sharing.ranked() == ()


def test_a_pair_draws_the_same_lot_at_both_ends_and_others_another() -> None:
    """Were the order the same everywhere, all that share would want the same few: a star."""
    crowd = [PeerId(f"p{n}") for n in range(200)]

    def first(me: PeerId, count: int) -> tuple[PeerId, ...]:
        sharing = Sharing(ScheduleState(me))
        sharing.note({peer: 5 for peer in crowd if peer != me})
        return sharing.ranked()[:count]

    wanted = {peer: first(peer, 8) for peer in crowd}
    asked = [sum(peer in others for others in wanted.values()) for peer in crowd]
    assert max(asked) <= 20
    both = sum(peer in wanted[other] for peer, others in wanted.items() for other in others)
    assert both > 0.5 * sum(map(len, wanted.values()))


def test_who_shares_most_comes_first() -> None:
    sharing = Sharing(ScheduleState(ME))
    sharing.note({BOB: 3, CAROL: 500})
    assert sharing.ranked() == (CAROL, BOB)


def test_only_a_few_are_compared_at_a_time() -> None:
    state = ScheduleState(ME)
    sharing = Sharing(state)
    for n in range(100):
        state.sources[PeerId(f"p{n}")] = {"cam": source("film")}
    counts = [len(sharing.stale()) for _ in range(5)]
    assert counts == [AT_A_TIME] * 3 + [100 - 3 * AT_A_TIME, 0]
