"""`meshinfer models optimize`: a cheaper variant of a model, where it holds."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.asking import ask_models
from meshinfer.cli.models.trying import keep, locate, steps, workers
from meshinfer.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from meshinfer.detect.card import ModelCard
    from meshinfer.detect.variants.ladder import Rule, Trial

LONGEST: Final = 1280
"""Pixels: most models look at fewer, and what frames take on the disk is bounded by it."""


@verb("optimize")
@click.argument("reference", metavar="REF")
@click.option("--footage", "--images", metavar="PATH", help="The videos or pictures that it shall do well on.")
@click.option("--labels", metavar="DIR", help="What is in the pictures: NAME.txt as YOLO writes it.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Share of boxes that must be the same as the float model's.",
)
@click.option("--max-ap-loss", type=click.FloatRange(0, 1), help="With --labels: decides instead [0.01].")
@click.option("--frames", type=click.IntRange(4, 2000), default=128, show_default=True, help="Half of them to judge.")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="On the clock, each.")
@click.option("--name", metavar="NAME", help="What the variant is called [the model's name].")
@click.option("--version", metavar="V", help="Its version [the model's, and -int8].")
def optimize(
    session: Session,
    reference: str,
    footage: str | None,
    labels: str | None,
    min_agreement: float,
    max_ap_loss: float | None,
    frames: int,
    seconds: float,
    name: str | None,
    version: str | None,
) -> int:
    """Make a faster variant of a model, and add it where it holds.

    Computes in 8 bits, fitted to frames of your own footage, with the first or last layers left alone where they need
    it. Each variant is compared with the float model on other frames. The fastest that agrees, and is faster here, is
    added beside the model; otherwise nothing is, a table says why, and the exit code is 1.

    \b
    Example:
      meshinfer models optimize yolox_nano --footage ./footage
      meshinfer models optimize yolox_nano --images ./images --labels ./labels --max-ap-loss 0.01
    """
    from meshinfer.cli.models.footage import read_truth, sample
    from meshinfer.detect.variants.ladder import Rule, best
    from meshinfer.detect.variants.optimize import Task, climb, file_of
    from meshinfer.detect.variants.quantise import check_tools

    check_tools()
    if footage is None:
        raise ConfigError("--footage PATH is needed: the videos or pictures that the model shall do well on")
    if max_ap_loss is not None and labels is None:
        raise ConfigError("--max-ap-loss needs --labels DIR: without them nobody knows what is right")
    card, model = locate(session, reference)
    shots = sample(Path(footage).expanduser(), frames, longest=LONGEST, pictures_only=labels is not None).shots
    if len(shots) < 4:
        raise ConfigError(f"{footage}: only {len(shots)} frames: some are needed to fit, others to judge; give more")
    fitted, judged = shots[::2], shots[1::2]
    truth = read_truth(Path(labels).expanduser(), judged, card.classes) if labels is not None else None
    allowed = 0.01 if labels is not None and max_ap_loss is None else max_ap_loss
    rule = Rule(min_agreement, max_ap_loss=allowed)
    with tempfile.TemporaryDirectory(prefix="meshinfer-") as place, steps(session) as tell:
        folder = Path(place)
        kept = [keep(some, folder / f) for some, f in ((fitted, "fitted.npz"), (judged, "judged.npz"))]
        task = Task(model, card, kept[0], kept[1], truth, workers(session), seconds)
        trials = climb(task, folder, tell)
        if len(reasons := {t.error for t in trials}) == 1 and trials[0].error:
            raise ModelError(f"{card.reference}: {reasons.pop()}")  # of the model, not of a variant
        taken = best(trials, rule)
        added = None
        if taken is not None:
            made = file_of(folder, trials.index(taken))
            version = version or "-".join(part for part in (card.version, taken.variant.suffix) if part)
            args = {"file": str(made), "name": name or card.name, "version": version}
            added = ask_models(session, "model_add", args, changes=True)["model"]
    if session.json:
        session.out.data(_plain(card, trials, rule, taken, added))
    else:
        _show(session, card, trials, rule, len(fitted), len(judged))
        if taken is not None and added is not None:
            what = f"{added['name']}@{added['version']}"
            session.out.say(f"added {what}: {taken.variant.name}, {taken.gain:.2f} times as fast", "bold")
        else:
            session.out.say(f"nothing added: {card.reference} as it is serves best here", "bold")
    return 0 if added else 1


def _show(session: Session, card: ModelCard, trials: Sequence[Trial], rule: Rule, fitted: int, judged: int) -> None:
    from meshinfer.cli.output import Column, size
    from meshinfer.detect.variants.ladder import objection

    by_ap = rule.max_ap_loss is not None
    session.out.say(f"{card.reference}: fitted to {fitted} frames, compared with the float model on {judged}")
    names = ("SIZE", "CPU ms", "SPEED", "AGREE", "SCORES", *(("AP",) if by_ap else ()))
    columns = [Column("VARIANT", whole=True), *(Column(n, "right", whole=True) for n in names), Column("VERDICT")]
    tried = [t for t in trials if t.agreement is not None]
    floats = [f"{statistics.median(t.float_ms for t in tried):.1f}" if tried else "–", "1.00x", "", ""]
    rows = [["float", size(card.bytes), *floats, *([_points(tried[0].float_ap)] if by_ap and tried else []), ""]]
    for t in trials:
        if t.agreement is None:
            rows.append([t.variant.name, *["–"] * len(names), "failed"])
            continue
        figures = [size(t.bytes), f"{t.ms:.1f}", f"{t.gain:.2f}x", f"{t.agreement.share:.0%}"]
        figures += [f"{t.agreement.score_shift:+.3f}", *([_points(t.ap)] if by_ap else [])]
        rows.append([t.variant.name, *figures, objection(t, rule) or "holds"])
    session.out.table(columns, rows)
    for t in trials:
        if t.error:
            session.out.say(f"{t.variant.name}: {t.error}", "yellow")


def _points(ap: float | None) -> str:
    return "–" if ap is None else f"{ap:.3f}"


def _plain(
    card: ModelCard, trials: Sequence[Trial], rule: Rule, taken: Trial | None, added: dict[str, Any] | None
) -> dict[str, Any]:
    import msgspec

    from meshinfer.detect.variants.ladder import objection

    rows = [msgspec.to_builtins(t) | {"gain": round(t.gain, 3), "objection": objection(t, rule)} for t in trials]
    return {
        "model": card.reference,
        "rule": msgspec.to_builtins(rule),
        "variants": rows,
        "taken": taken.variant.name if taken else None,
        "added": added,
    }
