"""Fetched models within their budget: who goes, who stays, and what is removed on request."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshinfer.detect.shelf import Shelf
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest
from tests.unit.shelves import BOB, a_shelf, model, offered

SIZE = 3631
"""Bytes of each of these models, about."""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return a_shelf(tmp_path / "models", signers=(BOB.peer_id,), budget=4 * SIZE)


def fetch(shelf: Shelf, tmp_path: Path, name: str, *box: float) -> ModelDigest:
    digest, vouched = offered(tmp_path, file := model(tmp_path / "in", name, *box), BOB)
    shelf.take_in(file, vouched)
    # Uses in this order, whatever the clock's resolution.
    count = len(shelf.list())
    os.utime(shelf.path(digest), ns=(count, count))
    return digest


def names(shelf: Shelf) -> list[str]:
    return [card.name for card in shelf.list()]


def test_the_least_recently_used_go_first(shelf: Shelf, tmp_path: Path) -> None:
    a, *_ = [fetch(shelf, tmp_path, name, i, i, 5, 5) for i, name in enumerate("abc", 1)]
    size = shelf.held(a).card.bytes
    assert 3 * size <= 4 * SIZE < 4 * size + SIZE, "the budget holds three of them, and not five"
    shelf.make_room(4 * SIZE - 3 * size)
    assert names(shelf) == ["a", "b", "c"], "nothing goes before it must"
    shelf.get(a)
    shelf.make_room(4 * SIZE - 2 * size)
    assert names(shelf) == ["a", "c"]
    shelf.make_room(4 * SIZE)
    assert names(shelf) == []


def test_pinned_used_and_own_models_stay(shelf: Shelf, tmp_path: Path) -> None:
    a, b, c = (fetch(shelf, tmp_path, name, i, i, 5, 5) for i, name in enumerate("abc", 1))
    shelf.add(model(tmp_path / "own", "mine"))
    shelf.pin(a)
    size = shelf.held(a).card.bytes
    with pytest.raises(ModelError, match=r"no room .*budget_mb .*unpin"):
        shelf.make_room(3 * SIZE, spare={b})
    assert names(shelf) == ["a", "b", "c", "mine"], "where it is not enough nothing goes"
    shelf.make_room(4 * SIZE - 2 * size, spare={b})
    assert names(shelf) == ["a", "b", "mine"]
    later = a_shelf(tmp_path / "models", signers=(BOB.peer_id,), budget=4 * SIZE)
    assert later.held(a).pinned
    later.pin(a, pinned=False)
    later.make_room(4 * SIZE)
    assert names(later) == ["mine"]
    assert not later.holds(c)


def test_what_is_removed_is_gone(shelf: Shelf, tmp_path: Path) -> None:
    digest = shelf.add(model(tmp_path / "own", "mine", sidecar='licence = "MIT"\n')).digest
    shelf.get(digest)
    shelf.remove(digest)
    assert list((tmp_path / "models").iterdir()) == []
    with pytest.raises(ModelError, match="no model"):
        shelf.get(digest)
    with pytest.raises(ModelError, match="no model"):
        shelf.remove(digest)
