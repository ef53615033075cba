"""The bodies of records: what one peer states, signed, for all to keep. One struct a kind; see docs/PROTOCOL.md."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.channel import Channel
from meshinfer.model.ids import Count, Digest, Job, Labels, Name, Seconds, Text
from meshinfer.model.job import JobOrder
from meshinfer.model.spans import MAX_SPANS
from meshinfer.model.speed import MAX_CLASS

MAX_UNITS_A_PAGE = 2000
"""Units in one manifest record: 2000 x 18 bytes keeps a record below half of a gossip message."""

MAX_PAGES = 1000
"""Pages of one manifest: two million units of one job at one peer."""

MAX_OUTCOMES = 200
"""Outcomes in one result record."""

MAX_RUNNING = 256
"""Tasks that one claim names."""

MAX_MODELS = 128
"""Models that a peer names in its record: others do not hear of more."""

RawUnit = Annotated[bytes, Meta(min_length=12, max_length=12)]
"""A UnitId as its 12 bytes."""

MAX_EPOCH = 2**32
Epoch = Annotated[int, Meta(ge=0, le=MAX_EPOCH)]

RawTask = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""A TaskId as its 16 bytes: manifests and results carry thousands."""


class ModelRef(Struct, frozen=True, omit_defaults=True):
    """A model that a peer holds."""

    name: Name
    digest: Digest
    version: Annotated[str, Meta(max_length=64)] = ""
    classes: Count = 0
    fps: Annotated[int, Meta(ge=0, le=MAX_CLASS)] = 0
    """Frames a second there with all workers, to the nearest power of two; 0: not measured."""


class PeerFact(Struct, frozen=True, omit_defaults=True):
    """What a peer can do and where it can be reached."""

    name: Name
    labels: Labels
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=16)]
    version: Annotated[str, Meta(max_length=32)]
    cores: Annotated[int, Meta(ge=1, le=65536)]
    memory_mb: Count
    providers: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=32)] = ()
    models: Annotated[tuple[ModelRef, ...], Meta(max_length=MAX_MODELS)] = ()
    guest: bool = False
    """A command that joined for as long as it runs: nobody keeps dialing it."""


class Skipped(Struct, frozen=True):
    """Entries of a peer that a job left out, for one reason."""

    reason: Text
    entries: Count


class Holding(Struct, frozen=True, array_like=True):
    """A unit that a peer holds the data of: so many tasks."""

    unit: RawUnit
    spans: Annotated[int, Meta(ge=1, le=MAX_SPANS)] = 1


class Manifest(Struct, frozen=True, omit_defaults=True):
    """One page of what a peer holds of a job, and of what it has done of it."""

    job: Job
    page: Annotated[int, Meta(ge=0, lt=MAX_PAGES)]
    pages: Annotated[int, Meta(ge=1, le=MAX_PAGES)]
    units: Annotated[tuple[Holding, ...], Meta(max_length=MAX_UNITS_A_PAGE)]
    frames: Count = 0
    """Frames expected over this page's tasks, as far as the containers say."""


class Running(Struct, frozen=True, array_like=True):
    """A task that a peer is working on."""

    task: RawTask
    epoch: Epoch = 0
    """How often it had changed hands before: the higher epoch has it."""


class Claim(Struct, frozen=True, omit_defaults=True):
    """A lease on a peer's part of a job, and how far it is. Renewed every second or so while there is work."""

    job: Job
    running: Annotated[tuple[Running, ...], Meta(max_length=MAX_RUNNING)]
    """Tasks it is working on now: others leave them to it while its lease lasts."""
    analysed: Count
    """Frames analysed in its finished and running tasks."""
    detections: Count
    seconds: Seconds
    """Seconds since it started on this job."""
    queued: Count = 0
    """Tasks it means to work on and has not started."""
    deferred: Text = ""
    """Why it starts nothing now, where that is so: what it has not started is anyone's."""


ErrorKind = Literal["", "model", "input", "host"]

Fallback = Literal["", "absent", "model", "host"]
"""Why the job's own model did a task where a roll-out's candidate should have: it is not here, or it failed."""

SCORE_BUCKETS = 8
"""Of equal width, from 0 to 1."""


class Outcome(Struct, frozen=True, array_like=True):
    """How a task ended at one peer."""

    task: RawTask
    done: bool
    """False: it failed, and `error` says why."""
    frames: Count
    detections: Count
    seconds: Seconds
    digest: Annotated[str, Meta(max_length=32)] = ""
    """Over its detections in frame order: equal on every peer that ran it."""
    attempt: Count = 1
    error_kind: ErrorKind = ""
    error: Text = ""
    truncated: Text = ""
    """Why frames the container promised are missing, where some are."""
    epoch: Epoch = 0
    """Of the claim under which it ran."""
    reused: bool = False
    """It had been done for an equal job before this one asked."""
    scores: Annotated[tuple[Count, ...], Meta(max_length=SCORE_BUCKETS)] = ()
    """How many detections had scores in each eighth of 0 to 1, where the job names a channel; of a task that was
    resumed, perhaps not of all."""
    fallback: Fallback = ""


class Outcomes(Struct, frozen=True):
    """A batch of outcomes: a `result` record."""

    job: Job
    outcomes: Annotated[tuple[Outcome, ...], Meta(min_length=1, max_length=MAX_OUTCOMES)]


class Cancel(Struct, frozen=True):
    """Nobody starts tasks of this job any more; running ones stop."""

    job: Job
    why: Text


Fact = PeerFact | SourceSummary | Channel | JobOrder | Manifest | Claim | Outcomes | Cancel

KINDS: dict[str, type[Struct]] = {
    "peer": PeerFact,
    "source": SourceSummary,
    "channel": Channel,
    "job": JobOrder,
    "manifest": Manifest,
    "claim": Claim,
    "result": Outcomes,
    "cancel": Cancel,
}
"""Record kinds this version understands. Others are kept and passed on as they are."""

BOUND_TO_JOB = frozenset({"manifest", "claim", "result"})
"""Kinds that speak of what lies in the origin's store, in one job: their keys begin with its id. They make up the job's
log, and a newer store of their origin takes them back. Jobs and cancels stay."""
