"""`meshinfer run`: a job from the command line, without a file."""

from __future__ import annotations

from typing import Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import bootstrap_option
from meshinfer.cli.follow import follow_options


@verb("run")
@click.argument("model")
@click.option("--on", metavar="WHERE", help="Which footage: kind=video,site=hamburg,name=*.mp4,after=2026-11-01 [all].")
@click.option("--classes", metavar="A,B", help="Only these classes [all the model knows].")
@click.option("--min-score", type=float, metavar="X", help="Only detections this sure, 0 to 1 [0.25].")
@click.option("--then", "second", metavar="MODEL", help="A second model, which looks at what the first one finds.")
@click.option("--then-classes", metavar="A,B", help="Of the second model, only these classes [all it knows].")
@click.option("--every", type=int, metavar="N", help="Every N-th frame of a video [1].")
@click.option("--fps", type=float, metavar="R", help="At most R frames per second of video.")
@click.option(
    "--scope",
    type=click.Choice(["once", "every"]),
    help="Footage that several hold: once in all, or on every holder [once].",
)
@click.option("--fresh", is_flag=True, help="Do all of it anew, even what an equal job has done before.")
@click.option("--name", metavar="NAME", help="What people call the job.")
@click.option("--expires", metavar="SPAN", help="After this no holder starts with it: 30m, 24h, 7d [24h].")
@follow_options
@bootstrap_option
def run(
    session: Session,
    model: str,
    follow: bool,
    dry_run: bool,
    timeout: float | None,
    bootstrap: tuple[str, ...],
    **given: Any,
) -> int:
    """Publish a job from the command line, without a file.

    MODEL is the name of a model (`meshinfer models ls`), NAME@VERSION, or its digest. The other half of
    `meshinfer publish`: the same job, said in flags.

    \b
    Example:
      meshinfer run yolox_nano --on kind=video,site=hamburg --classes person --follow
      meshinfer run yolox_nano --classes person --then helmets --then-classes bare
      meshinfer run yolox_nano --fps 2 --on 'site in (hamburg,rotterdam)' --dry-run
    """
    from meshinfer.cli.follow import send
    from meshinfer.errors import ConfigError
    from meshinfer.model.jobfile import parse_on, plain_spec, read_spec

    raw: dict[str, Any] = {"model": model, "name": given["name"] or model.partition("@")[0]}
    if given["on"]:
        raw["on"] = parse_on(given["on"])
    if given["classes"]:
        raw.setdefault("detect", {})["classes"] = _names(given["classes"])
    if given["second"]:
        raw["then"] = {"model": given["second"]}
        if given["then_classes"]:
            raw["then"]["classes"] = _names(given["then_classes"])
    elif given["then_classes"]:
        raise ConfigError("--then-classes are those of a second model: name it with --then")
    if given["min_score"] is not None:
        raw.setdefault("detect", {})["min_score"] = given["min_score"]
    raw["sample"] = {key: given[key] for key in ("every", "fps") if given[key] is not None}
    raw |= {key: given[key] for key in ("scope", "expires", "fresh") if given[key]}
    spec = plain_spec(read_spec(raw, where="run"))
    return send(session, spec, follow=follow, dry_run=dry_run, timeout=timeout, bootstrap=bootstrap)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
