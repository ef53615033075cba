"""Everything peers say to each other that is no record: announcements, sync, events, results, questions.

One decoder a message, each with its own limit; unions are tagged, so a peer always knows what it got. Bulk answers
are sequences of pages: no frame is larger than `MAX_PAGE`, whoever asks.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from meshinfer.model.bundle import MAX_CHUNKS
from meshinfer.model.catalog import Entry, EntryName, Unreadable
from meshinfer.model.detection import MAX_DETECTIONS, Detection
from meshinfer.model.facts import RawTask
from meshinfer.model.ids import Content, Count, Digest, Job, Name, Peer, Real, Seconds, Task, Text
from meshinfer.model.job import MAX_SPEC, Detect
from meshinfer.model.verdict import Verdict
from meshinfer.wire.bundles import MAX_BUNDLE
from meshinfer.wire.codec import Decoder
from meshinfer.wire.eventpack import EventPack
from meshinfer.wire.records import MAX_RECORD

MAX_ANNOUNCEMENT = 60 * 1024
"""Bytes of one gossip message, below the mesh's 64 KiB."""

MAX_PAGE = 224 * 1024
"""Bytes of one stream frame, below the mesh's 256 KiB."""

PAGE_TARGET = 96 * 1024
"""Bytes after which a sender ends a page; one more item of the largest kind still fits `MAX_PAGE`."""

MAX_VECTOR = 3000
"""Logs that one part of a vector names."""

MAX_RUNS = 2048
"""Numbers by which a vector tells what it has of one log beyond its n."""

MAX_JOBS = 1000
"""Jobs that one part of a vector names."""

MAX_LINKS = 512
"""Connections that one peer tells of, the first by their ids."""

MAX_LACKING = 64
"""Stores that an answer to a checkup names as not up to date at the asker."""

SealedBytes = Annotated[bytes, Meta(max_length=MAX_RECORD)]
Incarnation = Annotated[int, Meta(ge=1, le=2**62)]


class Announcement(Struct, frozen=True):
    """Gossip on `peers` and `jobs`: new records."""

    records: Annotated[tuple[SealedBytes, ...], Meta(max_length=512)]


class EventBatch(Struct, frozen=True):
    """Gossip on `events`: consecutive events of the peer that sends it."""

    pack: EventPack


class Aged(Struct, frozen=True, array_like=True):
    """A record on its way, with how long ago it was first heard of: clocks differ, durations don't."""

    sealed: SealedBytes
    age: Seconds


class Upto(Struct, frozen=True, array_like=True):
    """I have seen all of this log up to n, and beyond it these runs: first and last of each, ascending."""

    origin: Peer
    incarnation: Incarnation
    n: Count
    runs: Annotated[tuple[Count, ...], Meta(max_length=MAX_RUNS)] = ()


Vector = Annotated[tuple[Upto, ...], Meta(max_length=MAX_VECTOR)]


class OfJob(Struct, frozen=True, array_like=True):
    """I keep the logs of this job, and have seen so much of them."""

    job: Job
    vector: Vector = ()
    relay: bool = False
    """Keep them too for a while: I am not connected to the publisher, and you may be."""


class Have(Struct, frozen=True, omit_defaults=True, tag="have"):
    """Opens a sync: what the sender has seen."""

    vector: Vector
    jobs: Annotated[tuple[OfJob, ...], Meta(max_length=MAX_JOBS)] = ()
    more: bool = False
    """Another part follows."""


class Page(Struct, frozen=True, tag="page"):
    """Records that the receiver lacks."""

    records: Annotated[tuple[Aged, ...], Meta(max_length=2000)]


class Complete(Struct, frozen=True, omit_defaults=True, tag="complete"):
    """Ends a side's pages: what it has seen."""

    vector: Vector
    jobs: Annotated[tuple[OfJob, ...], Meta(max_length=MAX_JOBS)] = ()
    more: bool = False


SyncMessage = Have | Page | Complete


