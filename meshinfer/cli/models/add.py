"""`meshinfer models add`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.asking import ask_models
from meshinfer.errors import ConfigError
from meshinfer.paths import is_dir, is_file


@verb("add")
@click.argument("file")
@click.option("--name", metavar="NAME", help="What jobs call it [the file's name].")
@click.option("--version", metavar="V", help="Told apart as NAME@V [none].")
@click.option("--sidecar", metavar="FILE", help="What the model file does not say [the .toml beside it].")
def add(session: Session, file: str, name: str | None, version: str | None, sidecar: str | None) -> None:
    """Add a model to this peer, and sign it.

    The file is checked, its layout is told from its outputs, and it is copied into the peer's folder under this peer's
    signature. A sidecar (yolox_nano.toml) can say what the file does not; it is part of the model from then on.

    \b
    Example:
      meshinfer models add yolox_nano.onnx --version 0.1.1
    """
    args = {"file": str(_existing(file, "an ONNX model")), "name": name, "version": version}
    if sidecar is not None:
        args["sidecar"] = str(_existing(sidecar, "a sidecar, such as model.toml"))
    answer = ask_models(
        session, "model_add", {key: value for key, value in args.items() if value is not None}, changes=True
    )
    if session.json:
        session.out.data(answer)
        return
    from meshinfer.cli.models.table import show

    show(session, [answer.get("model") or {}])


def _existing(file: str, what: str) -> Path:
    """Absolute. Raises ConfigError."""
    path = Path(os.path.abspath(Path(file).expanduser()))  # noqa: PTH100  resolve() would follow links: the name counts
    if is_dir(path):
        raise ConfigError(f"{file}: is a folder; give the path of {what} in it")
    if not is_file(path):
        raise ConfigError(f"{file}: no such file; give the path of {what}")
    return path
