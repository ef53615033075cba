"""Names that every peer computes alike."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from meshinfer.model.ids import ContentId, Job, PeerId, Task, digest_of, hash_of, span_of, task_id, unit_id, unit_of

CONTENT = ContentId("c" * 32)


def test_no_two_lists_of_parts_have_one_hash() -> None:
    """Parts are length-prefixed: moving a border, or adding an empty part, changes the hash."""
    lists = [
        parts
        for n in range(4)
        for parts in itertools.product(
            (b"", b"a", b"ab", b"b", b"\0", b"\0" * 8, (1).to_bytes(8, "big") + b"a"), repeat=n
        )
    ]
    assert len({hash_of(*parts, digits=64) for parts in lists}) == len(lists)


def test_the_hash_is_pinned() -> None:
    """It names tasks across the mesh: another one would be another protocol."""
    assert hash_of(b"job", b"", digits=64) == "dec53ca96b7613a328bddbff4cef66bdc36a949206cc75a90d4538a496d41df3"
    assert hash_of(b"job", b"") == hash_of(b"job", b"", digits=64)[:32]
    assert digest_of(["a", "b"]) == hash_of(b"a", b"b") != digest_of(["ab"])


def test_copies_are_one_task_for_once_and_one_each_for_every() -> None:
    alice, bob = PeerId("alice"), PeerId("bob")
    once = unit_id("work", CONTENT, 1, 0, owner=None)
    assert once == unit_id("work", CONTENT, 1, 0, owner=None)
    each = {once, unit_id("work", CONTENT, 1, 0, owner=alice), unit_id("work", CONTENT, 1, 0, owner=bob)}
    assert len(each) == 3
    assert unit_id("other work", CONTENT, 1, 0, owner=None) not in each
    assert unit_id("work", ContentId("d" * 32), 1, 0, owner=None) not in each
    assert unit_id("work", CONTENT, 2, 750, owner=None) not in each
    assert unit_id("work", CONTENT, 3, 750, owner=None) != unit_id("work", CONTENT, 2, 750, owner=None)


def test_a_task_names_its_unit_and_its_span() -> None:
    unit = unit_id("work", CONTENT, 300, 750, owner=None)
    task = task_id(unit, 258)
    assert task == f"{unit}00000102"
    assert (unit_of(task), span_of(task)) == (unit, 258)


@pytest.mark.parametrize("bad", ["", "0" * 15, "0" * 17, "0" * 16 + "\n", "G" * 16, "A" * 16, " " * 16])
def test_an_id_is_lower_case_hex_and_nothing_else(bad: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, Job)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad * 2, Task)
