"""The first load of a model that nobody here has run: in a process of its own, and what it breaks is not the peer."""

from __future__ import annotations

from pathlib import Path

from meshinfer.detect.process import ModelProcess


def try_model(path: Path) -> None:
    """Load the model and look at one picture in a child process with limits (`budget`), then throw that away.

    Blocks for up to a minute for a large file: for worker threads. Raises ModelError with the cause: it was refused,
    crashed, took too long, or wanted too much memory.
    """
    ModelProcess(path).close()
