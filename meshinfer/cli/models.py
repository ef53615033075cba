"""`meshinfer models`: the detectors of this peer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models_bench import bench
from meshinfer.cli.models_optimize import optimize
from meshinfer.errors import ConfigError

if TYPE_CHECKING:
    from meshinfer.detect.shelf import Shelf


@click.group("models", context_settings={"help_option_names": ["-h", "--help"]})
def models() -> None:
    """List and add the detectors of this peer.

    A model is an ONNX file; its layout and class names are told from the file. Jobs name it, and run on peers that have
    the same file. Works whether a node runs in the home or not.

    \b
    Example:
      meshinfer models add yolox_nano.onnx
      meshinfer models ls
    """


@verb("ls", group=models)
def ls(session: Session) -> None:
    """List the models of this peer.

    \b
    Example:
      meshinfer models ls -v
    """
    from meshinfer.cli.client import ask

    with node_or_shelf(session, changes=False) as (node, shelf):
        answer = {"models": plain(shelf.list())} if shelf else ask(node, "models")
    if session.json:
        session.out.data(answer)
        return
    known = answer.get("models") or []
    if not known:
        session.out.say("no models yet: add one with `meshinfer models add FILE.onnx`")
        return
    _show(session, known)


@verb("add", group=models)
@click.argument("file")
@click.option("--name", metavar="NAME", help="What jobs call it [the file's name].")
@click.option("--version", metavar="V", help="Told apart as NAME@V [none].")
def add(session: Session, file: str, name: str | None, version: str | None) -> None:
    """Add a model to this peer.

    The file is checked, its layout is told from its outputs, and it is copied into the peer's folder. A sidecar
    beside it (yolox_nano.toml) can say what the file does not.

    \b
    Example:
      meshinfer models add yolox_nano.onnx --version 0.1.1
    """
    from meshinfer.cli.client import ask

    path = Path(os.path.abspath(Path(file).expanduser()))  # noqa: PTH100  resolve() would follow links: the name counts
    if path.is_dir():
        raise ConfigError(f"{file}: is a folder; give the path of an ONNX model in it")
    if not path.is_file():
        raise ConfigError(f"{file}: no such file; give the path of an ONNX model")
    args = {key: value for key, value in {"name": name, "version": version}.items() if value is not None}
    with node_or_shelf(session, changes=True) as (node, shelf):
        if shelf:
            answer = {"model": plain(shelf.add(path, **args))}
        else:
            answer = ask(node, "model_add", {"file": str(path), **args})
    if session.json:
        session.out.data(answer)
    else:
        _show(session, [answer.get("model") or {}])


@contextmanager
def node_or_shelf(session: Session, *, changes: bool) -> Iterator[tuple[Path, Shelf | None]]:
    """The node's socket; where none runs also the home's shelf, held for `changes` so that no node starts meanwhile."""
    from meshinfer.cli.client import is_running
    from meshinfer.home import make_home, socket_path

    node = socket_path(session.home)
    if is_running(node):
        yield node, None
        return
    from meshinfer.node.app import open_shelf
    from meshinfer.node.lock import hold

    make_home(session.home)
    with hold(session.home) if changes else nullcontext():
        yield node, open_shelf(session.home)


def plain(cards: object) -> Any:
    import msgspec

    return msgspec.to_builtins(cards)


def _show(session: Session, known: list[dict[str, Any]]) -> None:
    from meshinfer.cli.output import Column, clean, size

    columns = [
        Column("MODEL"),
        Column("LAYOUT"),
        Column("INPUT", whole=True),
        Column("CLASSES"),
        Column("SIZE", "right", whole=True),
    ]
    columns += [Column("DIGEST", whole=True), Column("LICENCE")]
    rows = []
    for model in known:
        classes = [clean(c) for c in model.get("classes") or ()]
        names = ", ".join(classes[:3]) + (f", … ({len(classes)})" if len(classes) > 3 else "")
        name = f"{model.get('name')}@{model['version']}" if model.get("version") else str(model.get("name"))
        pixels = f"{model.get('width', '?')}x{model.get('height', '?')}"
        digest = clean(model.get("digest", ""))[:12]
        rows.append(
            [
                name,
                str(model.get("layout", "")),
                pixels,
                names,
                size(model.get("bytes")),
                digest,
                str(model.get("licence") or "–"),
            ]
        )
    session.out.table(columns, rows)
    for model in known:
        for notice in model.get("notices") or ():
            session.out.say(f"{model.get('name')}: {notice}", "yellow")
        if session.verbose:
            session.out.say(f"{model.get('name')}: {', '.join(map(str, model.get('classes') or ()))}", "dim")


models.add_command(bench)
models.add_command(optimize)
