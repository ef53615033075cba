"""Suppression, against the definition: walk down the scores, keep what overlaps no better one of its class too much."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from meshinfer.detect.layouts.layout import Candidates
from meshinfer.detect.suppress import MAX_CANDIDATES, suppress
from tests.vision.reference import overlap


def candidates(rows: list[tuple[int, int, int, int, float, int]]) -> Candidates:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _, _ in rows], np.float32).reshape(-1, 4)
    return Candidates(boxes, np.array([r[4] for r in rows], np.float32), np.array([r[5] for r in rows], np.int64))


SIDE = st.integers(1, 40)
ROWS = st.lists(
    st.tuples(SIDE, SIDE, SIDE, SIDE, st.floats(0.0625, 1, width=32), st.integers(0, 2)),
    max_size=30,
    unique_by=lambda r: r[4],
)


@settings(deadline=None)
@given(ROWS, st.sampled_from([0.3001, 0.4999, 0.6501]))  # no ratio of small integers is that near to these
def test_it_is_the_definition(rows: list[tuple[int, int, int, int, float, int]], iou: float) -> None:
    given_ = candidates(rows)
    kept: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: -given_.scores[i]):
        others = [k for k in kept if rows[k][5] == rows[i][5]]
        if all(overlap(tuple(given_.boxes[k]), tuple(given_.boxes[i])) <= iou for k in others):
            kept.append(i)
    expected = given_.take(np.array(kept, int))
    result = suppress(given_, iou, 300)
    assert result.boxes.tolist() == expected.boxes.tolist()
    assert result.labels.tolist() == expected.labels.tolist()


def test_the_best_stay_within_the_limit() -> None:
    many = candidates([(50 * i, 0, 10, 10, 0.1 + i / 10_000, 0) for i in range(2 * MAX_CANDIDATES)])
    kept = suppress(many, 0.5, 7)
    assert kept.scores.tolist() == sorted(many.scores.tolist(), reverse=True)[:7]


def test_equal_scores_keep_their_order() -> None:
    same = candidates([(50 * i, 0, 10, 10, 0.5, i % 3) for i in range(20)])
    assert suppress(same, 0.5, 300).boxes.tolist() == same.boxes.tolist()
