"""Is the candidate as good as what it is to replace? A function of the evidence, in figures and in words.

A wrong "no" costs another try, a wrong "yes" a mesh that sees nothing: whatever is in doubt goes back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from meshinfer.schedule.evidence import Evidence, total
from meshinfer.schedule.tally import Tally

MIN_FRAMES = 100
"""Frames of either side below which detections and speed are not compared, and nothing is promoted."""

MIN_DETECTIONS = 200
"""Of either side, below which scores are not compared: fewer differ by chance."""

RARE = 5
"""Detections that either side is given besides: of rare things, none may come by chance."""

MIN_ERRORS = 3
CHANCE = 0.05
"""An error rate is higher if it is twice the other, by so many errors at least, and chance alone gives as many or more
in one of twenty cases at most (Fisher's exact test, one-sided)."""

LONE_ERRORS = 0.1
"""With nothing to compare with: the share of tasks that may fail."""

SLOWER = 2.0
"""A canary is slower than it was if it takes so many times as long for a frame."""


class Bounds(NamedTuple):
    """How far results may lie apart."""

    detections: float
    """Detections per frame: so many times as many, or as few."""
    drift: float
    """Population stability index of the scores: 0.1 is said to be a small change, 0.25 a large one."""


OWN = Bounds(2.0, 0.25)
OTHERS = Bounds(4.0, 0.5)
"""Other peers look at other things."""

Verdict = Literal["wait", "promote", "lapse", "rollback"]


class Judgement(NamedTuple):
    verdict: Verdict
    why: str


def judge(evidence: Evidence, *, over: bool) -> Judgement:
    """`over`: its time has passed. What is bad is told at once, but for speed, which is told at the end."""
    tried = evidence.candidate
    base = evidence.rest.plus(total(evidence.before.values()))
    for reason in (_errors(tried, base), *_results(evidence)):
        if reason:
            return Judgement("rollback", reason)
    seen = f"{tried.frames} frames in {_count(tried.tasks, 'task')} on {_count(len(evidence.canaries), 'peer')}"
    if not over:
        return Judgement("wait", f"nothing wrong so far: {seen}")
    if tried.frames < MIN_FRAMES:
        lacking = f"; {evidence.absent} tasks found no candidate at their peer" if evidence.absent else ""
        return Judgement("lapse", f"too little was seen: {seen}, of at least {MIN_FRAMES} frames{lacking}")
    if base.frames < MIN_FRAMES:
        return Judgement("lapse", f"nothing to compare with: {base.frames} frames of the model that it is to replace")
    if reason := _speed(evidence):
        return Judgement("rollback", reason)
    return Judgement("promote", f"as good as what it replaces: {seen}; {_figures(tried, base)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _figures(tried: Tally, base: Tally) -> str:
    return (
        f"{tried.errors} of {tried.tasks} tasks failed against {base.errors} of {base.tasks}, "
        f"{tried.per_frame:.2f} detections a frame against {base.per_frame:.2f}, "
        f"mean score {tried.score:.2f} against {base.score:.2f}"
    )


def _errors(tried: Tally, base: Tally) -> str:
    if tried.errors < MIN_ERRORS:
        return ""
    rate, other = tried.errors / tried.tasks, base.errors / base.tasks if base.tasks else 0.0
    if base.tasks:
        bad = rate > 2 * other and tail(tried.errors, tried.tasks, base.errors, base.tasks) <= CHANCE + 1e-9
    else:
        bad = rate > LONE_ERRORS
    failed = f"{tried.errors} of {tried.tasks} tasks failed with it"
    return f"{failed}, against {base.errors} of {base.tasks}" if bad else ""


def tail(errors: int, tasks: int, other_errors: int, other_tasks: int) -> float:
    """The chance of at least so many of all errors among these tasks, did they fall on any task alike."""
    bad, good = errors + other_errors, tasks + other_tasks - errors - other_errors
    least, most = max(errors, tasks - good), min(bad, tasks)
    # By logarithms: the numbers of ways themselves have thousands of digits.
    ways = (_ways(bad, k) + _ways(good, tasks - k) - _ways(bad + good, tasks) for k in range(least, most + 1))
    return math.fsum(map(math.exp, ways))


def _ways(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _results(evidence: Evidence) -> list[str]:
    """What differs too much: each canary from its earlier self, those without a past together from all others."""
    reasons, strangers = [], Tally()
    for peer, tally in sorted(evidence.canaries.items()):
        before = evidence.before.get(peer, Tally())
        if before.frames >= MIN_FRAMES:
            reasons.append(_apart(tally, before, OWN, "there earlier"))
        else:
            strangers = strangers.plus(tally)
    reasons.append(_apart(strangers, evidence.rest, OTHERS, "at the others"))
    return reasons


def _apart(tried: Tally, base: Tally, bounds: Bounds, where: str) -> str:
    if min(tried.frames, base.frames) < MIN_FRAMES:
        return ""
    slack = RARE / min(tried.frames, base.frames)
    rates = tried.per_frame + slack, base.per_frame + slack
    if max(rates) > bounds.detections * min(rates):
        return f"it finds {tried.per_frame:.2f} objects a frame, against {base.per_frame:.2f} {where}"
    counts = sum(tried.scores), sum(base.scores)
    if min(counts) < MIN_DETECTIONS:
        return ""
    chance = (len(tried.scores) - 1) * (1 / counts[0] + 1 / counts[1])
    if (apart := drift(tried.scores, base.scores)) > bounds.drift + chance:
        score = f"mean {tried.score:.2f} against {base.score:.2f} {where}"
        return f"its scores have drifted by {apart:.2f} ({score})"
    return ""


def drift(one: Sequence[int], other: Sequence[int]) -> float:
    """The population stability index of two histograms with equal buckets; an empty bucket counts as half a one."""
    total_one, total_other = sum(one), sum(other)
    if not total_one or not total_other:
        return 0.0
    shares = [(max(a, 0.5) / total_one, max(b, 0.5) / total_other) for a, b in zip(one, other, strict=True) if a or b]
    return sum((a - b) * math.log(a / b) for a, b in shares)


def _speed(evidence: Evidence) -> str:
    for peer, tally in sorted(evidence.canaries.items()):
        before = evidence.before.get(peer, Tally())
        if min(tally.frames, before.frames) >= MIN_FRAMES and tally.fps and before.fps > SLOWER * tally.fps:
            return f"it is slow: {tally.fps:.1f} frames/s, against {before.fps:.1f} there earlier"
    return ""
