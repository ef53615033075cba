"""`meshinfer models fetch`."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import node_socket


@verb("fetch")
@click.argument("model")
def fetch(session: Session, model: str) -> None:
    """Get a model from the peers that have it.

    MODEL is as they call it, or digits of its digest. Jobs that need a model fetch it by themselves; this is for
    before. It must be signed by a peer that is trusted here. Wants a node.

    \b
    Example:
      meshinfer models fetch yard@2
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from meshinfer.cli.models.table import show
    from meshinfer.cli.output import clean
    from meshinfer.node.client import call

    console = session.out.errors
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    quiet = session.json or not console.is_terminal
    with (
        Progress(*columns, console=console, transient=True, disable=quiet) as bar,
        call(node_socket(session), "model_fetch", {"model": model}) as lines,
    ):
        task, trouble = bar.add_task(model, total=None), ""
        for line in lines:
            moved = line.get("progress") or {}
            before, trouble = trouble, clean(moved.get("trouble") or "")
            if quiet and trouble and trouble != before:
                session.out.note(f"{model}: {trouble}")  # it is waited for as long as somebody wants it
            where = ", ".join(clean(name) for name in moved.get("from") or ()) or trouble
            bar.update(
                task,
                description=f"{model} {where}".strip(),
                completed=moved.get("bytes") or 0,
                total=moved.get("size") or None,
            )
        answer = lines.end
    if session.json:
        session.out.data(answer)
    else:
        show(session, [answer["model"]])
