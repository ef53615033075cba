"""Who is kept out, for how long, and who is not."""

from __future__ import annotations

import pytest

from meshinfer.mesh.offences import (
    FIRST,
    FLOOD,
    FORGIVEN_AFTER,
    HALF_LIFE,
    LIMIT,
    LONGEST,
    MAX_FILES,
    RELAYED,
    Offences,
)
from meshinfer.model.ids import PeerId

MALLORY, BOB = PeerId("mallory"), PeerId("bob")


def offend(offences: Offences, now: float, peer: PeerId = MALLORY, times: int = int(LIMIT)) -> bool:
    kept_out = [offences.note(peer, "garbage", now) for _ in range(times)]
    return any(kept_out)


def test_one_bad_frame_is_forgotten() -> None:
    offences = Offences()
    for hour in range(1000):
        assert not offences.note(MALLORY, "garbage", 3600.0 * hour)
    assert offences.left(MALLORY, 3.6e6) == 0


def test_one_a_minute_is_put_up_with_and_one_a_second_is_not() -> None:
    offences = Offences()
    assert not any(offences.note(BOB, "old version", 60.0 * n) for n in range(1000))
    assert any(offences.note(MALLORY, "garbage", float(n)) for n in range(20))


def test_a_persistent_offender_is_kept_out_twice_as_long_each_time_up_to_an_hour() -> None:
    offences, now, spans = Offences(), 1000.0, []
    for _ in range(9):
        assert offend(offences, now)
        spans.append(offences.left(MALLORY, now))
        now += spans[-1]
        assert offences.left(MALLORY, now - 0.1) > 0
        assert offences.left(MALLORY, now) == 0
        now += 1
    assert spans == [FIRST, 120, 240, 480, 960, 1920, LONGEST, LONGEST, LONGEST]
    now += FORGIVEN_AFTER + 1
    assert offend(offences, now)
    assert offences.left(MALLORY, now) == FIRST, "long ago counts no more"


def test_what_is_still_on_its_way_does_not_prolong_it() -> None:
    offences = Offences()
    assert offend(offences, 0.0)
    assert not offend(offences, 1.0, times=1000)
    assert offences.left(MALLORY, 1.0) == FIRST - 1
    assert not offences.note(MALLORY, "garbage", FIRST), "and it begins anew"


def test_it_is_told_why_and_how_often() -> None:
    offences = Offences()
    offend(offences, 0.0, times=9)
    offences.note(MALLORY, "x" * 1000, 0.0)
    (told,) = offences.kept_out(10.0).values()
    assert told == (FIRST - 10, "x" * 200, 10)
    assert not offences.kept_out(FIRST)


@pytest.mark.parametrize(("weight", "enough"), [(RELAYED, 100), (FLOOD, 1000), (LIMIT, 1)])
def test_what_an_honest_peer_may_do_weighs_little(weight: float, enough: int) -> None:
    offences = Offences()
    counted = [offences.note(MALLORY, "flood", 0.001 * n, weight) for n in range(int(1.1 * enough) + 2)]
    assert sum(counted) == 1
    assert enough <= counted.index(True) + 1 <= 1.02 * enough + 1


def test_the_score_halves_in_a_minute() -> None:
    offences = Offences()
    offend(offences, 0.0, times=8)
    assert not offend(offences, HALF_LIFE, times=5)
    assert offend(offences, HALF_LIFE, times=1)


def test_identities_cost_nothing_and_take_nothing() -> None:
    """Who is kept out stays in mind however many others come and go."""
    offences = Offences()
    assert offend(offences, 0.0)
    for n in range(10 * MAX_FILES):
        offences.note(PeerId(f"p{n}"), "garbage", 1.0)
    assert len(offences._files) <= MAX_FILES
    assert offences.left(MALLORY, 1.0) > 0
