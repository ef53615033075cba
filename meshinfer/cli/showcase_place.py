"""Where the demo works: a folder of the user's, or a temporary one of which only what is worth a look stays."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import meshinfer
from meshinfer.cli.showcase_plan import Size
from meshinfer.errors import ConfigError

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Place:
    """`with Place(keep) as place:` `place.folder` is new and ours.

    With `keep` nothing is ever removed: each time has a `run-N` of its own there. Without it the peers' folders go, and
    after an interruption everything does. SIGTERM and a closed terminal unwind like an exception.
    """

    def __init__(self, keep: Path | None) -> None:
        self._keep = keep
        self._keeps_logs = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Place:
        try:
            self.folder = _numbered(self._keep) if self._keep else Path(tempfile.mkdtemp(prefix="meshinfer-demo-"))
        except OSError as e:
            where = self._keep or "the temporary folder"
            raise ConfigError(f"{where}: cannot be written: {e.strerror or e}; give a folder with --keep DIR") from None
        self._cache = self._keep / "footage" if self._keep else cache_folder() or self.folder / "footage"
        self._handlers = {number: signal.signal(number, _unwind) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._keep:
            return
        if error is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif not self._keeps_logs:
            shutil.rmtree(self.folder / "peers", ignore_errors=True)
            shutil.rmtree(self.folder / "footage", ignore_errors=True)

    def footage(self, amount: Size) -> Path:
        """Footage of another size lies elsewhere: a source is everything in its folder."""
        return self._cache / f"{amount.clips}x{amount.seconds:g}s"

    def keep_logs(self) -> None:
        """Something went wrong: what the peers left behind tells more."""
        self._keeps_logs = True


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`$XDG_CACHE_HOME/meshinfer/demo-VERSION`, else below `~/.cache`; None where neither can be written."""
    base = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or "") / ".cache")
    folder = base / "meshinfer" / f"demo-{meshinfer.__version__}"
    if not base.is_absolute():  # as the XDG specification has it: such a value is ignored
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def _numbered(folder: Path) -> Path:
    """A new `run-N` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = [int(p.name[4:]) for p in folder.glob("run-*") if p.name[4:].isdecimal()]
    path = folder / f"run-{max(taken, default=0) + 1}"
    path.mkdir()
    return path


def _unwind(number: int, at: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
