"""`python -m meshinfer.cli.showcase_draw FOLDER SITE CLIPS SECONDS`: one site's footage, drawn in a process of its own.

Not multiprocessing: its workers live on, asleep, when the process that started them is killed.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from meshinfer.cli.lifeline import end_with_stdin
from meshinfer.errors import MeshInferError


def draw(folder: str, site: str, clips: str, seconds: str) -> int:
    """Draw what is not there yet; the exit code, with the reason on standard error."""
    import cv2

    from meshinfer.demo import footage

    cv2.setNumThreads(1)  # there are as many of these processes as sites
    try:
        footage(Path(folder), int(site), int(clips), float(seconds))
    except MeshInferError as e:
        sys.stderr.write(f"{e}\n")
        return e.exit_code
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that no draft is left behind
    end_with_stdin()
    sys.exit(draw(*sys.argv[1:]))
