"""Which model a peer runs a job with, where a roll-out tries a candidate there."""

from __future__ import annotations

from collections.abc import Mapping

from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.model.job import JobInfo


def model_here(info: JobInfo, me: PeerId, held: Mapping[ModelDigest, tuple[str, ...]]) -> ModelDigest:
    """The candidate, where `me` is one of those that try it; the job's own where only that can do it.

    `held`: the models that lie here, and their classes.
    """
    wanted, own = info.model_for(me), info.order.model
    return own if not _can(info, held.get(wanted)) and _can(info, held.get(own)) else wanted


def _can(info: JobInfo, classes: tuple[str, ...] | None) -> bool:
    return classes is not None and (info.spec is None or set(info.spec.detect.classes) <= set(classes))
