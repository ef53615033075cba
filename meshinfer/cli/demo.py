"""`meshinfer demo`: it all at work, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from meshinfer.cli.common import Session, verb


@verb("demo")
@click.option("--keep", metavar="DIR", help="Keep the peers' folders, the footage and the results in DIR.")
@click.option("--fast", is_flag=True, help="Less footage: done in half the time.")
def demo(session: Session, keep: str | None, fast: bool) -> int:
    """See it all at work: three peers on this machine, in a minute.

    Draws footage of a yard by day and by night, starts three peers as processes of their own, publishes a job from the
    one that holds none, and shows the detections as they are made. Needs no network and no download.

    \b
    Example:
      meshinfer demo --keep ./demo
    """
    from meshinfer.node.demo import run

    code: int = run(keep=Path(keep).expanduser().absolute() if keep else None, fast=fast, json=session.json)
    return code
