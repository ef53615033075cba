"""What a peer does with a job, and why."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from meshinfer.model.catalog import EntryName
from meshinfer.model.facts import Skipped
from meshinfer.model.ids import Count, Name, Text


class TaskError(Struct, frozen=True, array_like=True):
    source: Name
    entry: EntryName
    kind: Annotated[str, Meta(max_length=16)]
    message: Text


class Verdict(Struct, frozen=True, omit_defaults=True):
    """What a peer does with a job, and why."""

    verdict: Annotated[str, Meta(max_length=16)]
    """`runs`, `stands by`, `declines`, or `unknown` (it has not heard of the job yet)."""
    reason: Text = ""
    cause: Annotated[str, Meta(max_length=16)] = ""
    """Of a decline that a better job would change: `classes`, `model` or `spec`."""
    tasks: Count = 0
    frames: Count = 0
    stands_by: Count = 0
    running: Count = 0
    analysed: Count = 0
    detections: Count = 0
    skipped: Annotated[tuple[Skipped, ...], Meta(max_length=16)] = ()
    errors: Annotated[tuple[TaskError, ...], Meta(max_length=32)] = ()
    notices: Annotated[tuple[TaskError, ...], Meta(max_length=32)] = ()
    """Of tasks that are done, but of which people should know more: a video that was cut off."""
