"""Everything that can happen to a scheduler, and everything it can ask for.

Stimuli go into `ScheduleState.handle`, effects come out. Effects are wishes: the shell starts them and reports back
by stimuli; none is waited for. A record of our own is stated by `State`, and believed when it comes back as
`Heard`, as all others are: so a peer acts only on what it has made durable.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import Fact, Outcome
from meshinfer.model.ids import JobId, ModelDigest, PeerId, TaskId


class Heard(Struct, frozen=True):
    """A verified record that is new to the log."""

    origin: PeerId
    fact: Fact
    born: float
    """Local time at which it was first heard of anywhere."""


class StoreLost(Struct, frozen=True):
    """`origin` came back with a new store: its earlier manifests, claims and results no longer hold."""

    origin: PeerId
    jobs: frozenset[JobId]


class JobForgotten(Struct, frozen=True):
    """A job is over for so long that nothing is kept of it, not even that it was."""

    job: JobId


class PeerForgotten(Struct, frozen=True):
    """Nothing is kept of this peer. What it published and did follows on its own."""

    peer: PeerId


class Connected(Struct, frozen=True):
    peer: PeerId


class Disconnected(Struct, frozen=True):
    peer: PeerId


class CatalogChanged(Struct, frozen=True):
    """What lies here now, as a difference."""

    added: tuple[Entry, ...]
    removed: tuple[tuple[str, str], ...] = ()
    """(source, name)."""
    complete: bool = True
    """False while the first look is under way: until then an earlier manifest of ours is only added to."""


class ModelsChanged(Struct, frozen=True):
    """The models held here, and the classes of each."""

    classes: Mapping[ModelDigest, tuple[str, ...]]
    """Of those that may run."""
    refused: Mapping[ModelDigest, str] = {}
    """Those that may not, and why."""
    series: frozenset[ModelDigest] = frozenset()
    """Those that look at series. All others look at pictures."""


class FetchMoved(Struct, frozen=True):
    """How far a model that was asked for by `Fetch` has come. It has arrived when `ModelsChanged` names it."""

    model: ModelDigest
    got: int = 0
    size: int = 0
    """In bytes; 0: not known yet."""
    sources: tuple[PeerId, ...] = ()
    """Who sends it now."""
    trouble: str = ""
    """What is in the way, where nothing comes."""
    refused: bool = False
    """Everybody who has it was asked, and what they offer may not run here: `trouble` says why."""


class TaskProgressed(Struct, frozen=True):
    """So far, in all attempts."""

    task: TaskId
    analysed: int
    detections: int


class TaskEnded(Struct, frozen=True):
    task: TaskId
    outcome: Outcome


class TaskReturned(Struct, frozen=True):
    """It could not be worked on now, through no fault of its own (the disk is full). It is pending again."""

    task: TaskId


class RoomChanged(Struct, frozen=True):
    """Whether this host can take on tasks; `why` says why not."""

    room: bool
    why: str = ""


class WorkAsked(Struct, frozen=True):
    """An idle peer would take over some of what waits here."""

    peer: PeerId
    job: JobId
    most: int
    ticket: int
    """Names the request: `Grant` answers it."""


class WorkGranted(Struct, frozen=True):
    """The answer to our `AskWork`: tasks that are ours now. None, also where no answer came."""

    peer: PeerId
    job: JobId
    tasks: tuple[TaskId, ...] = ()


class Leaving(Struct, frozen=True):
    """This peer is about to stop: others need not wait for its leases to end."""


class Tick(Struct, frozen=True):
    """A deadline has passed."""


Stimulus = (
    Heard
    | StoreLost
    | JobForgotten
    | PeerForgotten
    | Connected
    | Disconnected
    | CatalogChanged
    | ModelsChanged
    | FetchMoved
    | TaskProgressed
    | TaskEnded
    | TaskReturned
    | RoomChanged
    | WorkAsked
    | WorkGranted
    | Leaving
    | Tick
)


class State(Struct, frozen=True):
    """Make this a record of ours: durable, then known to all."""

    fact: Fact


class Start(Struct, frozen=True):
    """Work on this task until it ends or `Stop`."""

    job: JobId
    task: TaskId
    entry: Entry
    first: int = 0
    """The first frame of its span."""
    stop: int | None = None
    """The first frame that is not its own; None: it goes to the end."""


class Stop(Struct, frozen=True):
    """Work on these no more; nothing is reported back."""

    job: JobId
    tasks: tuple[TaskId, ...]


class Yield(Struct, frozen=True):
    """Somebody else has these tasks: let go of them. They are pending, not cancelled."""

    job: JobId
    tasks: tuple[TaskId, ...]


class AskWork(Struct, frozen=True):
    """Ask this peer for some of what waits there; `WorkGranted` tells what came of it, whatever came."""

    peer: PeerId
    job: JobId
    most: int


class Grant(Struct, frozen=True):
    """Answer a `WorkAsked`: these tasks are the other peer's now."""

    ticket: int
    job: JobId
    tasks: tuple[TaskId, ...]


class Fetch(Struct, frozen=True):
    """Bring this model here from whoever holds it, however long that takes, until `Forgo`; `FetchMoved` tells how
    far it is, now and then.
    """

    model: ModelDigest


class Forgo(Struct, frozen=True):
    """Nobody waits for this model any more, or it is here."""

    model: ModelDigest


Effect = State | Start | Stop | Yield | AskWork | Grant | Fetch | Forgo
