"""`meshinfer models bench`: how fast a model is here, and on what."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.models.trying import keep, locate, steps, workers
from meshinfer.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from meshinfer.cli.models.footage import Footage
    from meshinfer.detect.card import ModelCard
    from meshinfer.detect.variants.trial import Run, Timing
    from meshinfer.detect.variants.tuning import Tuned

FRAMES: Final = 16
MAX_THREADS: Final = 256


@verb("bench")
@click.argument("reference", metavar="REF")
@click.option("--footage", "--images", metavar="PATH", help="Frames from these videos or pictures [drawn ones].")
@click.option("--threads", metavar="N,N", help="Worker threads to try [1, and as many as this peer has workers].")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="On the clock, for each."
)
def bench(session: Session, reference: str, footage: str | None, threads: str | None, seconds: float) -> None:
    """Measure a model on this machine.

    Frames a second, milliseconds of each stage and memory, for every provider that the installed runtime offers and
    every number of threads, each in a process of its own. What is best is kept in mind, and told to the mesh.

    \b
    Example:
      meshinfer models bench yolox_nano --footage ./footage --threads 1,2,4
    """
    from meshinfer.cli.models.footage import drawn, sample
    from meshinfer.detect.variants.trial import Run
    from meshinfer.detect.variants.tuning import usable_here

    card, model = locate(session, reference)
    most = workers(session)
    counts = _counts(threads) if threads else sorted({1, most})
    shots = sample(Path(footage).expanduser(), FRAMES) if footage else drawn()
    runs = [Run(str(model), provider.short, n) for provider in usable_here() for n in counts]
    with tempfile.TemporaryDirectory(prefix="meshinfer-") as folder, steps(session) as tell:
        frames = keep(shots.shots, Path(folder) / "frames.npz")
        timings = []
        for place, run in enumerate(runs):
            tell(f"{run.provider}, {run.threads} threads", place / len(runs))
            timings.append(_measured(run, frames, seconds))
    if all(timing.error for timing in timings):
        raise ModelError(f"{card.reference}: {timings[-1].error}")
    tuned = _kept(session, card, timings, most)
    if session.json:
        session.out.data(_plain(card, shots, timings, tuned, most))
    else:
        _show(session, card, shots, timings, tuned, most)


def _counts(text: str) -> list[int]:
    try:
        counts = sorted({int(word) for word in text.split(",")})
    except ValueError:
        counts = [0]
    if not 1 <= counts[0] <= counts[-1] <= MAX_THREADS:
        raise ConfigError(f"--threads {text}: expected numbers from 1 to {MAX_THREADS}, such as 1,2,4")
    return counts


def _measured(run: Run, frames: Path, seconds: float) -> Timing:
    from meshinfer.detect.variants.trial import Question, Timing, try_aside
    from meshinfer.detect.variants.tuning import SURE

    try:
        (timing,) = try_aside(Question((run,), str(frames), seconds, rounds=3, min_score=SURE / 2))
    except ModelError as e:
        return Timing(run, error=str(e))
    return timing


def _kept(session: Session, card: ModelCard, timings: Sequence[Timing], most: int) -> Tuned | None:
    """What is best with all workers, in the peer's book now; None where that was not measured."""
    from meshinfer.detect.variants.tuning import open_book, pick
    from meshinfer.home import make_home

    at_work = {t.run.provider: t for t in timings if t.run.threads == most}
    if not at_work:
        return None
    make_home(session.home)
    book = open_book(session.home)
    tuned = pick(book.machine, at_work)
    book.put(card.digest, tuned)
    return tuned


def _show(
    session: Session, card: ModelCard, footage: Footage, timings: Sequence[Timing], tuned: Tuned | None, most: int
) -> None:
    from meshinfer.cli.output import Column, count

    what = "drawn frames" if not footage.decode_ms else f"frames; decoding one takes {footage.decode_ms:.1f} ms"
    session.out.say(f"{card.reference}, {card.width}x{card.height}, on {len(footage.shots)} {what}")
    names = ("THREADS", "FRAMES/S", "PREPARE ms", "RUN ms", "DECODE ms", "MEMORY MB", "LOAD ms")
    columns = [Column("PROVIDER"), *(Column(name, "right", whole=True) for name in names)]
    session.out.table(columns, [_row(timing) for timing in timings if not timing.error])
    failed: Mapping[str, str] = {t.run.provider: t.error for t in timings if t.error}
    for short, why in ({**failed, **tuned.refused} if tuned else failed).items():
        session.out.say(f"{short}: {why}", "yellow")
    if tuned is not None:
        session.out.say(
            f"this peer runs it on {tuned.provider}: {tuned.fps:.0f} frames/s with {count(most, 'worker')}", "bold"
        )


def _row(t: Timing) -> list[str]:
    stages = [f"{value:.2f}" for value in (t.before_ms, t.run_ms, t.after_ms)]
    return [t.run.provider, str(t.run.threads), f"{t.fps:.1f}", *stages, f"{t.memory_mb:.0f}", f"{t.load_ms:.0f}"]


def _plain(
    card: ModelCard, footage: Footage, timings: Sequence[Timing], tuned: Tuned | None, most: int
) -> dict[str, object]:
    return {
        "model": card.reference,
        "digest": card.digest,
        "frames": len(footage.shots),
        "media_decode_ms": round(footage.decode_ms, 2),
        "runs": [
            {
                "provider": t.run.provider,
                "threads": t.run.threads,
                "error": t.error,
                "fps": t.fps,
                "prepare_ms": t.before_ms,
                "run_ms": t.run_ms,
                "decode_ms": t.after_ms,
                "memory_mb": t.memory_mb,
                "load_ms": t.load_ms,
            }
            for t in timings
        ],
        "workers": most,
        "chosen": {"provider": tuned.provider, "fps": tuned.fps, "refused": tuned.refused} if tuned else None,
    }
