"""`meshinfer demo`: it all at work, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from meshinfer.cli.common import Session, verb


@verb("demo")
@click.option("--keep", metavar="DIR", help="Keep the footage, the peers and what they found in DIR.")
@click.option("--fast", is_flag=True, help="Less footage: done in half the time.")
@click.option(
    "--kill", is_flag=True, help="Kill the busiest peer and the publisher half-way, and see the others go on."
)
def demo(session: Session, keep: str | None, fast: bool, kill: bool) -> int:
    """See it all at work: three peers on this machine, in a minute.

    Draws footage of yards by day and by night, starts three peers as processes of their own, publishes a job from the
    one that holds none, shows the detections as they are made, and compares them with what was drawn and with what a
    plain loop finds. Needs no network and no download, and leaves no process behind.

    With --kill every file lies at two of three peers, and half-way the busiest of them and the publisher are killed:
    the results are the same.

    \b
    Example:
      meshinfer demo
      meshinfer demo --kill
      meshinfer demo --fast --keep ./demo
    """
    from meshinfer.cli.showcase import run

    return run(session.out, keep=Path(keep).expanduser().absolute() if keep else None, fast=fast, kill=kill)
