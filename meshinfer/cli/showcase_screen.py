"""What the demo shows while it works: bars and scrolling detections on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from meshinfer.cli.output import Output, clean, count
from meshinfer.cli.subscribe import event_line

SCROLL = 10
"""Detections on the screen."""

PIPE_EVENTS = 0.5
"""Seconds between two detections, where they scroll nowhere."""

PIPE_PROGRESS = 2.0


class Screen:
    """Shows nothing at all with --json."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._is_live = out.console.is_terminal and not out.json

    def step(self, text: str) -> None:
        """Something that has been done."""
        if self._is_live:
            self._out.console.print(Text.assemble(("✓ ", "green"), clean(text)), soft_wrap=True)
        else:
            self._out.say(text)

    def warn(self, text: str) -> None:
        """Something bad that has been done."""
        if self._is_live:
            self._out.console.print(Text.assemble(("✗ ", "red"), (clean(text), "red")), soft_wrap=True)
        else:
            self._out.say(text)

    def waiting(self, text: str) -> AbstractContextManager[object]:
        return self._out.console.status(text) if self._is_live else nullcontext()

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """Gives what to call with the number done."""
        if not self._is_live:
            self._out.say(text)
            yield lambda done: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn())
        with Progress(*columns, console=self._out.console, transient=True) as progress:
            task = progress.add_task(clean(text), total=total)
            yield lambda done: progress.update(task, completed=done)

    @contextmanager
    def job(self, title: str, listener: str) -> Iterator[JobScreen]:
        """`listener`: the peer that hears the detections, and holds no footage."""
        screen = JobScreen(self._out, title, listener, live=self._is_live)
        if not self._is_live:
            yield screen
            return
        with Live(console=self._out.console, transient=True, refresh_per_second=10, get_renderable=screen.drawn):
            yield screen


class JobScreen:
    """One job at work. `progress` and `event` are called as they come."""

    def __init__(self, out: Output, title: str, listener: str, *, live: bool) -> None:
        self._out, self._title, self._listener, self._is_live = out, clean(title), listener, live
        self._view: dict[str, Any] = {}
        self.killed: set[str] = set()
        """Peers that are shown as such."""
        self._lines: deque[str] = deque(maxlen=SCROLL)
        self._events = 0
        self._said_progress = self._said_event = -1e9

    def progress(self, view: dict[str, Any]) -> None:
        self._view = view
        if not self._is_live and time.monotonic() - self._said_progress >= PIPE_PROGRESS and view.get("frames"):
            self._said_progress = time.monotonic()
            parts = [f"{name} {done}/{total} frames" for name, done, total, _, _ in self._shares()]
            self._out.say("  ".join(["working:", *parts]))

    def event(self, event: dict[str, Any]) -> None:
        self._events += 1
        self._lines.append(event_line(event))
        if not self._is_live and time.monotonic() - self._said_event >= PIPE_EVENTS:
            self._said_event = time.monotonic()
            self._out.say(self._lines[-1])

    def _shares(self) -> list[tuple[str, int, int, float, int]]:
        return [
            (
                clean(peer.get("name")),
                int(peer.get("analysed") or 0),
                int(peer.get("frames") or 0),
                float(peer.get("fps") or 0),
                int(peer.get("detections") or 0),
            )
            for peer in sorted(self._view.get("peers") or (), key=lambda peer: str(peer.get("name")))
            if peer.get("tasks")
        ]

    def drawn(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for name, done, total, fps, found in self._shares():
            bar = ProgressBar(total=total or None, completed=min(done, total), width=30)
            table.add_row(
                Text(f"{name} ✗", "red") if name in self.killed else Text(name, "bold"),
                bar,
                Text(f"{done:,}/{total:,} frames"),
                Text(f"{fps:.0f} frames/s", "cyan"),
                Text(count(found, "detection")),
            )
        heard = f"live at {self._listener}, which holds no footage: {count(self._events, 'frame')} with detections"
        lines = [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in self._lines]
        blank = [Text("")] * (SCROLL - len(lines))
        return Group(Text(self._title, "bold"), table, Text(heard), *lines, *blank)
