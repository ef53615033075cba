"""What one would write without meshinfer: a loop that reads, detects and counts, frame after frame.

`python -m meshinfer.cli.showcase_plain MIN_SCORE FILE...` prints the digest of what it finds in these files.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from meshinfer.cli.lifeline import end_with_stdin
from meshinfer.cli.showcase_digest import Finding, digest
from meshinfer.cli.showcase_peers import end_all, environment
from meshinfer.errors import MediaError


def plain_digests(sites: Mapping[str, Sequence[Path]], min_score: float) -> dict[str, str]:
    """By site, each in a process of its own. Raises MediaError."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    found: dict[str, str] = {}
    try:
        for name, files in sites.items():
            running[name] = subprocess.Popen(
                [sys.executable, "-m", "meshinfer.cli.showcase_plain", str(min_score), *map(str, files)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,
            )
        for name, process in running.items():
            found[name] = process.stdout.read().decode().strip() if process.stdout else ""
            if process.wait() or not found[name]:
                raise MediaError(f"the plain loop over the footage of {name} failed: exit code {process.returncode}")
    except OSError as e:
        raise MediaError(f"the plain loop cannot be run: {e.strerror or e}") from None
    finally:
        end_all(running.values())
    return found


def detect_all(file: Path, min_score: float) -> Iterator[Finding]:
    """Frames with detections, of the demo's own detector."""
    import cv2

    from meshinfer.detect.detector import load_detector
    from meshinfer.detect.shelf import EMBEDDED
    from meshinfer.model.job import Detect

    worker = load_detector(EMBEDDED).worker(Detect(min_score=min_score), 300)
    capture = cv2.VideoCapture(str(file))
    index = 0
    while (read := capture.read())[0]:
        if detections := worker(read[1]):
            yield file.name, index, [(d.label, d.score, d.box) for d in detections]
        index += 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_stdin()
    print(digest(one for name in sys.argv[2:] for one in detect_all(Path(name), float(sys.argv[1]))))
