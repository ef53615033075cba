"""`meshinfer models pull`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.asking import ask_models
from meshinfer.errors import ConfigError

if TYPE_CHECKING:
    from meshinfer.detect.wellknown import WellKnown


@verb("pull")
@click.argument("name", required=False)
@click.option("--from", "mirror", metavar="URL", help="A mirror: URL/NAME.onnx is fetched [$MESHINFER_MODELS_URL].")
def pull(session: Session, name: str | None, mirror: str | None) -> None:
    """Get a well-known model from the internet, and add it.

    Without NAME lists those there are. The file must have the sha256 that this version of meshinfer knows; a download
    that broke off goes on where it was. HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are honoured.

    \b
    Example:
      meshinfer models pull yolox_nano
      meshinfer models pull fastestdet --from https://mirror.example.org/models
    """
    from meshinfer.config import load
    from meshinfer.detect.wellknown import WELL_KNOWN
    from meshinfer.model.typed import did_you_mean

    if name is None:
        _list(session, WELL_KNOWN)
        return
    known = next((k for k in WELL_KNOWN if name in (k.name, f"{k.name}@{k.version}")), None)
    if known is None:
        raise ConfigError(
            f"no well-known model {name!r}{did_you_mean(name, [k.name for k in WELL_KNOWN])}; any other file: "
            "`meshinfer models add FILE`"
        )
    _pull(session, known, mirror or load(session.home, check_paths=False).models.url)


def _pull(session: Session, known: WellKnown, mirror: str) -> None:
    here = ask_models(session, "models", changes=False)["models"]
    answer = next(({"model": m} for m in here if m["digest"] == known.sha256 and not m.get("refused")), None)
    if answer is None:
        from meshinfer.cli.models.download import download

        url = f"{mirror.rstrip('/')}/{known.name}.onnx" if mirror else known.url
        file = session.home / "downloads" / known.sha256 / f"{known.name}.onnx"
        if not session.json:
            session.out.say(f"{known.name}@{known.version} ({known.licence}) from {url}")
        with _bar(session, known) as progress:
            download(url, file, size=known.size, sha256=known.sha256, progress=progress)
        args = {"file": str(file.absolute()), "name": known.name, "version": known.version}
        answer = ask_models(session, "model_add", args, changes=True)
        _clear(file)
    elif not session.json:
        session.out.say("it is here already")
    if session.json:
        session.out.data(answer)
        return
    from meshinfer.cli.models.table import show

    show(session, [answer["model"]])


def _clear(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.parent.rmdir()
    if not any(file.parent.parent.iterdir()):
        file.parent.parent.rmdir()


def _list(session: Session, known: tuple[WellKnown, ...]) -> None:
    from meshinfer.cli.output import Column, size

    if session.json:
        session.out.data({"models": [k._asdict() for k in known]})
        return
    columns = [Column("MODEL", whole=True), Column("SIZE", "right", whole=True), Column("LICENCE", whole=True)]
    session.out.table(
        [*columns, Column("FINDS")], [[f"{k.name}@{k.version}", size(k.size), k.licence, k.what] for k in known]
    )
    session.out.say("meshinfer models pull NAME gets one; any other file: meshinfer models add FILE", "dim")


@contextmanager
def _bar(session: Session, known: WellKnown) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; nothing in a pipe, where a model takes no longer than a line is worth."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = session.out.errors
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=session.json or not console.is_terminal) as bar:
        task = bar.add_task(known.name, total=known.size)
        yield lambda done: bar.update(task, completed=done)
