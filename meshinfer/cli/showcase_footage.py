"""The demo's footage: where it is kept from one time to the next, and how it is drawn there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from meshinfer.cli.showcase_peers import end_all, environment
from meshinfer.cli.showcase_plan import Size
from meshinfer.errors import MediaError

POLL = 0.1


def site_folders(base: Path, sites: Iterable[str]) -> dict[str, Path]:
    """A folder for each site."""
    return {name: base / name for name in sites}


def videos(folder: Path) -> list[Path]:
    """The finished clips in `folder`; the renderer's drafts begin with a dot."""
    return sorted(path for path in folder.glob("*.mp4") if not path.name.startswith("."))


def draw(folders: Mapping[str, Path], sites: Mapping[str, int], size: Size, show: Callable[[int], None]) -> None:
    """Draw every site's footage, a process each; `show` hears how many clips are there. Raises MediaError."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            args = [folder, sites[name], size.clips, size.seconds]
            running[name] = subprocess.Popen(
                [sys.executable, "-m", "meshinfer.cli.showcase_draw", *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment(),
                start_new_session=True,
            )
        while any(process.poll() is None for process in running.values()):
            show(sum(len(videos(folder)) for folder in folders.values()))
            time.sleep(POLL)
        for name, process in running.items():
            if process.returncode:
                why = process.stderr.read(4096).decode(errors="replace").strip() if process.stderr else ""
                raise MediaError(
                    f"the footage of {name} could not be drawn: {why or f'exit code {process.returncode}'}"
                )
        show(size.clips * len(folders))
    except OSError as e:
        raise MediaError(f"the footage cannot be written: {e.strerror or e}; give a folder with --keep DIR") from None
    finally:
        end_all(running.values())
