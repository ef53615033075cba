"""The scheduler: a value that is told what happened and answers what to do.

Rule 1: everything that decides lives here; `handle` never awaits, logs, reads a clock or draws at random, and no
order in it comes from a set. Rule 2: facts come from records alone, our own included. Rule 3: gossip may lose,
repeat and reorder, so every stimulus may come twice, late, or never; whatever depends on one has a deadline.

A task of ours goes pending -> running -> ended. While it is pending, `choose` looks at it whenever something it
depends on changes (a manifest, an outcome, a peer, a deadline) and says: start, wait, stand by, or leave it (done
elsewhere).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.facts import MAX_OUTCOMES, Cancel, Claim, Fact, Manifest, Outcome, Outcomes, PeerFact
from meshinfer.model.ids import ContentId, JobId, ModelDigest, PeerId, TaskId
from meshinfer.model.job import JobInfo, JobOrder, JobSpec, read_order
from meshinfer.model.typed import no_such_class
from meshinfer.schedule import reports
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.choice import PROMPT, View, choose
from meshinfer.schedule.early import Early, OfJob
from meshinfer.schedule.holdings import Holdings
from meshinfer.schedule.job import JobState, Mine
from meshinfer.schedule.presence import Presence

SAY_OUTCOMES = 0.25
SAY_CLAIM = 1.0
SAY_MANIFEST = 1.0
"""Seconds between records of a kind for one job: progress is for people, and gossip carries 5 messages a second."""

WINDOW = 32
"""Tasks handed to the engine at a time: enough that single images keep every core busy."""


def unknown_classes(spec: JobSpec, classes: Sequence[str]) -> list[str]:
    """Classes that a job asks for and a model does not know."""
    return [name for name in spec.detect.classes if name not in classes]


class ScheduleState:
    """One peer's view of the mesh's jobs."""

    def __init__(self, me: PeerId, *, window: int = WINDOW) -> None:
        self.me = me
        self.window = window
        self.jobs: dict[JobId, JobState] = {}
        self.cancels: dict[JobId, Cancel] = {}
        self.peers: dict[PeerId, PeerFact] = {}
        self.sources: dict[PeerId, dict[str, SourceSummary]] = {}
        self.presence = Presence()
        self.holdings = Holdings()
        self.classes: dict[ModelDigest, tuple[str, ...]] = {}
        self.room, self.no_room = True, ""
        self.running: dict[TaskId, JobId] = {}
        self._look_at: dict[JobId, float] = {}
        """When the waiting tasks of a job are looked at again, at the latest."""
        self._active: dict[JobId, None] = {}
        """Jobs that have tasks to start or something to say, in the order in which they came to have."""
        self._early = Early()
        self._turn = 0

    @property
    def connected(self) -> set[PeerId]:
        return self.presence.connected

    # ---- stimuli -----------------------------------------------------------------------------------------------------

    def handle(self, stimulus: st.Stimulus, now: float) -> list[st.Effect]:
        """Take in what happened; what to do about it, in order."""
        out: list[st.Effect] = []
        match stimulus:
            case st.Heard(origin, fact, born):
                self._heard(origin, fact, born, now, out)
            case st.StoreLost(origin, jobs):
                for job_id in sorted(jobs & self.jobs.keys()):
                    self._forget(self.jobs[job_id], origin)
            case st.JobForgotten(job_id):
                self._forget_job(job_id, out)
            case st.PeerForgotten(peer):
                self.peers.pop(peer, None)
                self.sources.pop(peer, None)
            case st.Connected(peer):
                if self.presence.up(peer, now):
                    self._reconsider_all()
            case st.Disconnected(peer):
                self.presence.down(peer, now)
            case st.CatalogChanged():
                self._catalog(stimulus, now)
            case st.ModelsChanged(classes):
                self.classes = dict(classes)
                for job in self._open(now):
                    self._match(job, list(self.holdings.copies), now)
            case st.TaskProgressed(task, analysed, detections):
                self._progressed(task, analysed, detections, now)
            case st.TaskEnded(task, outcome):
                self._ended(task, outcome, now)
            case st.TaskReturned(task):
                self._returned(task, now)
            case st.RoomChanged(room, why):
                self.room, self.no_room = room, why
            case st.Tick():
                pass
        if self.presence.expire(now):
            self._reconsider_all()
        self._look_again(now)
        self._start(now, out)
        for active in [self.jobs[job_id] for job_id in self._active]:
            self._say(active, now, out)
            if not (active.ready or active.running or active.due()):
                del self._active[active.id]
        return out

    def next_deadline(self) -> float | None:
        """When `handle(Tick())` has something to do."""
        times = [*self._look_at.values(), *self.presence.deadlines()]
        times += [at for job_id in self._active for at in self.jobs[job_id].due()]
        return min(times, default=None)

    def _touch(self, job: JobState) -> None:
        self._active[job.id] = None

    # ---- what others (and we) have stated ----------------------------------------------------------------------------

    def _heard(self, origin: PeerId, fact: Fact, born: float, now: float, out: list[st.Effect]) -> None:
        match fact:
            case PeerFact():
                self._peer(origin, fact, now)
            case SourceSummary():
                self.sources.setdefault(origin, {})[fact.name] = fact
            case JobOrder():
                self._job(origin, fact, born, now, out)
            case Cancel():
                self.cancels.setdefault(fact.job, fact)
                if job := self.jobs.get(fact.job):
                    self._cancel(job, now, out)
            case Manifest() | Claim() | Outcomes():
                if job := self.jobs.get(fact.job):
                    self._of_job(job, origin, fact, now)
                else:
                    self._early.keep(origin, fact)

    def _peer(self, peer: PeerId, fact: PeerFact, now: float) -> None:
        before = self.peers.get(peer)
        self.peers[peer] = fact
        if before is None and not fact.guest and peer != self.me:
            self.presence.introduced(peer, now)
        if before is None or before.cores != fact.cores:
            self._reconsider_all()  # ranks change: two peers that saw different weights may each wait for the other

    def _of_job(self, job: JobState, origin: PeerId, fact: OfJob, now: float) -> None:
        match fact:
            case Manifest():
                before, complete = job.held.get(origin, frozenset()), job.manifest_complete(origin)
                job.note_manifest(origin, fact)
                news = job.manifest_complete(origin) != complete
                self._reconsider(job, None if news else before ^ job.held[origin])
            case Claim():
                busy = job.working.get(origin, frozenset())
                job.note_claim(origin, fact)
                self._reconsider(job, busy ^ job.working[origin])
                if origin == self.me and job.working[origin] != job.running:
                    self._owe_claim(job, now)  # an earlier run's: nobody must wait for what we no longer work on
            case Outcomes():
                ended = frozenset(job.note_outcomes(origin, fact))
                for task in sorted(ended):
                    if origin == self.me and (mine := job.mine.get(task)) and mine.status == "pending":
                        self._end(job, mine)  # it ended before a restart
                self._reconsider(job, ended)

    def _forget(self, job: JobState, origin: PeerId) -> None:
        job.forget(origin)
        # What it had done is undone, so tasks that were over may be ours now.
        pending = {task for task, mine in job.mine.items() if mine.status == "pending"}
        job.waiting |= pending.difference(job.ready)
        self._reconsider(job)

    def _forget_job(self, job_id: JobId, out: list[st.Effect]) -> None:
        self.cancels.pop(job_id, None)
        self._early.take(job_id)
        job = self.jobs.pop(job_id, None)
        if job is not None:
            if job.running:
                out.append(st.Stop(job_id, tuple(sorted(job.running))))
            for task in sorted(job.running):
                self.running.pop(task, None)
            self._active.pop(job_id, None)
            self._look_at.pop(job_id, None)

    def _job(self, origin: PeerId, order: JobOrder, born: float, now: float, out: list[st.Effect]) -> None:
        if (known := self.jobs.get(order.id)) is not None:
            known.born = max(known.born, born)  # it is younger than was said at first
            return
        late = now > born + PROMPT or self.presence.newest > born
        job = self.jobs[order.id] = JobState(read_order(order, origin), born, now, late)
        if order.id in self.cancels:
            self._cancel(job, now, out)
        for peer, fact in self._early.take(order.id):
            self._of_job(job, peer, fact, now)
        self._match(job, list(self.holdings.copies), now)

    def _cancel(self, job: JobState, now: float, out: list[st.Effect]) -> None:
        if job.cancelled is not None:
            return
        job.cancelled = self.cancels[job.id].why or "cancelled"
        if job.running:
            out.append(st.Stop(job.id, tuple(sorted(job.running))))
        for task in sorted(job.running):
            self.running.pop(task, None)
            job.mine[task].status = "pending"
            job.claim_due = now
            self._touch(job)
        job.running.clear()
        job.ready.clear()
        job.waiting.clear()
        self._look_at.pop(job.id, None)

    # ---- matching ----------------------------------------------------------------------------------------------------

    def declines(self, info: JobInfo) -> str | None:
        """Why this peer takes no part in the job at all, whatever it holds."""
        spec = info.spec
        if spec is None:
            return info.unclear
        classes = self.classes.get(info.order.model)
        if classes is None:
            return f"the model {spec.model} ({info.order.model[:12]}) is not held here: meshinfer models add FILE"
        if unknown := unknown_classes(spec, classes):
            return no_such_class(f"the model {spec.model}", unknown[0], classes)[:500]
        return None

    def _open(self, now: float) -> list[JobState]:
        return [job for job in self.jobs.values() if job.is_open(now)]

    def _catalog(self, change: st.CatalogChanged, now: float) -> None:
        first_look_over = change.complete and not self.holdings.scanned
        touched = self.holdings.apply(change)
        for job in self._open(now):
            self._match(job, touched, now)
            if first_look_over:  # what an earlier run's manifest names may be gone
                self._owe_manifest(job, now)

    def _match(self, job: JobState, contents: Iterable[ContentId], now: float) -> None:
        """Take up, change or drop the tasks of these contents."""
        if not job.is_open(now) or self.declines(job.info) is not None:
            return
        spec = job.info.spec
        assert spec is not None
        changed = False
        for content in contents:
            task = job.task_for(content, self.me)
            mine = job.mine.get(task)
            entry = self.holdings.pick(spec, content)
            if entry is not None and mine is None:
                if not job.mine and now > job.heard:  # of no concern so far: what others did comes only now
                    job.heard, job.late = now, True
                job.mine[task] = mine = Mine(task, entry)
                if self.me in job.outcomes.get(task, {}):
                    self._end(job, mine)
                else:
                    job.ready.append(task)
                changed = True
            elif mine is not None and mine.status == "pending":
                if entry is not None:
                    mine.entry = entry
                    continue
                del job.mine[task]
                job.waiting.discard(task)
                changed = True
        if changed:
            entry_of = {task: job.mine[task].entry for task in job.ready if task in job.mine}
            job.ready = deque(sorted(entry_of, key=lambda task: (entry_of[task].source, entry_of[task].name)))
            self._owe_manifest(job, now)

    def _owe_manifest(self, job: JobState, now: float) -> None:
        if job.manifest_due is None:
            job.manifest_due = max(now, job.manifest_said + SAY_MANIFEST)
        self._touch(job)

    def _owe_claim(self, job: JobState, now: float) -> None:
        if job.claim_due is None:
            job.claim_due = max(now, job.claim_said + SAY_CLAIM)
        self._touch(job)

    # ---- choosing ----------------------------------------------------------------------------------------------------

    def live(self, peer: PeerId) -> bool:
        """Connected, or so a moment ago."""
        return peer == self.me or self.presence.live(peer)

    def _view(self) -> View:
        return View(self.me, self.presence, self.sources, {peer: fact.cores for peer, fact in self.peers.items()})

    def _reconsider(self, job: JobState, tasks: frozenset[TaskId] | None = None) -> None:
        """Look at these waiting tasks of the job again, or at all of them."""
        again = sorted(job.waiting if tasks is None else job.waiting & tasks)
        if again:
            job.waiting.difference_update(again)
            job.ready.extend(again)
            self._touch(job)

    def _reconsider_all(self) -> None:
        for job in self.jobs.values():
            self._reconsider(job)

    def _look_again(self, now: float) -> None:
        for job_id in [job_id for job_id, until in self._look_at.items() if until <= now]:
            del self._look_at[job_id]
            self._reconsider(self.jobs[job_id])

    def _start(self, now: float, out: list[st.Effect]) -> None:
        """Fill the window, a task of each job in turn."""
        jobs = [self.jobs[job_id] for job_id in self._active if self.jobs[job_id].ready]
        view: View | None = None
        while jobs:
            self._turn += 1
            job = jobs[self._turn % len(jobs)]
            if not job.is_open(now):
                job.ready.clear()
            if not job.ready:
                jobs.remove(job)
                continue
            mine = job.mine.get(job.ready[0])
            if mine is None or mine.status != "pending":
                job.ready.popleft()
                continue
            view = self._view() if view is None else view
            choice = choose(job, mine, now, view)
            if choice.start and (not self.room or len(self.running) >= self.window):
                jobs.remove(job)  # its turn comes when there is room
                continue
            job.ready.popleft()
            mine.stands_by = choice.stands_by
            if choice.start:
                mine.status = "running"
                job.running.add(mine.task)
                self.running[mine.task] = job.id
                job.began = now if job.began is None else job.began
                self._owe_claim(job, now)
                out.append(st.Start(job.id, mine.task, mine.entry))
            elif not choice.over:
                job.waiting.add(mine.task)
                if choice.until < math.inf:
                    self._look_at[job.id] = choice.until

    # ---- what becomes of our tasks -----------------------------------------------------------------------------------

    def _progressed(self, task: TaskId, analysed: int, detections: int, now: float) -> None:
        job_id = self.running.get(task)
        if job_id is None:
            return
        job = self.jobs[job_id]
        job.mine[task].analysed, job.mine[task].detections = analysed, detections
        self._owe_claim(job, now)

    def _ended(self, task: TaskId, outcome: Outcome, now: float) -> None:
        job_id = self.running.get(task)
        if job_id is None:
            return
        job = self.jobs[job_id]
        mine = job.mine[task]
        mine.analysed, mine.detections = outcome.frames, outcome.detections
        self._end(job, mine)
        self._owe_claim(job, now)
        job.unsaid.append(outcome)
        job.outcomes_due = now + SAY_OUTCOMES if job.outcomes_due is None else job.outcomes_due

    def _end(self, job: JobState, mine: Mine) -> None:
        own = job.outcomes.get(mine.task, {}).get(self.me)
        if own is not None:
            mine.analysed, mine.detections = own.frames, own.detections
        mine.status = "ended"
        self.running.pop(mine.task, None)
        job.running.discard(mine.task)
        frames, detections = job.tally
        job.tally = frames + mine.analysed, detections + mine.detections

    def _returned(self, task: TaskId, now: float) -> None:
        job_id = self.running.pop(task, None)
        if job_id is not None:
            job = self.jobs[job_id]
            job.running.discard(task)
            job.mine[task].status = "pending"
            job.ready.appendleft(task)
            self._owe_claim(job, now)

    # ---- what we state -----------------------------------------------------------------------------------------------

    def _say(self, job: JobState, now: float, out: list[st.Effect]) -> None:
        idle = not job.running and not job.ready
        if job.unsaid and idle:
            job.claim_due = now
        # The order matters to whoever holds copies: what we no longer work on is known to have ended, and who weighs
        # our manifest knows already what we are at work on.
        claims = job.claim_due is not None and job.claim_due <= now
        if job.outcomes_due is not None and (job.outcomes_due <= now or claims or len(job.unsaid) >= MAX_OUTCOMES):
            out.extend(map(st.State, reports.outcomes(job)))
            job.unsaid, job.outcomes_due = [], None
        if claims:
            job.claim_due, job.claim_said = None, now
            out.append(st.State(reports.claim(job, now)))
        if job.manifest_due is not None and job.manifest_due <= now:
            job.manifest_due, job.manifest_said = None, now
            out.extend(map(st.State, reports.manifest(job, self.me, scanned=self.holdings.scanned)))

    def validate(self) -> None:
        """What must hold between stimuli; for tests."""
        for task, job_id in self.running.items():
            assert self.jobs[job_id].mine[task].status == "running"
            assert task in self.jobs[job_id].running
        for job in self.jobs.values():
            assert job.waiting <= job.mine.keys()
            assert not job.waiting & job.running
            for task, mine in job.mine.items():
                assert (mine.status == "running") == (task in job.running)
        assert len(self.running) <= self.window