class Replay(Struct, frozen=True, tag="replay"):
    """Ask a peer for its events after a place in its log."""

    after: Count | None = None
    """n of the last event the asker has; None: see `ago`."""
    ago: Seconds | None = None
    """Start with events recorded at most so many seconds ago. Neither: only where the log ends is told."""
    until: Count | None = None
    incarnation: Incarnation | None = None
    """Of `after`. Another store's log has other numbers: its events are replayed from their start."""
    job: Job | None = None
    """Only events that serve this job, and named as its own: equal work is done once, for whichever job came first."""


class Events(Struct, frozen=True, tag="events"):
    pack: EventPack


class Head(Struct, frozen=True, tag="head"):
    """Ends a replay: the log reaches to n."""

    incarnation: Incarnation
    n: Count


EventsMessage = Events | Head


class ResultsOf(Struct, frozen=True):
    """Ask a peer for everything it found in a job."""

    job: Job
    pictures: Annotated[int, Meta(ge=0, le=64)] = 0
    """Annotated frames wanted; the owner's policy decides."""


class TaskReport(Struct, frozen=True, array_like=True):
    task: Task
    source: Name
    entry: EntryName
    content: Content
    state: Annotated[str, Meta(max_length=16)]
    frames: Count
    detections: Count
    digest: Annotated[str, Meta(max_length=32)] = ""
    error: Text = ""
    first: Count = 0
    """The first frame of its span."""
    stop: Count | None = None
    """The first frame after it; nil: to the end."""


class Tasks(Struct, frozen=True, tag="tasks"):
    tasks: Annotated[tuple[TaskReport, ...], Meta(max_length=2000)]


class Picture(Struct, frozen=True, tag="picture"):
    source: Name
    entry: EntryName
    frame: Count
    jpeg: Annotated[bytes, Meta(max_length=200 * 1024)]


class ResultsEnd(Struct, frozen=True, tag="end"):
    pixels_refused: bool = False


ResultsMessage = Tasks | Events | Picture | ResultsEnd


class Ask(Struct, frozen=True):
    """What would you do, or are you doing, with this? A job that all know, or a spec that nobody has published."""

    job: Job | None = None
    spec: Annotated[bytes, Meta(max_length=MAX_SPEC)] | None = None
    model: Digest | None = None


class WantWork(Struct, frozen=True):
    """An idle peer asks a busy one for tasks that it has not started."""

    job: Job
    most: Annotated[int, Meta(ge=1, le=256)]


class GiveWork(Struct, frozen=True):
    """The answer: these are the asker's now, if it claims them soon. None: there is nothing to spare."""

    tasks: Annotated[tuple[RawTask, ...], Meta(max_length=256)]


class CatalogPage(Struct, frozen=True, tag="catalog"):
    entries: Annotated[tuple[Entry, ...], Meta(max_length=1000)]
    unreadable: Annotated[tuple[Unreadable, ...], Meta(max_length=1000)] = ()


class CatalogOf(Struct, frozen=True):
    """Ask a peer for everything in its catalog."""

    source: Name | None = None


class Checkup(Struct, frozen=True):
    """Ask a peer how it is, and what it holds that the asker lacks."""

    vector: Vector


class Lacking(Struct, frozen=True, array_like=True):
    """So many live records of this store that the asker, by its vector, has not; n is the first of them."""

    origin: Peer
    incarnation: Incarnation
    n: Count
    records: Count


class Health(Struct, frozen=True):
    """How a peer is."""

    clock: Real
    """Its wall clock, unix seconds."""
    version: Annotated[str, Meta(max_length=32)]
    up: Seconds
    connected: Annotated[tuple[Peer, ...], Meta(max_length=MAX_LINKS)]
    lag: Seconds
    """How late its loop is, p99 of the last minute."""
    free: Count
    """Bytes of disk left."""
    store: Count
    """Bytes of its database; 0: the file is gone."""
    events: Count
    """Where its log of events ends."""
    running: Count
    """Tasks it is working on."""
    records: Count
    """Live records it holds."""
    no_room: Text = ""
    """Why it starts no tasks."""
    heard: Count = 0
    """The seq of the asker's `peer` record that it holds."""
    lacking: Annotated[tuple[Lacking, ...], Meta(max_length=MAX_LACKING)] = ()


