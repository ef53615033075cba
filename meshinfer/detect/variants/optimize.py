"""The ladder of variants, each made and tried aside against the float model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import meshinfer
from meshinfer.detect import onnx
from meshinfer.detect.card import ModelCard
from meshinfer.detect.sidecar import read_sidecar, sidecar_path
from meshinfer.detect.variants.agreement import agreement
from meshinfer.detect.variants.aside import Tell, quiet
from meshinfer.detect.variants.ladder import LADDER, Trial, Variant
from meshinfer.detect.variants.precision import Truth, average_precision
from meshinfer.detect.variants.quantise import Question as Recipe
from meshinfer.detect.variants.quantise import quantise_aside
from meshinfer.detect.variants.trial import Question, Run, try_aside
from meshinfer.errors import ModelError

SURE: Final = 0.3
SLACK: Final = 0.1
"""See `agreement`."""
ROUNDS: Final = 8
"""Turns of the float model and the variant on the clock."""
MIN_SCORE: Final = 0.001
"""From which boxes count for AP, as in COCO's own tables."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to optimise, and with which frames."""

    model: Path
    """With its sidecar beside it."""
    card: ModelCard
    calibration: Path
    judged: Path
    """Other frames than those of the calibration; files that `save_frames` wrote."""
    truth: Sequence[Sequence[Truth]] | None
    """Of the judged frames."""
    threads: int
    seconds: float
    """For which each model computes on the clock, a variant."""


def climb(task: Task, folder: Path, tell: Tell = quiet) -> list[Trial]:
    """Try the whole ladder; variant i lies at `file_of(folder, i)` afterwards, its sidecar beside it. A variant that
    cannot be made is a trial with an error. Raises OSError.
    """
    trials = []
    for place, variant in enumerate(LADDER):

        def tell_part(step: str, done: float, place: int = place, name: str = variant.name) -> None:
            tell(f"{name}: {step}", (place + done) / len(LADDER))

        try:
            trials.append(_try(task, variant, file_of(folder, place), tell_part))
        except ModelError as e:
            trials.append(Trial(variant=variant, error=str(e)))
    return trials


def file_of(folder: Path, place: int) -> Path:
    return folder / f"variant{place}.onnx"


def _try(task: Task, variant: Variant, target: Path, tell: Callable[[str, float], None]) -> Trial:
    made = {"meshinfer.made_from": f"sha256:{task.card.digest}", "meshinfer.variant": variant.name}
    made["meshinfer.made_by"] = f"meshinfer {meshinfer.__version__}, onnxruntime {onnx.version()}"
    recipe = Recipe(str(task.model), str(task.calibration), variant, str(target), made)
    quantise_aside(recipe, lambda step, done: tell(step, done / 2))
    _write_sidecar(task, target)
    runs = tuple(Run(str(model), threads=task.threads) for model in (task.model, target))
    min_score = MIN_SCORE if task.truth is not None else SURE - SLACK
    question = Question(runs, str(task.judged), task.seconds, rounds=ROUNDS, min_score=min_score)
    here, there = try_aside(question, lambda step, done: tell(step, 0.5 + done / 2))
    if here.error or there.error:
        return Trial(variant=variant, error=here.error or there.error)
    return Trial(
        variant=variant,
        bytes=target.stat().st_size,
        ms=there.cpu_ms,
        float_ms=here.cpu_ms,
        agreement=agreement(here.found, there.found, sure=SURE, slack=SLACK),
        ap=average_precision(there.found, task.truth) if task.truth is not None else None,
        float_ap=average_precision(here.found, task.truth) if task.truth is not None else None,
    )


def _write_sidecar(task: Task, target: Path) -> None:
    """The original's, with its layout in so many words, as rounded outputs could look like another one's, and its
    licence, which may have been known by the digest alone.
    """
    given = sidecar_path(task.model)
    text = given.read_text(encoding="utf-8") if given.is_file() else ""
    said = read_sidecar(task.model)
    for key, known, value in (
        ("layout", said.layout, task.card.layout),
        ("licence", said.licence, task.card.licence),
    ):
        if value and not known:  # first of all: what follows may be a table of TOML
            text = f"{key} = {json.dumps(value, ensure_ascii=False)}\n{text}"
    sidecar_path(target).write_text(text, encoding="utf-8")
