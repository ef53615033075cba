"""How far many runs have come, in a file: whoever stops them goes on from there."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from msgspec import Struct, field

from meshinfer.errors import ConfigError
from meshinfer.model.ids import hash_of
from meshinfer.sim.scenario import Scenario
from meshinfer.sim.shrink import as_toml
from meshinfer.sim.tally import Tally

SAVE_EVERY = 10.0
MAX_FILE = 32 << 20


class _Kept(Struct):
    scenario: str
    """Of its text: other runs are not added to these."""
    first: int
    tally: Tally = field(default_factory=Tally)


class Runs:
    """What the runs came to so far. `file`: where it is kept; None: nowhere. Raises ConfigError for a file that is of
    other runs, or none."""

    def __init__(self, scenario: Scenario, first: int, file: str | None) -> None:
        self._file = Path(file).expanduser() if file is not None else None
        asked = _Kept(hash_of(as_toml(scenario).encode()), first)
        self._kept = _read(self._file, asked) if self._file is not None else asked
        self._saved = time.monotonic()
        self.done = self.tally.runs
        """In earlier calls."""

    @property
    def tally(self) -> Tally:
        return self._kept.tally

    def left(self, count: int) -> range:
        """Seeds of so many runs that are not done yet."""
        first = self._kept.first
        return range(first + self.tally.runs, max(first + count, first + self.tally.runs))

    def now_and_then(self) -> None:
        if time.monotonic() - self._saved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Raises ConfigError."""
        self._saved = time.monotonic()
        if self._file is None:
            return
        new = self._file.with_name(f"{self._file.name}.new")
        try:
            new.write_bytes(msgspec.json.encode(self._kept))
            new.replace(self._file)
        except OSError as e:
            raise ConfigError(f"--resume {self._file}: cannot be written: {e.strerror}") from None


def _read(file: Path, asked: _Kept) -> _Kept:
    try:
        data = file.read_bytes() if file.stat().st_size <= MAX_FILE else b""
        kept = msgspec.json.decode(data, type=_Kept)
    except FileNotFoundError:
        return asked
    except OSError as e:
        raise ConfigError(f"--resume {file}: cannot be read: {e.strerror}") from None
    except msgspec.MsgspecError:
        raise ConfigError(f"--resume {file}: this is no file of earlier runs: name another, or delete it") from None
    if (kept.scenario, kept.first) != (asked.scenario, asked.first):
        raise ConfigError(f"--resume {file}: it is of another scenario or first seed: name another file, or delete it")
    return kept
