"""What trying models out shares: finding the model, keeping frames for the children, showing how far it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshinfer.cli.common import Session
from meshinfer.cli.models.asking import ask_models
from meshinfer.errors import ConfigError, ModelError
from meshinfer.paths import is_file

if TYPE_CHECKING:
    from meshinfer.cli.models.footage import Shot
    from meshinfer.detect.card import ModelCard


def locate(session: Session, reference: str) -> tuple[ModelCard, Path]:
    """The card and the file of a detector of pictures: one on the shelf, or an ONNX file. Raises ModelError."""
    from meshinfer.detect.card import ModelCard
    from meshinfer.detect.detector import load_detector

    file = Path(reference).expanduser()
    if file.suffix == ".onnx" and is_file(file):
        card, path = load_detector(file, name=file.stem.lower()).card, file.absolute()
    else:
        model = ask_models(session, "model", {"model": reference}, changes=False)["model"]
        if model["refused"]:
            raise ModelError(model["refused"])
        card, path = msgspec.convert(model, ModelCard), Path(model["path"])
    if card.takes_series:
        raise ModelError(f"{card.reference} looks at series: only detectors of pictures can be tried this way")
    return card, path


def workers(session: Session) -> int:
    """Inference workers of the peer in this home."""
    from meshinfer.config import load

    return load(session.home, check_paths=False).limits.workers or os.cpu_count() or 1


def keep(shots: Sequence[Shot], file: Path) -> Path:
    """Raises ConfigError where there is no room."""
    from meshinfer.detect.variants.trial import save_frames

    try:
        save_frames(file, (shot.image for shot in shots))
    except OSError as e:
        raise ConfigError(f"{file.parent}: the frames cannot be kept there: {e.strerror}; set TMPDIR") from None
    return file


@contextmanager
def steps(session: Session) -> Iterator[Callable[[str, float], None]]:
    """Gives what to call with a step and the part of the whole that is done: a bar on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = session.out.errors
    columns = (SpinnerColumn(), BarColumn(24), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda step, done: progress.update(task, description=step, completed=done)
