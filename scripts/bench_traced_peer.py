#!/usr/bin/env python3
"""`meshinfer up` that also notes when each frame was decoded and when its inference ran: TRACE_FILE up ..."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from meshinfer.cli import main
from meshinfer.media import frames
from meshinfer.node import engine

trace = Path(sys.argv.pop(1)).open("a", buffering=1)  # noqa: SIM115  open as long as the process
decoded: dict[int, float] = {}
iterate, compute = frames.Frames.__iter__, engine._compute


def timed_iterate(self: frames.Frames) -> Iterator[frames.Frame]:
    for frame in iterate(self):
        decoded[frame.index] = time.monotonic()
        yield frame


def timed_compute(run: Any, frame: Any, workers: Any) -> Any:
    began = time.monotonic()
    result = compute(run, frame, workers)
    row = {"frame": frame.index, "decoded": decoded.pop(frame.index), "began": began, "ended": time.monotonic()}
    trace.write(json.dumps(row) + "\n")
    return result


frames.Frames.__iter__ = timed_iterate  # type: ignore[method-assign]  # this peer is measured
engine._compute = timed_compute
main()
