"""The number that tells a store from those its peer had before: to the mesh the store with the highest one counts.

It is the wall clock at the store's creation, in milliseconds. A clock may go back, so the highest number that was ever
used also lies in a file of its own beside the database, whose loss it outlives. Where both are gone the clock decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from meshinfer.home import write_durably

FILE: Final = "incarnation"
HIGHEST: Final = 2**62
"""What a record may carry (wire/records.py)."""


def highest_used(folder: Path) -> int:
    """0 where nothing is known: no file, or one that says nothing sensible."""
    try:
        with (folder / FILE).open("rb") as file:
            text = file.read(32).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdecimal() and int(text) < HIGHEST else 0


def note_used(folder: Path, incarnation: int) -> None:
    """On the disk when it returns. Raises OSError."""
    if highest_used(folder) != incarnation:
        write_durably(folder / FILE, b"%d\n" % incarnation)


def next_after(used: int, wall: float) -> int:
    """`wall`: Unix seconds."""
    return max(used + 1, min(int(wall * 1000), HIGHEST))
