"""`meshinfer models`: the detectors of this peer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket
from meshinfer.errors import ConfigError


@click.group("models", context_settings={"help_option_names": ["-h", "--help"]})
def models() -> None:
    """List and add the detectors of this peer.

    A model is an ONNX file; its layout and class names are told from the file. Jobs name it, and run on peers that have
    the same file.

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

    answer = ask(node_socket(session), "models")
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
    if not path.is_file():
        raise ConfigError(f"{file}: no such file; give the path of an ONNX model")
    args = {"file": str(path), "name": name, "version": version}
    answer = ask(node_socket(session), "model_add", {key: value for key, value in args.items() if value is not None})
    if session.json:
        session.out.data(answer)
    else:
        _show(session, [answer.get("model") or {}])


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
