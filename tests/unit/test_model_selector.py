"""Which footage a job is about."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from meshinfer.model.selector import Captured, Requirement, Selector, parse_requirement
from tests.unit.scheduling import entry

CAM = entry("2026-11/gate_01.mp4", labels={"site": "hamburg", "gps": "", "dotted.key/x-y_z": "v"}, captured=1000.0)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("site=hamburg", True),
        ("site == hamburg", True),
        ("  site =  hamburg  ", True),
        ("site=rotterdam", False),
        ("site=Hamburg", False),
        ("site!=rotterdam", True),
        ("site!=hamburg", False),
        ("nothing!=x", True),  # as in Kubernetes: what has no such label differs from every value
        ("nothing=x", False),
        ("site in (rotterdam, hamburg)", True),
        ("site in (rotterdam)", False),
        ("nothing in (a, b)", False),
        ("gps", True),
        ("gps=", True),
        ("nothing", False),
        ("dotted.key/x-y_z=v", True),
        ("site=a=b", False),
    ],
)
def test_a_label_requirement(text: str, holds: bool) -> None:
    assert parse_requirement(text).holds(CAM.labels) is holds


@pytest.mark.parametrize(
    "text", ["", "=x", "site in ()", "site in (a", "a b", "-x=1", "k" * 64 + "=1", "site>3", "site in a"]
)
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no label requirement"):
        parse_requirement(text)
    with pytest.raises(ValueError, match="is no label requirement"):
        Selector(labels=("site=a", text))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"labels": [text]}, Selector)


@pytest.mark.parametrize("text", ["site=hamburg", "site!=a", "site in (a, b)", "gps"])
def test_a_requirement_reads_back_as_it_is_shown(text: str) -> None:
    assert str(parse_requirement(text)) == text
    assert parse_requirement(str(parse_requirement(text))) == parse_requirement(text)


def test_requirements_are_values() -> None:
    assert parse_requirement("a==b") == Requirement("a", "=", ("b",))


@pytest.mark.parametrize(
    ("selector", "why_not"),
    [
        ({}, None),
        ({"kind": "video"}, None),
        ({"kind": "image"}, "kind is video, not image"),
        ({"labels": ("site=hamburg", "gps")}, None),
        ({"labels": ("gps", "site=rotterdam")}, "wants site=rotterdam, has site=hamburg"),
        ({"labels": ("country",)}, "wants country, has no such label"),
        ({"name": "2026-11/*.mp4"}, None),
        ({"name": "*gate_??.mp4"}, None),
        ({"name": "[0-9]*/gate_01.*"}, None),
        ({"name": "GATE*"}, "name does not match GATE*"),
        ({"name": "gate_01.mp4"}, "name does not match gate_01.mp4"),
        ({"captured": Captured(after=1000.0)}, None),
        ({"captured": Captured(before=1000.0)}, "captured too late"),
        ({"captured": Captured(before=1000.5, after=999.5)}, None),
        ({"captured": Captured(after=1000.5)}, "captured too early"),
    ],
)
def test_a_selector_says_what_fails_first(selector: dict[str, Any], why_not: str | None) -> None:
    assert Selector(**selector).why_not(CAM) == why_not


def test_an_unknown_capture_time_matches_no_range() -> None:
    assert Selector(captured=Captured()).why_not(entry("a")) == "capture time unknown"
    assert Selector().why_not(entry("a")) is None


def test_a_hostile_pattern_takes_no_time() -> None:
    """Patterns come from other peers: many stars must not backtrack for ever."""
    pattern = "*a" * 100 + "b"
    assert Selector(name=pattern[:256]).why_not(entry("a" * 1000)) is not None
