"""What a peer knows of one job: its own tasks, and what every peer has said of theirs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from meshinfer.model.catalog import Entry
from meshinfer.model.channel import is_channel
from meshinfer.model.facts import Claim, Manifest, Outcome, Outcomes
from meshinfer.model.ids import ContentId, JobId, ModelDigest, PeerId, TaskId, UnitId, span_of, unit_id, unit_of
from meshinfer.model.job import JobInfo
from meshinfer.model.spans import Cut
from meshinfer.schedule.lease import Leases
from meshinfer.schedule.rank import ranked
from meshinfer.schedule.tally import Tallies

Status = Literal["pending", "running", "ended"]
Fate = Literal["done", "failed"]

MAX_FAILURES = 3
"""Holders that try a task before it counts as failed."""

POISONED = 2
"""Holders that find the same lasting fault, in the model or in the file, before nobody else tries."""


@dataclass(slots=True)
class Mine:
    """A task whose data lies here."""

    task: TaskId
    entry: Entry
    first: int = 0
    stop: int | None = None
    """Its frames: [first, stop) of the entry."""
    status: Status = "pending"
    epoch: int = 0
    """Of our claim on it, while it runs."""
    stands_by: PeerId | None = None
    """Whom it is left to, while it is."""
    since: float = -math.inf
    """When it was first left to that peer."""
    passed: frozenset[PeerId] = frozenset()
    """Peers it was left to for too long."""
    taken: float = -math.inf
    """Whoever it was left to has handed it over to us, if we start it before then."""
    analysed: int = 0
    detections: int = 0


@dataclass(slots=True)
class JobState:
    info: JobInfo
    born: float
    """Local time of its publishing, as far as it is known: expiry counts from it."""
    heard: float
    """Local time at which this peer took it up: waiting for others counts from it."""
    late: bool
    """Others may have been at it before this peer heard of it."""
    cancelled: str | None = None
    lacks_model: bool = False
    """The model is not held here: what this peer has of the job waits for it."""
    mine: dict[TaskId, Mine] = field(default_factory=dict)
    units: dict[ContentId, tuple[UnitId, int]] = field(default_factory=dict)
    """Of the contents whose tasks are in `mine`: the unit, and its number of spans."""
    ready: deque[TaskId] = field(default_factory=deque)
    """Pending tasks that have not been looked at since something changed."""
    waiting: set[TaskId] = field(default_factory=set)
    """Pending tasks that wait for a manifest or stand by."""
    running: set[TaskId] = field(default_factory=set)
    manifests: dict[PeerId, dict[int, Manifest]] = field(default_factory=dict)
    held: dict[PeerId, dict[UnitId, int]] = field(default_factory=dict)
    """Units of each peer's manifest, with their number of spans."""
    outcomes: dict[TaskId, dict[PeerId, Outcome]] = field(default_factory=dict)
    """As they were stated: those count whose peer's manifest names the task (`ended`)."""
    claims: dict[PeerId, Claim] = field(default_factory=dict)
    working: dict[PeerId, dict[TaskId, int]] = field(default_factory=dict)
    """Tasks of each peer's claim, with their epochs."""
    epochs: dict[TaskId, int] = field(default_factory=dict)
    """The highest epoch that another peer has stated of a task."""
    trail: dict[TaskId, list[PeerId]] = field(default_factory=dict)
    """Peers that have had a task, in the order in which this one heard of it; the last eight."""
    leases: Leases = field(default_factory=Leases)
    unsaid: list[Outcome] = field(default_factory=list)
    """Outcomes of ours that are no record yet."""
    outcomes_due: float | None = None
    manifest_due: float | None = None
    manifest_said: float = -math.inf
    stated: dict[UnitId, int] | None = None
    """What our last manifest names, whether it is written down yet or not; None: nothing in this life."""
    claim_due: float | None = None
    claim_said: float = -math.inf
    renew_at: float | None = None
    """When it is looked at whether others wait for a word of ours; None: nobody does, as far as we know."""
    began: float | None = None
    tally: tuple[int, int] = (0, 0)
    """Frames and detections of our ended tasks."""
    work: str = field(init=False)
    tallies: Tallies | None = field(init=False)
    """Of a job that names a channel: what roll-outs are judged by."""

    def __post_init__(self) -> None:
        self.work = self.info.work if self.info.spec else ""
        self.tallies = Tallies(self.info) if self.info.spec and is_channel(self.info.spec.model) else None

    @property
    def id(self) -> JobId:
        return self.info.id

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def expires_at(self) -> float:
        return self.born + (self.info.spec.expires if self.info.spec else 0.0)

    def due(self) -> list[float]:
        """When something is to be said about our part."""
        times = (self.outcomes_due, self.claim_due, self.manifest_due, self.renew_at)
        return [at for at in times if at is not None]

    def is_open(self, now: float) -> bool:
        """Whether tasks may be started."""
        return self.cancelled is None and self.info.spec is not None and now < self.expires_at

    @property
    def is_shared(self) -> bool:
        """Whether copies count as one."""
        return self.info.spec is not None and self.info.spec.scope == "once"

    def unit_for(self, content: ContentId, cut: Cut, me: PeerId) -> UnitId:
        return unit_id(self.work, content, *cut, owner=None if self.is_shared else me)

    def open_here(self) -> Iterator[TaskId]:
        """Our tasks that are not over, as far as they were looked at."""
        return chain(self.running, self.waiting, self.ready)

    @property
    def has_open(self) -> bool:
        return any(True for _ in self.open_here())

    def shift(self, seconds: float) -> None:
        """This peer stood still for so long: nobody is held to that time."""
        self.leases.shift(seconds)
        for task in self.waiting:
            self.mine[task].since += seconds

    def end(self, mine: Mine, own: Outcome | None) -> None:
        """It has ended here."""
        if own is not None:
            mine.analysed, mine.detections = own.frames, own.detections
        mine.status, mine.stands_by, mine.taken = "ended", None, -math.inf
        self.running.discard(mine.task)
        frames, detections = self.tally
        self.tally = frames + mine.analysed, detections + mine.detections

    # ---- what peers have stated --------------------------------------------------------------------------------------

    def holds(self, peer: PeerId, task: TaskId) -> bool:
        units = self.held.get(peer)
        return units is not None and span_of(task) < units.get(unit_of(task), 0)

    def holders(self, task: TaskId) -> list[PeerId]:
        return sorted(peer for peer in self.held if self.holds(peer, task))

    def ended(self, task: TaskId) -> dict[PeerId, Outcome]:
        """How it ended at those that hold its data: what others say of it is not heard."""
        return {peer: o for peer, o in self.outcomes.get(task, {}).items() if self.holds(peer, task)}

    def lease(self, peer: PeerId) -> float:
        """When its lease on its part of the job ends, as things are."""
        return self.leases.until(peer, at_work=bool(self.working.get(peer)))

    def defers(self, peer: PeerId) -> bool:
        """Whether it says that it starts nothing now."""
        return self.deferral(peer) != ""

    def deferral(self, peer: PeerId) -> str:
        """Why it says that it starts nothing."""
        claim = self.claims.get(peer)
        return "" if claim is None else claim.deferred

    def claimed(self, task: TaskId, me: PeerId) -> list[tuple[int, PeerId]]:
        """Who else says that they are working on it: (epoch, peer)."""
        return [(self.working[p][task], p) for p in sorted(p for p, t in self.working.items() if task in t) if p != me]

    def at_work(self, task: TaskId, now: float, me: PeerId) -> list[tuple[int, PeerId]]:
        """Whose claim on it counts: (epoch, peer). Ours always; another's while it holds it, has not ended it, and has
        a lease."""
        return [
            (self.working[peer][task], peer)
            for peer in sorted([peer for peer, tasks in self.working.items() if task in tasks])
            if self.holds(peer, task) and peer not in self.ended(task) and (peer == me or now < self.lease(peer))
        ]

    def note_claim(self, peer: PeerId, claim: Claim, at: float) -> None:
        before = self.claims.get(peer)
        tasks = {TaskId(running.task.hex()): running.epoch for running in claim.running}
        if before is None or before.analysed != claim.analysed or tasks.keys() != self.working.get(peer, {}).keys():
            self.leases.moved(peer, at)
        self.claims[peer], self.working[peer] = claim, tasks

    def note_epoch(self, task: TaskId, peer: PeerId, epoch: int) -> None:
        """Another peer has, or had, this task under that epoch."""
        self.epochs[task] = max(epoch, self.epochs.get(task, 0))
        trail = self.trail.setdefault(task, [])
        if not trail or trail[-1] != peer:
            trail.append(peer)
            del trail[:-8]

    def note_manifest(self, peer: PeerId, page: Manifest) -> None:
        pages = self.manifests.setdefault(peer, {})
        pages[page.page] = page
        first = pages.get(0, page)
        self.held[peer] = {
            UnitId(held.unit.hex()): held.spans for n, p in pages.items() if n < first.pages for held in p.units
        }

    def manifest_complete(self, peer: PeerId) -> bool:
        pages = self.manifests.get(peer, {})
        return 0 in pages and all(n in pages for n in range(pages[0].pages))

    def note_outcomes(self, peer: PeerId, batch: Outcomes) -> Iterable[tuple[TaskId, Outcome]]:
        for outcome in batch.outcomes:
            task = TaskId(outcome.task.hex())
            ended = self.outcomes.setdefault(task, {})
            if self.tallies is not None:
                self.tallies.note(peer, outcome, ended.get(peer))
            ended[peer] = outcome
            yield task, outcome

    def forget(self, peer: PeerId) -> None:
        """What this peer said of its part no longer holds."""
        self.manifests.pop(peer, None)
        self.held.pop(peer, None)
        self.claims.pop(peer, None)
        self.working.pop(peer, None)
        self.leases.forget(peer)
        for ended in self.outcomes.values():
            ended.pop(peer, None)
        if self.tallies is not None:
            self.tallies.forget(peer)

    # ---- what follows from it ----------------------------------------------------------------------------------------

    def canonical(self, task: TaskId, among: Collection[PeerId] | None = None) -> tuple[PeerId, Outcome] | None:
        """The one result that counts where several peers did the task: smallest (epoch, rank), the same everywhere."""
        done = {p: o for p, o in self.ended(task).items() if o.done and (among is None or p in among)}
        if not done:
            return None
        lowest = min(o.epoch for o in done.values())
        # Ranked over the peers that delivered, without weights, so that nothing said later changes a result.
        winner = ranked(unit_of(task), [p for p, o in done.items() if o.epoch == lowest], {})[0]
        return winner, done[winner]

    def fate(self, task: TaskId, untried: PeerId | None = None) -> Fate | None:
        """What has become of a task, whatever else is said of it: done is never undone, and more than failed.

        `untried` holds it too, has not tried it, and may not have said so yet.
        """
        if not self.outcomes.get(task):
            return None
        ended = self.ended(task)
        if any(o.done for o in ended.values()):
            return "done"
        lasting = [o.error_kind for o in ended.values() if o.error_kind in ("model", "input")]
        if any(lasting.count(kind) >= POISONED for kind in lasting) or len(ended) >= MAX_FAILURES:
            return "failed"
        if untried is not None or not ended:
            return None
        return "failed" if all(peer in ended for peer in self.holders(task)) else None

    def disputed(self, task: TaskId) -> bool:
        """Whether peers came to different results with one model."""
        done = [(self.model_of(peer, o), o.digest) for peer, o in self.ended(task).items() if o.done]
        return len(set(done)) > len({model for model, _ in done})

    def model_of(self, peer: PeerId, outcome: Outcome) -> ModelDigest:
        """What a task was done with."""
        return self.info.order.model if outcome.fallback else self.info.model_for(peer)
