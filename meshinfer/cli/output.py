"""What people read: tables, units, short names. `--json` prints the node's own objects instead.

Everything shown may come from another peer, so control characters are taken out and nothing is read as markup.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 100
"""Columns: a table is never wider, so that it reads in half a screen and in a mail."""


class Column(NamedTuple):
    title: str
    align: Literal["left", "right"] = "left"
    whole: bool = False
    """Never wrapped or cut."""


class Output:
    """Standard output, as tables and sentences or as JSON; notices go to standard error."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        if json and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # whatever the terminal's: JSON has no other
        self.console = _console(sys.stdout)
        self.errors = _console(sys.stderr)

    def say(self, text: str = "", style: str = "") -> None:
        """A line for people; nothing with --json."""
        if not self.json:
            self.console.print(Text(clean(text), style), soft_wrap=True)

    def line(self, text: str) -> None:
        """A line of a stream, already clean: flushed, whatever its length."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def note(self, text: str, style: str = "yellow") -> None:
        """A line on standard error, in both modes: it must not be missed, and must not break a pipe."""
        self.errors.print(Text(clean(text), style), soft_wrap=True)

    def data(self, value: Any) -> None:
        """One JSON object on one line, flushed: a pipe sees it when it happens."""
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], *, title: str = "") -> None:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", title=title or None)
        table.title_justify, table.title_style = "left", "bold"
        for column in columns:
            overflow: Literal["fold", "ellipsis"] = "fold" if column.whole else "ellipsis"
            table.add_column(column.title, justify=column.align, no_wrap=column.whole, overflow=overflow)
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row))
        self.console.print(table)


def _console(file: Any) -> Console:
    # NO_COLOR, TERM=dumb and pipes are Console's own business. A pipe has no width: it gets all of ours.
    console = Console(file=file, markup=False, highlight=False, emoji=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def clean(text: object) -> str:
    """`text` on one line, without control characters and direction marks that could forge what is shown."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def short(peer: object) -> str:
    """The last 6 characters of a peer id: all ids begin alike."""
    return "…" + clean(peer)[-6:]


def who(view: dict[str, Any], *, name: str = "name") -> str:
    """A peer's name, or its short id where it has none."""
    return clean(view.get(name) or "") or short(view.get("peer", "?"))


def size(count: float | None) -> str:
    """Bytes, in units of 1024."""
    value = float(count or 0)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def span(seconds: float | None) -> str:
    """0.4s, 12s, 3m 20s, 2h 5m, 4d 3h."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    for big, small, factor, unit in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= factor:
            rest = whole % factor // unit
            return f"{whole // factor}{big} {rest}{small}" if rest else f"{whole // factor}{big}"
    return f"{whole}s"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 frame`, `1,394 frames`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def labels(pairs: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((pairs or {}).items()))


def detections(found: Sequence[dict[str, Any]]) -> str:
    """`person 0.91, person 0.77`, the best first; many are counted by label instead."""
    best = sorted(found, key=lambda d: -float(d.get("score", 0)))
    if len(best) <= 6:
        return ", ".join(f"{d.get('label', '?')} {float(d.get('score', 0)):.2f}" for d in best)
    totals: dict[str, int] = {}
    for d in best:
        totals[str(d.get("label", "?"))] = totals.get(str(d.get("label", "?")), 0) + 1
    return ", ".join(f"{n} × {label}" for label, n in totals.items())
