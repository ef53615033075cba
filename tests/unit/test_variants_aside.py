"""A child may answer, refuse, crash, hang or eat memory: its parent learns of it in words, and it is always gone."""

from __future__ import annotations

import os
import sys

import pytest

from meshinfer.detect.variants.aside import ask
from meshinfer.errors import ModelError

CHILD = "tests.unit.aside_child"
PATIENCE = 60.0


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_answers_and_tells_how_far_it_is() -> None:
    steps: list[tuple[str, float]] = []
    answer = ask(CHILD, "work", dict[str, int], timeout=PATIENCE, tell=lambda step, done: steps.append((step, done)))
    assert steps == [("half", 0.5)]
    assert answer["child"] != os.getpid()
    assert not is_there(answer["child"])


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ("refuse", "^not this one$"),
        ("crash", "was ended by SIGSEGV"),
        ("fail", "ended with exit code 1: ZeroDivisionError: a bug"),
        pytest.param(
            "eat",
            "needs more than the 1024 MB",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what is mapped"),
        ),
    ],
)
def test_what_went_wrong_is_said(wish: str, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        ask(CHILD, wish, dict[str, int], timeout=PATIENCE, memory_mb=1024)


def test_one_that_hangs_is_ended() -> None:
    said: list[str] = []
    with pytest.raises(ModelError, match="took longer than 2 s"):
        ask(CHILD, "hang", dict[str, int], timeout=2.0, tell=lambda step, done: said.append(step))
    assert not any(is_there(int(pid)) for pid in said)


def test_a_parent_that_is_interrupted_leaves_none_behind() -> None:
    said: list[str] = []

    def interrupt(step: str, done: float) -> None:
        said.append(step)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(CHILD, "hang", dict[str, int], timeout=PATIENCE, tell=interrupt)
    assert said
    assert not is_there(int(said[0]))
