"""What a peer knows of one job: its own tasks, and what every peer has said of theirs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import Claim, Manifest, Outcome, Outcomes
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId, task_id
from meshinfer.model.job import JobInfo
from meshinfer.schedule.rank import ranked

Status = Literal["pending", "running", "ended"]


@dataclass(slots=True)
class Mine:
    """A task whose data lies here."""

    task: TaskId
    entry: Entry
    status: Status = "pending"
    stands_by: PeerId | None = None
    """Whom it is left to, while it is."""
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
    mine: dict[TaskId, Mine] = field(default_factory=dict)
    ready: deque[TaskId] = field(default_factory=deque)
    """Pending tasks that have not been looked at since something changed."""
    waiting: set[TaskId] = field(default_factory=set)
    """Pending tasks that wait for a manifest or stand by."""
    running: set[TaskId] = field(default_factory=set)
    manifests: dict[PeerId, dict[int, Manifest]] = field(default_factory=dict)
    held: dict[PeerId, frozenset[TaskId]] = field(default_factory=dict)
    """Task ids of each peer's manifest."""
    outcomes: dict[TaskId, dict[PeerId, Outcome]] = field(default_factory=dict)
    claims: dict[PeerId, Claim] = field(default_factory=dict)
    working: dict[PeerId, frozenset[TaskId]] = field(default_factory=dict)
    """Task ids of each peer's claim."""
    unsaid: list[Outcome] = field(default_factory=list)
    """Outcomes of ours that are no record yet."""
    outcomes_due: float | None = None
    manifest_due: float | None = None
    manifest_said: float = -math.inf
    claim_due: float | None = None
    claim_said: float = -math.inf
    began: float | None = None
    tally: tuple[int, int] = (0, 0)
    """Frames and detections of our ended tasks."""
    work: str = field(init=False)

    def __post_init__(self) -> None:
        self.work = self.info.work if self.info.spec else ""

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
        return [at for at in (self.outcomes_due, self.claim_due, self.manifest_due) if at is not None]

    def is_open(self, now: float) -> bool:
        """Whether tasks may be started."""
        return self.cancelled is None and self.info.spec is not None and now < self.expires_at

    def task_for(self, content: ContentId, me: PeerId) -> TaskId:
        spec = self.info.spec
        assert spec is not None
        return task_id(self.work, content, owner=me if spec.scope == "every" else None)

    def holders(self, task: TaskId) -> list[PeerId]:
        return sorted(peer for peer, tasks in self.held.items() if task in tasks)

    def claimed(self, me: PeerId) -> list[tuple[PeerId, frozenset[TaskId]]]:
        """What every other peer says it is working on, by peer id."""
        return [(peer, tasks) for peer, tasks in sorted(self.working.items()) if peer != me]

    def note_claim(self, peer: PeerId, claim: Claim) -> None:
        self.claims[peer] = claim
        self.working[peer] = frozenset(TaskId(raw.hex()) for raw in claim.running)

    def note_manifest(self, peer: PeerId, page: Manifest) -> None:
        pages = self.manifests.setdefault(peer, {})
        pages[page.page] = page
        first = pages.get(0, page)
        self.held[peer] = frozenset(TaskId(raw.hex()) for n, p in pages.items() if n < first.pages for raw in p.tasks)

    def manifest_complete(self, peer: PeerId) -> bool:
        pages = self.manifests.get(peer, {})
        return 0 in pages and all(n in pages for n in range(pages[0].pages))

    def note_outcomes(self, peer: PeerId, batch: Outcomes) -> Iterable[TaskId]:
        for outcome in batch.outcomes:
            task = TaskId(outcome.task.hex())
            self.outcomes.setdefault(task, {})[peer] = outcome
            yield task

    def forget(self, peer: PeerId) -> None:
        """What this peer said of its part no longer holds."""
        self.manifests.pop(peer, None)
        self.held.pop(peer, None)
        self.claims.pop(peer, None)
        self.working.pop(peer, None)
        for by_peer in self.outcomes.values():
            by_peer.pop(peer, None)

    def canonical(self, task: TaskId, among: Collection[PeerId] | None = None) -> tuple[PeerId, Outcome] | None:
        """The one result that counts where several peers did the task: smallest (rank, digest), the same everywhere."""
        outcomes = self.outcomes.get(task, {})
        done = {peer: o for peer, o in outcomes.items() if o.done and (among is None or peer in among)}
        if not done:
            return None
        # Ranked over the peers that delivered, so that a manifest more or less somewhere changes no result.
        winner = ranked(task, done, {})[0]
        return winner, done[winner]

    def is_over(self, task: TaskId) -> bool:
        """Done by anyone, or failed by everyone who holds its data."""
        outcomes = self.outcomes.get(task)
        if not outcomes:
            return False
        if any(o.done for o in outcomes.values()):
            return True
        return all(peer in outcomes for peer in self.holders(task))