class WantModel(Struct, frozen=True):
    """Ask a peer for a model that it holds."""

    model: Digest


class ModelSeal(Struct, frozen=True, omit_defaults=True, tag="seal"):
    """It is held here, as this signer vouches for it."""

    sealed: Annotated[bytes, Meta(max_length=MAX_BUNDLE)]
    more: bool = False
    """Another signer's follows. After the last the asker asks for chunks."""


class NoModel(Struct, frozen=True, tag="none"):
    """It is not to be had here, or not now."""

    why: Text


ModelAnswer = ModelSeal | NoModel


class WantChunk(Struct, frozen=True):
    """Ask for one chunk. The answer is a frame of nothing but its bytes, in the order of the questions; an empty one
    where it cannot be read any more.
    """

    index: Annotated[int, Meta(ge=0, lt=MAX_CHUNKS)]


class Part(Struct, frozen=True):
    """Ask a neighbour whether it can do without the link to the asker, who has more than it needs."""

    links: Count
    """Links that the asker has at random: neither for footage nor because something is under way on them."""


class Parted(Struct, frozen=True):
    agreed: bool
    """The asker may close the connection: nobody dials for it."""


MAX_PICTURE = 32 * 1024 * 1024
"""Bytes of a picture that a peer is asked to look at: a JPEG of 100 megapixels."""


class InferOn(Struct, frozen=True, omit_defaults=True):
    """Ask a peer to run a model over one picture, whose bytes follow in frames of at most `MAX_PAGE`."""

    model: Annotated[str, Meta(min_length=1, max_length=128)]
    """As jobs name models, but of those that the asked peer holds."""
    size: Annotated[int, Meta(ge=1, le=MAX_PICTURE)]
    """Bytes of the picture: a JPEG or PNG file."""
    detect: Detect = field(default_factory=Detect)


class Inferred(Struct, frozen=True, omit_defaults=True):
    """The answer: what the model saw, or why nothing was looked at."""

    refused: Text = ""
    model: Annotated[str, Meta(max_length=128)] = ""
    """What it is called there."""
    digest: Annotated[str, Meta(max_length=64)] = ""
    width: Count = 0
    height: Count = 0
    detections: Annotated[tuple[Detection, ...], Meta(max_length=MAX_DETECTIONS)] = ()
    """Best first, in pixels of the picture."""
    seconds: Seconds = 0.0
    """Decoding and running it, without loading the model."""


read_announcement = Decoder(Announcement, MAX_ANNOUNCEMENT + 4096)
read_event_batch = Decoder(EventBatch, MAX_ANNOUNCEMENT + 4096)
read_sync: Decoder[SyncMessage] = Decoder(SyncMessage, MAX_PAGE)  # type: ignore[arg-type]  # a union is no type object to mypy
read_replay = Decoder(Replay, 1024)
read_events: Decoder[EventsMessage] = Decoder(EventsMessage, MAX_PAGE)  # type: ignore[arg-type]  # as above
read_results_of = Decoder(ResultsOf, 1024)
read_results: Decoder[ResultsMessage] = Decoder(ResultsMessage, MAX_PAGE)  # type: ignore[arg-type]  # as above
read_ask = Decoder(Ask, MAX_SPEC + 1024)
read_verdict = Decoder(Verdict, MAX_PAGE)
read_catalog_of = Decoder(CatalogOf, 1024)
read_catalog = Decoder(CatalogPage, MAX_PAGE)
read_want_work = Decoder(WantWork, 1024)
read_give_work = Decoder(GiveWork, 8 * 1024)
read_checkup = Decoder(Checkup, MAX_PAGE)
read_health = Decoder(Health, 64 * 1024)
read_want_model = Decoder(WantModel, 1024)
read_model_answer: Decoder[ModelAnswer] = Decoder(ModelAnswer, MAX_PAGE)  # type: ignore[arg-type]  # as above
read_want_chunk = Decoder(WantChunk, 64)
read_part = Decoder(Part, 1024)
read_parted = Decoder(Parted, 1024)
read_infer_on = Decoder(InferOn, MAX_SPEC)
read_inferred = Decoder(Inferred, MAX_PAGE)
