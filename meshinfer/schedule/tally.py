"""Outcomes added up as they come, by peer and model: what a roll-out is judged by costs nothing to look at."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from meshinfer.model.facts import SCORE_BUCKETS, Outcome
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.model.job import JobInfo

FAULTS = ("model", "host")
"""Errors that a model may be to blame for; a file that cannot be read says nothing of it."""


class Tally(Struct, frozen=True):
    """Outcomes, added up."""

    tasks: int = 0
    errors: int = 0
    frames: int = 0
    detections: int = 0
    seconds: float = 0.0
    scores: tuple[int, ...] = (0,) * SCORE_BUCKETS

    def plus(self, other: Tally, times: int = 1) -> Tally:
        return Tally(
            self.tasks + times * other.tasks,
            self.errors + times * other.errors,
            self.frames + times * other.frames,
            self.detections + times * other.detections,
            self.seconds + times * other.seconds,
            tuple(a + times * b for a, b in zip(self.scores, other.scores, strict=True)),
        )

    @property
    def per_frame(self) -> float:
        """Detections per frame."""
        return self.detections / self.frames if self.frames else 0.0

    @property
    def fps(self) -> float:
        """Frames per second of work."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def score(self) -> float:
        """The mean score, by the buckets' middles."""
        count = sum(self.scores)
        return sum((i + 0.5) * n for i, n in enumerate(self.scores)) / SCORE_BUCKETS / count if count else 0.0


class Tallies:
    """Of one job that names a channel."""

    def __init__(self, info: JobInfo) -> None:
        self._info = info
        self._of: dict[PeerId, dict[ModelDigest, Tally]] = {}
        self._absent: dict[PeerId, int] = {}

    def note(self, peer: PeerId, outcome: Outcome, before: Outcome | None) -> None:
        """`before`: what it had said of the same task."""
        if before is not None:
            self._add(peer, before, -1)
        self._add(peer, outcome, 1)

    def forget(self, peer: PeerId) -> None:
        self._of.pop(peer, None)
        self._absent.pop(peer, None)

    def __iter__(self) -> Iterator[tuple[PeerId, ModelDigest, Tally]]:
        """What each peer has done with each model. A candidate's failures are its own, whatever did its work then."""
        for peer, models in sorted(self._of.items()):
            for model, tally in sorted(models.items()):
                if tally.tasks:
                    yield peer, model, tally

    def absent(self, peer: PeerId) -> int:
        """Tasks for which a canary lacked the candidate."""
        return self._absent.get(peer, 0)

    def _add(self, peer: PeerId, outcome: Outcome, times: int) -> None:
        if outcome.reused or not (outcome.done or outcome.error_kind in FAULTS):
            return  # come to in another job, or no model's doing
        model, own = self._info.model_for(peer), self._info.order.model
        if outcome.fallback == "absent" or model == own:
            self._absent[peer] = self._absent.get(peer, 0) + times * (model != own)
            tally = _tally(outcome)
            model = own
        else:
            tally = Tally(tasks=1, errors=1) if outcome.fallback else _tally(outcome)
        of_peer = self._of.setdefault(peer, {})
        of_peer[model] = of_peer.get(model, Tally()).plus(tally, times)


def _tally(outcome: Outcome) -> Tally:
    scores = (*outcome.scores, *((0,) * SCORE_BUCKETS))[:SCORE_BUCKETS]
    return Tally(1, int(not outcome.done), outcome.frames, outcome.detections, outcome.seconds, scores)
