"""`meshinfer publish`: a job file goes out to the mesh."""

from __future__ import annotations

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import bootstrap_option
from meshinfer.cli.follow import follow_options


@verb("publish")
@click.argument("file")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the job: --set sample.fps=2. Repeat it."
)
@follow_options
@bootstrap_option
def publish(
    session: Session,
    file: str,
    settings: tuple[str, ...],
    follow: bool,
    dry_run: bool,
    timeout: float | None,
    bootstrap: tuple[str, ...],
) -> int:
    """Publish a job file: whoever holds matching footage runs it.

    FILE is YAML or JSON (- reads standard input). Prints the job's id. Peers that join later run it too, until it
    expires. With --follow it stays to show the progress and ends with a summary.

    \b
    Example:
      meshinfer publish configs/jobs/people.yaml --follow
      meshinfer publish people.yaml --set sample.fps=2 --set on.labels.site=hamburg --dry-run
    """
    from meshinfer.api.jobfile import load_job
    from meshinfer.cli.follow import send

    _, spec = load_job(file, settings)
    return send(session, spec, follow=follow, dry_run=dry_run, timeout=timeout, bootstrap=bootstrap)
