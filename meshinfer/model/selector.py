"""Which footage a job is about: kind, labels, name and capture time."""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, Struct

from meshinfer.model.catalog import Entry, Kind
from meshinfer.model.ids import Real

Op = Literal["=", "!=", "in", "exists"]

_KEY = r"[A-Za-z0-9][A-Za-z0-9_.\-/]{0,62}"
_EQUALS = re.compile(rf"^({_KEY})\s*(!=|==?)\s*(.*)$")
_IN = re.compile(rf"^({_KEY})\s+in\s*\(([^()]*)\)$")
_EXISTS = re.compile(rf"^({_KEY})$")


class Requirement(Struct, frozen=True):
    """One condition on one label."""

    key: str
    op: Op
    values: tuple[str, ...] = ()

    def holds(self, labels: dict[str, str]) -> bool:
        value = labels.get(self.key)
        match self.op:
            case "exists":
                return value is not None
            case "!=":
                return value not in self.values
            case _:
                return value in self.values

    def __str__(self) -> str:
        match self.op:
            case "exists":
                return self.key
            case "in":
                return f"{self.key} in ({', '.join(self.values)})"
            case _:
                return f"{self.key}{self.op}{self.values[0]}"


@lru_cache(maxsize=1024)
def parse_requirement(text: str) -> Requirement:
    """`site=hamburg`, `site!=hamburg`, `site in (hamburg, rotterdam)` or `gps` (exists). Raises ValueError."""
    text = text.strip()
    if m := _EQUALS.match(text):
        op: Op = "!=" if m[2] == "!=" else "="
        return Requirement(m[1], op, (m[3].strip(),))
    if m := _IN.match(text):
        values = tuple(v.strip() for v in m[2].split(",") if v.strip())
        if values:
            return Requirement(m[1], "in", values)
    if m := _EXISTS.match(text):
        return Requirement(m[1], "exists")
    raise ValueError(f"{text!r} is no label requirement: write key=value, key!=value, key in (a, b), or key")


class Captured(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A range of capture time. Entries whose capture time is unknown don't match a range."""

    after: Real | None = None
    """Unix seconds, inclusive."""
    before: Real | None = None
    """Unix seconds, exclusive."""


class Selector(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything given must hold; what is left out matches everything."""

    kind: Kind | None = None
    labels: Annotated[tuple[Annotated[str, Meta(max_length=400)], ...], Meta(max_length=32)] = ()
    """Label requirements as text; `parse_requirement` reads each."""
    name: Annotated[str, Meta(max_length=256)] | None = None
    """Shell pattern over the entry's name, e.g. `2026-11/*.mp4`."""
    captured: Captured | None = None

    def __post_init__(self) -> None:
        for text in self.labels:
            parse_requirement(text)

    def why_not(self, entry: Entry) -> str | None:
        """None where the entry matches, else the first condition that fails."""
        if self.kind is not None and entry.kind != self.kind:
            return f"kind is {entry.kind}, not {self.kind}"
        for text in self.labels:
            requirement = parse_requirement(text)
            if not requirement.holds(entry.labels):
                value = entry.labels.get(requirement.key)
                return f"wants {requirement}, has " + (
                    "no such label" if value is None else f"{requirement.key}={value}"
                )
        if self.name is not None and not fnmatch.fnmatchcase(entry.name, self.name):
            return f"name does not match {self.name}"
        if self.captured is not None:
            return _outside(self.captured, entry.captured)
        return None


def _outside(wanted: Captured, at: float | None) -> str | None:
    if at is None:
        return "capture time unknown"
    if wanted.after is not None and at < wanted.after:
        return "captured too early"
    if wanted.before is not None and at >= wanted.before:
        return "captured too late"
    return None
