"""`meshinfer demo`: it all at work, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from meshinfer.cli.common import Session, verb


@verb("demo")
@click.option("--keep", metavar="DIR", help="Keep the footage, the peers and what they found in DIR.")
@click.option("--fast", is_flag=True, help="Less footage: done in half the time.")
def demo(session: Session, keep: str | None, fast: bool) -> int:
    """See it all at work: three peers on this machine, in a minute.

    Draws footage of yards by day and by night, starts three peers as processes of their own, publishes a job from the
    one that holds none, shows the detections as they are made, and compares them with what was drawn. Needs no network
    and no download, and leaves no process behind.

    \b
    Example:
      meshinfer demo
      meshinfer demo --fast --keep ./demo
    """
    from meshinfer.cli.showcase import run

    return run(session.out, keep=Path(keep).expanduser().absolute() if keep else None, fast=fast)
