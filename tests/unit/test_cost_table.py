"""The sizes in docs/COST.md are those of the wire."""

from __future__ import annotations

from tests.golden import costs


def test_the_documented_sizes_are_the_real_ones() -> None:
    text = costs.DOC.read_text()
    assert costs.with_table(text) == text, "run: python -m tests.golden.costs"
