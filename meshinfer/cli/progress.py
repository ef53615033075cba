"""A followed job, live: a bar and a line for each peer on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from meshinfer.cli.output import Output, clean, count, who

PIPE_INTERVAL = 5.0
"""Seconds between two lines where nobody watches a terminal."""


class Progress:
    """`with Progress(out) as progress: progress.show(JOBVIEW)`. Shows nothing with --json."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._live = (
            Live(console=out.console, transient=True, refresh_per_second=8) if out.console.is_terminal else None
        )
        self._spinner = Spinner("dots")
        self._started = time.monotonic()
        self._said = 0.0
        self._last = ""
        self._reasons: set[str] = set()

    def __enter__(self) -> Progress:
        if self._live and not self._out.json:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self, view: dict[str, Any]) -> None:
        self._explain(view)
        if self._live:
            self._live.update(self._drawn(view))
            return
        line, now = self._line(view), time.monotonic()
        if line != self._last and (not self._last or now - self._said >= PIPE_INTERVAL):
            self._last, self._said = line, now
            self._out.say(line)

    def _explain(self, view: dict[str, Any]) -> None:
        """What a peer says about its part, such as that its disk is full: once."""
        for peer in view.get("peers", ()):
            line = f"{who(peer)}: {peer.get('reason')}"
            if peer.get("verdict") == "runs" and peer.get("reason") and line not in self._reasons:
                self._reasons.add(line)
                self._out.say(line, "yellow")

    def _line(self, view: dict[str, Any]) -> str:
        tasks = view.get("tasks") or {}
        if not tasks.get("total"):
            return "nobody has taken it up yet"
        done = f"{tasks.get('done', 0)}/{tasks.get('total', 0)} tasks"
        done += f" ({tasks['reused']} done before)" if tasks.get("reused") else ""
        failed = f", {tasks['failed']} failed" if tasks.get("failed") else ""
        return f"{done}{failed}, {_frames(view)}, {count(int(view.get('detections', 0)), 'detection')}"

    def _drawn(self, view: dict[str, Any]) -> Group:
        frames, analysed = int(view.get("frames", 0)), int(view.get("analysed", 0))
        elapsed = time.monotonic() - self._started
        rate = sum(float(p.get("fps") or 0) for p in view.get("peers", ()) if p.get("running"))
        head = Table.grid(padding=(0, 1))
        left = f"{(frames - analysed) / rate:.0f}s left" if frames > analysed and rate > 0 else f"{elapsed:.0f}s"
        speed = f"{rate:.0f} frames/s, {left}" if rate else left
        name = Text(clean(view.get("name", "job")), "bold", no_wrap=True)
        name.truncate(16, overflow="ellipsis")
        bar = ProgressBar(total=frames or None, completed=min(analysed, frames), width=16, pulse=not frames)
        head.add_row(self._spinner, name, bar, Text(self._line(view)), Text(speed, "dim"))
        lines = Table.grid(padding=(0, 2))
        for peer in view.get("peers", ()):
            if not (peer.get("tasks") or peer.get("running")):
                continue
            idle = clean(peer.get("waits") or "done")
            speed = f"{float(peer.get('fps') or 0):.1f} frames/s" if peer.get("running") else idle
            lines.add_row(
                Text("  " + who(peer), "" if peer.get("connected", True) else "red"),
                Text(f"{peer.get('done', 0)}/{peer.get('tasks', 0)} tasks"),
                Text(_frames(peer)),
                Text(speed if peer.get("connected", True) else "not connected"),
                Text(count(int(peer.get("detections", 0)), "detection")),
            )
        return Group(head, lines)


def _frames(view: dict[str, Any]) -> str:
    total, analysed = int(view.get("frames", 0)), int(view.get("analysed", 0))
    return f"{analysed:,}/{total:,} frames" if total else f"{analysed:,} frames"
