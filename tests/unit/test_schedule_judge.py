"""What is made of a roll-out's evidence: bad at once, good in time, and back where in doubt."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Any

import pytest

from meshinfer.model.ids import PeerId
from meshinfer.schedule.evidence import Evidence
from meshinfer.schedule.judge import MIN_FRAMES, drift, judge, tail
from meshinfer.schedule.tally import Tally

ALICE, BOB = PeerId("alice"), PeerId("bob")
SCORES = (0, 0, 10, 50, 80, 120, 90, 50)
LOWER = (0, 0, 130, 120, 90, 40, 15, 5)


def tally(**changes: Any) -> Tally:
    """40 tasks as they should be."""
    known: dict[str, Any] = {"tasks": 40, "frames": 1000, "detections": 400, "seconds": 100.0, "scores": SCORES}
    return Tally(**{**known, **changes})


GOOD = tally()
NONE = Tally()


def verdict(tried: Tally, rest: Tally = GOOD, before: Tally = GOOD, *, over: bool = True) -> tuple[str, str]:
    found = judge(Evidence({ALICE: tried}, {ALICE: before} if before.tasks else {}, rest), over=over)
    return found.verdict, found.why


def test_as_good_as_before() -> None:
    assert verdict(GOOD)[0] == "promote"
    assert verdict(GOOD, over=False)[0] == "wait"
    figures = "0 of 40 tasks failed against 0 of 80, 0.40 detections a frame against 0.40, mean score 0.68 against 0.68"
    assert figures in verdict(GOOD)[1]


@pytest.mark.parametrize(
    ("tried", "why"),
    [
        (tally(errors=8), "8 of 40 tasks failed with it, against 0 of 80"),
        (tally(detections=0, scores=(0,) * 8), "it finds 0.00 objects a frame, against 0.40 there earlier"),
        (tally(detections=900), "it finds 0.90 objects a frame"),
        (tally(scores=LOWER), "its scores have drifted by"),
    ],
)
def test_what_is_bad_goes_back_at_once(tried: Tally, why: str) -> None:
    assert verdict(tried, over=False)[0] == "rollback"
    assert why in verdict(tried, over=False)[1]


def test_what_is_slow_goes_back_at_the_end() -> None:
    slow = tally(seconds=250.0)
    assert verdict(slow, over=False)[0] == "wait"
    assert verdict(slow) == ("rollback", "it is slow: 4.0 frames/s, against 10.0 there earlier")
    assert verdict(slow, before=NONE)[0] == "promote", "of another machine's speed nothing follows"


@pytest.mark.parametrize(
    "tried",
    [
        tally(errors=2),
        tally(detections=250),
        tally(detections=700),
        tally(seconds=180.0),
        tally(scores=tuple(n + 10 for n in SCORES)),
        tally(scores=(0, 0, 0, 20, 0, 0, 0, 0), detections=400),
    ],
)
def test_what_may_be_chance_is_let_through(tried: Tally) -> None:
    assert verdict(tried)[0] == "promote"


def test_errors_count_against_those_of_the_others() -> None:
    assert verdict(tally(errors=8), rest=tally(errors=8), before=tally(errors=8))[0] == "promote"
    assert verdict(tally(errors=3, tasks=3), rest=tally(tasks=2), before=NONE)[0] == "promote", (
        "three of three, and few"
    )
    assert verdict(tally(errors=3, tasks=3), rest=tally(tasks=4), before=NONE)[0] == "rollback"
    assert verdict(tally(errors=5), rest=NONE, before=NONE, over=False)[0] == "rollback"
    assert verdict(tally(errors=3), rest=NONE, before=NONE, over=False)[0] == "wait"


def test_other_peers_see_other_things() -> None:
    """Three times as much is a lot beside what the same peer saw earlier, and nothing beside what others see."""
    more = tally(detections=1200)
    assert verdict(more)[0] == "rollback"
    assert verdict(more, before=NONE)[0] == "promote"
    assert verdict(tally(detections=1700), before=NONE)[0] == "rollback"
    assert "at the others" in verdict(tally(detections=1700), before=NONE)[1]


def test_too_little_or_nothing_to_compare_with_goes_back() -> None:
    few = tally(frames=MIN_FRAMES - 1)
    assert verdict(few) == ("lapse", "too little was seen: 99 frames in 40 tasks on 1 peer, of at least 100 frames")
    assert verdict(GOOD, rest=NONE, before=NONE)[0] == "lapse"
    assert "nothing to compare with" in verdict(GOOD, rest=NONE, before=NONE)[1]
    assert judge(Evidence({}, {}, GOOD, absent=7), over=True).why.endswith("; 7 tasks found no candidate at their peer")
    assert judge(Evidence({}, {}, NONE), over=False).verdict == "wait"


def test_one_bad_peer_of_many_is_enough() -> None:
    blind = tally(detections=0, scores=(0,) * 8)
    found = judge(Evidence({ALICE: GOOD, BOB: blind}, {ALICE: GOOD, BOB: GOOD}, GOOD), over=False)
    assert found.verdict == "rollback"


def test_the_chance_of_so_many_errors_is_counted_out() -> None:
    for tasks, errors, others, other_errors in [(3, 3, 4, 0), (3, 2, 4, 1), (4, 1, 3, 3), (2, 0, 5, 1)]:
        everything, bad = range(tasks + others), errors + other_errors
        ways = [sum(task < tasks for task in chosen) for chosen in combinations(everything, bad)]
        exact = Fraction(sum(count >= errors for count in ways), len(ways))
        assert tail(errors, tasks, other_errors, others) == pytest.approx(float(exact))
    assert tail(3, 3, 0, 3) == pytest.approx(1 / 20)
    ways = sum(comb(42, k) * comb(958, 100 - k) for k in range(12, 43))
    assert tail(12, 100, 30, 900) == pytest.approx(ways / comb(1000, 100))
    assert tail(900, 10_000, 5000, 90_000) < 1e-6, "of so many, and at once"


def test_drift_is_nothing_between_equals_and_grows_with_distance() -> None:
    assert drift(SCORES, SCORES) == 0
    assert drift(SCORES, tuple(2 * n for n in SCORES)) == pytest.approx(0)
    assert drift(SCORES, (0,) * 8) == 0, "nothing is known of it"
    near = (0, 10, 50, 80, 120, 90, 50, 0)
    assert 0.1 < drift(SCORES, near) < drift(SCORES, LOWER) == pytest.approx(drift(LOWER, SCORES))
