"""Whether something is there, also for names that no file can have: `Path` raises OSError for one that is too long."""

from __future__ import annotations

import os
from pathlib import Path


def is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  what this module is for


def is_dir(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112  what this module is for
