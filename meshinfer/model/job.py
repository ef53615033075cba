"""What people ask of the mesh: a job, typed. `JobSpec` is what a job file says; `Job` is what peers pass on."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from meshinfer.model.channel import MAX_CANARIES
from meshinfer.model.ids import Digest, Job, JobId, ModelDigest, Name, Peer, PeerId, Real, hash_of
from meshinfer.model.selector import Selector

MAX_SPEC = 16 * 1024
"""Bytes of a packed spec."""

MAX_EXPIRES = 366 * 86400
"""Seconds that a job can be open for."""


ModelName = Annotated[str, Meta(min_length=1, max_length=128)]
Classes = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=1000)]


class Sample(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which frames of a video are analysed."""

    every: Literal["frame"] | Annotated[int, Meta(ge=1, le=1_000_000)] = "frame"
    """`frame`: all of them. N: frames 0, N, 2N, ..."""
    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    """At most so many frames per second of video: the first frame at or after each multiple of 1/fps seconds."""

    def __post_init__(self) -> None:
        if self.fps is not None and self.every != "frame":
            raise ValueError("give `every` or `fps`, not both")


class Detect(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which detections are kept."""

    classes: Classes = ()
    """Class names; empty: all of the model's."""
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.25
    iou: Annotated[float, Meta(gt=0, le=1)] = 0.6
    """Two boxes of a class that overlap more than this are one object (layouts without their own suppression)."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Upper bounds for one entry. What was cut by one is counted in the result."""

    frames: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    """Analysed frames per entry."""
    seconds: Annotated[float, Meta(gt=0, le=1e10)] | None = None
    """Seconds of work per task; it ends as a host error beyond."""
    detections: Annotated[int, Meta(ge=1, le=300)] = 300
    """Detections per frame, the best ones."""


class Then(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A second model, which looks at what the first one found, in the same pass over the footage."""

    model: ModelName
    """As the job's own. Of a channel it is what that stands for, whatever is tried."""
    of: Classes = ()
    """Which of the first one's detections; empty: all."""
    classes: Classes = ()
    """Of the second model; empty: all it knows."""
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.25
    iou: Annotated[float, Meta(gt=0, le=1)] = 0.6
    margin: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """By how much of its width and height a box is grown to either side before it is cut out."""
    keep: Literal["both", "second"] = "both"
    """Whether the first one's detections are results too."""
    digest: Digest | None = None
    """The model that is meant: written by the publisher's peer, not by people."""


class Canary(Struct, frozen=True, forbid_unknown_fields=True):
    """A roll-out as a job finds it: it stays so until the job is over."""

    model: Digest
    """The candidate."""
    peers: Annotated[tuple[Peer, ...], Meta(min_length=1, max_length=MAX_CANARIES)]
    """Who runs the candidate; all others the job's own model."""


class JobSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job file, checked."""

    model: ModelName
    """A model's name, `name@version`, its digest (`sha256:` or at least 8 hex digits), or a channel (`name:track`)."""
    name: Name = "job"
    on: Selector = msgspec.field(default_factory=Selector)
    sample: Sample = msgspec.field(default_factory=Sample)
    detect: Detect = msgspec.field(default_factory=Detect)
    scope: Literal["once", "every"] = "once"
    limits: Limits = msgspec.field(default_factory=Limits)
    fresh: bool = False
    """Whether all of it is done anew, even what an equal job before it has done."""
    expires: Annotated[float, Meta(ge=1, le=MAX_EXPIRES)] = 24 * 3600.0
    """Seconds after publishing at which holders stop starting its tasks."""
    isolate: bool = False
    """Whether the model runs in a process of its own. What is found is the same, so it is no part of the work."""
    canary: Canary | None = None
    """Of a job that names a channel, where a roll-out was under way: written by the publisher's peer, not by people."""
    then: Then | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """Classes that its first model has to know."""
        return self.detect.classes if self.then is None else (*self.detect.classes, *self.then.of)


_pack = msgspec.msgpack.Encoder(order="deterministic").encode
_unpack = msgspec.msgpack.Decoder(JobSpec).decode


def pack_spec(spec: JobSpec) -> bytes:
    """The bytes that travel, and that the job's id is made of."""
    return _pack(spec)


def unpack_spec(packed: bytes) -> JobSpec:
    """Raises msgspec.MsgspecError, ValueError, RecursionError or OverflowError for a spec that is not understood.

    A field that is not understood is no reason to guess: such a job is declined, and kept for peers that know better.
    """
    return _unpack(packed)


class JobOrder(Struct, frozen=True):
    """The body of a `job` record: the spec as its publisher packed it, pinned to one model."""

    id: Job
    spec: Annotated[bytes, Meta(max_length=MAX_SPEC)]
    model: Digest
    nonce: Annotated[bytes, Meta(min_length=8, max_length=32)]
    published: Real
    """Unix seconds by the publisher's clock: for people. Nothing is decided by it."""

    @property
    def is_genuine(self) -> bool:
        return self.id == job_id(self.spec, self.model, self.nonce)


def job_id(packed_spec: bytes, model: ModelDigest, nonce: bytes) -> JobId:
    return JobId(hash_of(b"job", packed_spec, model.encode(), nonce, digits=16))


class JobInfo(Struct, frozen=True):
    """A job as a peer knows it."""

    order: JobOrder
    publisher: PeerId
    spec: JobSpec | None
    """None where this version does not understand it; `unclear` says what."""
    unclear: str = ""

    @property
    def id(self) -> JobId:
        return self.order.id

    @property
    def name(self) -> str:
        return self.spec.name if self.spec else "?"

    @property
    def second(self) -> ModelDigest | None:
        """The model that looks at what the first one found, where the job has one."""
        return self.spec.then.digest if self.spec is not None and self.spec.then is not None else None

    def model_for(self, peer: PeerId) -> ModelDigest:
        """What a peer runs: the candidate, where a roll-out tries one there; else the job's own model."""
        canary = self.spec.canary if self.spec else None
        return canary.model if canary is not None and peer in canary.peers else self.order.model

    @property
    def work(self) -> str:
        """What is computed, apart from over what: part of every task id, so equal jobs share what is done."""
        s = self.spec
        if s is None:
            raise ValueError("a job that is not understood has no work")
        tried = () if s.canary is None else (s.canary.model, s.canary.peers)
        then = () if s.then is None else (_rules_of(s.then),)
        # Every value is written out: what our encoder leaves out as a default is nothing that others could know.
        rules = (
            s.sample.every,
            None if s.sample.fps is None else float(s.sample.fps),
            s.detect.classes,
            float(s.detect.min_score),
            float(s.detect.iou),
            s.limits.frames,
            s.limits.detections,
            *tried,
            *then,
        )
        return hash_of(
            (self.id if s.fresh else "").encode(),
            self.order.model.encode(),
            _pack(rules),
        )


def _rules_of(then: Then) -> tuple[object, ...]:
    return (
        then.digest,
        then.of,
        then.classes,
        float(then.min_score),
        float(then.iou),
        float(then.margin),
        then.keep,
    )


def read_order(order: JobOrder, publisher: PeerId) -> JobInfo:
    try:
        spec = unpack_spec(order.spec)
        if spec.then is not None and spec.then.digest is None:
            return JobInfo(order, publisher, None, "names a second model (`then`) without its digest")
        return JobInfo(order, publisher, spec)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as e:
        # ValueError: text that is no UTF-8. The spec is a stranger's bytes: nothing in it may stop a peer.
        return JobInfo(order, publisher, None, f"asks for something this version does not know: {str(e)[:200]}")
