"""The scheduler: a value that is told what happened and answers what to do.

Rule 1: everything that decides lives here; `handle` never awaits, logs, reads a clock or draws at random, and no
order in it comes from a set. Rule 2: facts come from records alone, our own included. Rule 3: gossip may lose,
repeat and reorder, so every stimulus may come twice, late, or never; whatever depends on one has a deadline.

A task of ours goes pending -> running -> ended. While it is pending, `choose` looks at it whenever something it
depends on changes (a manifest, a claim, an outcome, a lease that ended, a deadline) and says: start, wait, stand by, or
leave it (over).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.channel import Channel
from meshinfer.model.facts import Cancel, Claim, Fact, Manifest, Outcomes, PeerFact
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId, unit_of
from meshinfer.model.job import JobInfo, JobOrder, read_order
from meshinfer.schedule import reports
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.channels import Channels
from meshinfer.schedule.choice import CATCH_UP, MEETING, PROMPT, View, wins
from meshinfer.schedule.early import Early, OfJob
from meshinfer.schedule.holdings import Holdings
from meshinfer.schedule.job import JobState
from meshinfer.schedule.lease import STALL
from meshinfer.schedule.matching import match
from meshinfer.schedule.models import Models
from meshinfer.schedule.presence import Presence
from meshinfer.schedule.worklist import WINDOW, Worklist


class ScheduleState:
    """One peer's view of the mesh's jobs."""

    def __init__(self, me: PeerId, *, window: int = WINDOW, fetches: bool = False) -> None:
        """`fetches`: models that jobs name and that lie elsewhere."""
        self.me = me
        self.jobs: dict[JobId, JobState] = {}
        self.cancels: dict[JobId, Cancel] = {}
        self.peers: dict[PeerId, PeerFact] = {}
        self.sources: dict[PeerId, dict[str, SourceSummary]] = {}
        self.channels = Channels()
        self.presence = Presence()
        self.holdings = Holdings()
        self.models = Models(me, self.jobs, self.channels, fetches=fetches)
        self.stalls = 0
        """How often this peer found that it had stood still."""
        self._weights: dict[PeerId, int] = {}
        self._alike: dict[str, list[JobState]] = {}
        self._view = View(me, self.presence, self.sources, self._weights, {}, self._alike)
        self._worklist = Worklist(self.jobs, self._view, window)
        self._early = Early()
        self._due = math.inf

    @property
    def connected(self) -> set[PeerId]:
        return self.presence.connected

    @property
    def running(self) -> dict[TaskId, JobId]:
        """What is being worked on here."""
        return self._worklist.running

    @property
    def no_room(self) -> str:
        """Why no task is started, where that is so."""
        return self._worklist.no_room

    # ---- stimuli -----------------------------------------------------------------------------------------------------

    def handle(self, stimulus: st.Stimulus, now: float) -> list[st.Effect]:
        """Take in what happened; what to do about it, in order."""
        out: list[st.Effect] = []
        work = self._worklist
        self._mind_stall(now)
        match stimulus:
            case st.Heard(origin, fact, born):
                self._heard(origin, fact, born, now, out)
            case st.StoreLost(origin, jobs):
                for job_id in sorted(jobs & self.jobs.keys()):
                    self._forget(self.jobs[job_id], origin)
            case st.JobForgotten(job_id):
                self._forget_job(job_id, now, out)
            case st.PeerForgotten(peer):
                self.peers.pop(peer, None)
                self.sources.pop(peer, None)
                self.channels.forget(peer)
                self.models.heard(peer, None)
            case st.Connected(peer):
                if self.presence.up(peer, now):
                    work.reconsider_all()
            case st.Disconnected(peer):
                self.presence.down(peer, now)
            case st.CatalogChanged():
                self._catalog(stimulus, now)
            case st.ModelsChanged():
                self._models(stimulus, now)
            case st.FetchMoved():
                self._fetch_moved(stimulus, now)
            case st.TaskProgressed(task, analysed, detections):
                work.progressed(task, analysed, detections, now)
            case st.TaskEnded(task, outcome):
                work.ended(task, outcome, now)
            case st.TaskReturned(task):
                self._let_go(task, now)
            case st.RoomChanged(room, why):
                self._room("" if room else why or "there is no room", now)
            case st.WorkAsked(peer, job_id, most, ticket):
                out.append(st.Grant(ticket, job_id, work.hand_over(peer, job_id, most, now)))
            case st.WorkGranted(peer, job_id, tasks):
                work.take_over(peer, job_id, tasks, now)
            case st.Leaving():
                self._room("it is stopping", now)
            case st.Tick():
                pass
        if self.presence.expire(now):
            work.reconsider_all()
        work.look_again(now)
        work.start(now, out)
        self.models.settle(now, out)
        for job in [self.jobs[job_id] for job_id in work.active]:
            reports.owe_renewal(job, self.me, now)
            said = reports.said(job, self.me, now, scanned=self.holdings.scanned, deferred=self.excuse(job))
            out.extend(st.State(fact) for fact in said)
            if not (job.ready or job.running or job.due()):
                del work.active[job.id]
        self._due = min(self._deadlines(now), default=math.inf)
        return out

    def next_deadline(self) -> float | None:
        """When `handle(Tick())` has something to do."""
        return None if self._due == math.inf else self._due

    def _deadlines(self, now: float) -> list[float]:
        due = [at for job_id in self._worklist.active for at in self.jobs[job_id].due()]
        return [*due, *self._worklist.deadlines(now), *self.presence.deadlines(), *self.models.deadlines(now)]

    def _mind_stall(self, now: float) -> None:
        """A peer that itself stood still distrusts itself before it accuses others: it may not have heard them."""
        late = now - self._due
        if late > STALL:
            self.stalls += 1
            self.presence.shift(late)
            for job in self.jobs.values():
                job.shift(late)

    def _room(self, why_not: str, now: float) -> None:
        """Others are told at once what we do not start."""
        if bool(why_not) != bool(self._worklist.no_room):
            for job in self.jobs.values():
                if job.is_open(now) and job.has_open:
                    self._worklist.owe_claim(job, now)
        self._worklist.no_room = why_not

    # ---- what others (and we) have stated ----------------------------------------------------------------------------

    def _heard(self, origin: PeerId, fact: Fact, born: float, now: float, out: list[st.Effect]) -> None:
        match fact:
            case PeerFact():
                self._peer(origin, fact, now)
            case SourceSummary():
                self.sources.setdefault(origin, {})[fact.name] = fact
            case Channel():
                self.channels.heard(origin, fact, min(born, now))
            case JobOrder():
                self._job(origin, fact, born, now, out)
            case Cancel():
                self.cancels.setdefault(fact.job, fact)
                if job := self.jobs.get(fact.job):
                    self._cancel(job, now, out)
            case Manifest() | Claim() | Outcomes():
                if job := self.jobs.get(fact.job):
                    self._of_job(job, origin, fact, born, now, out)
                else:
                    self._early.keep(origin, fact, born)

    def _peer(self, peer: PeerId, fact: PeerFact, now: float) -> None:
        before = self.peers.get(peer)
        if before is None or before.models != fact.models:
            self.models.heard(peer, None if peer == self.me else fact)
        self.peers[peer], self._weights[peer] = fact, fact.cores
        if before is None and not fact.guest and peer != self.me:
            self.presence.introduced(peer, now)
        if before is None or before.cores != fact.cores:
            # Ranks change: two peers that saw different weights may each wait for the other.
            self._worklist.reconsider_all()

    def _of_job(
        self, job: JobState, origin: PeerId, fact: OfJob, born: float, now: float, out: list[st.Effect]
    ) -> None:
        job.leases.spoke(origin, min(born, now))
        match fact:
            case Manifest():
                before, complete = job.held.get(origin, {}), job.manifest_complete(origin)
                job.note_manifest(origin, fact)
                news = job.manifest_complete(origin) != complete
                units = {unit for unit, _ in before.items() ^ job.held[origin].items()}
                self._worklist.reconsider(
                    job, None if news else [task for task in job.waiting if unit_of(task) in units]
                )
                self._owe_renewal(job, now)
            case Claim():
                self._claimed(job, origin, fact, min(born, now), now, out)
            case Outcomes():
                ended = dict(job.note_outcomes(origin, fact))
                for task in sorted(ended):
                    if origin != self.me:
                        job.note_epoch(task, origin, ended[task].epoch)
                    elif (mine := job.mine.get(task)) and mine.status == "pending":
                        self._worklist.end(job, mine, ended[task])  # it ended before a restart
                self._reconsider(job, ended)

    def _claimed(
        self, job: JobState, origin: PeerId, claim: Claim, at: float, now: float, out: list[st.Effect]
    ) -> None:
        before, deferred = job.working.get(origin, {}), job.defers(origin)
        job.note_claim(origin, claim, at)
        tasks = job.working[origin]
        if origin == self.me:
            if tasks.keys() != job.running:
                self._worklist.owe_claim(job, now)  # an earlier run's: nobody must wait for what we no longer work on
            return
        changed = before.keys() ^ tasks.keys()
        if deferred != job.defers(origin):
            changed |= {task for task in job.waiting if job.mine[task].stands_by == origin}
        self._reconsider(job, changed)
        for task in sorted(tasks):
            if job.holds(origin, task):
                job.note_epoch(task, origin, tasks[task])
        lost = [
            task
            for task in sorted(job.running & tasks.keys())
            if job.holds(origin, task)
            and now < job.lease(origin)
            and job.mine[task].analysed == 0  # what has begun is finished: two that hand it to and fro never would
            and not wins((job.mine[task].epoch, self.me), (tasks[task], origin), task)
        ]
        if lost:
            out.append(st.Yield(job.id, tuple(lost)))
            for task in lost:
                self._let_go(task, now)

    def _reconsider(self, job: JobState, tasks: Collection[TaskId]) -> None:
        """Something was said of these: it concerns all jobs that do the same."""
        for alike in self._alike.get(job.work, ()):
            self._worklist.reconsider(alike, tasks)

    def _forget(self, job: JobState, origin: PeerId) -> None:
        job.forget(origin)
        # What it had done is undone, so tasks that were over may be ours now.
        pending = {task for task, mine in job.mine.items() if mine.status == "pending"}
        job.waiting |= pending.difference(job.ready)
        self._worklist.reconsider(job)

    def _forget_job(self, job_id: JobId, now: float, out: list[st.Effect]) -> None:
        self.cancels.pop(job_id, None)
        self._early.take(job_id)
        self.models.lacking.pop(job_id, None)
        if (job := self.jobs.get(job_id)) is not None:
            self._worklist.forget(job, now, out)
            if job.work:
                self._alike[job.work].remove(job)
                if not self._alike[job.work]:
                    del self._alike[job.work]
            del self.jobs[job_id]

    def _job(self, origin: PeerId, order: JobOrder, born: float, now: float, out: list[st.Effect]) -> None:
        if (known := self.jobs.get(order.id)) is not None:
            known.born = max(known.born, born)  # it is younger than was said at first
            return
        late = now > born + PROMPT or self.presence.newest + MEETING > born
        job = self.jobs[order.id] = JobState(read_order(order, origin), born, now, late)
        self.models.mind(job)
        if job.work:
            alike = self._alike.setdefault(job.work, [])
            # Who is at its tasks for another job is not known here yet either.
            job.late = late or any(other.late and now < other.heard + CATCH_UP for other in alike)
            alike.append(job)
        if order.id in self.cancels:
            self._cancel(job, now, out)
        for peer, fact, at in self._early.take(order.id):
            self._of_job(job, peer, fact, at, now, out)
        self._match(job, list(self.holdings.copies), now)

    def _cancel(self, job: JobState, now: float, out: list[st.Effect]) -> None:
        if job.cancelled is not None:
            return
        job.cancelled = self.cancels[job.id].why or "cancelled"
        self._worklist.cancel(job, now, out)

    # ---- matching ----------------------------------------------------------------------------------------------------

    def declines(self, info: JobInfo) -> str | None:
        """Why this peer takes no part in the job at all, whatever it holds."""
        return self.models.declines(info)

    def lacks(self, info: JobInfo) -> str:
        """Why a model is not here yet; empty where all are."""
        return self.models.why(info, self.called)

    def excuse(self, job: JobState) -> str:
        """Why none of the job's tasks is started here; empty where they are."""
        return self.no_room or self.lacks(job.info)

    def takes_part(self, job_id: JobId) -> bool:
        """Whether what is said about the job concerns this peer: it holds some of it, or has published it."""
        job = self.jobs.get(job_id)
        return job is not None and (bool(job.mine) or self.me in job.held or job.info.publisher == self.me)

    def _catalog(self, change: st.CatalogChanged, now: float) -> None:
        first_look_over = change.complete and not self.holdings.scanned
        touched = self.holdings.apply(change)
        for job in self.jobs.values():
            self._match(job, touched, now)
            if first_look_over and job.is_open(now):  # what an earlier run's manifest names may be gone
                self._owe_manifest(job, now)

    def _match(self, job: JobState, contents: Iterable[ContentId], now: float) -> None:
        if job.info.spec is None or not job.is_open(now):
            return
        had_part, able = bool(job.mine), self.declines(job.info) is None
        if match(job, contents, self.holdings, self.me, able=able, series=self.models.takes_series(job.info)):
            if not had_part and now > job.heard:  # of no concern so far: what others did comes only now
                job.heard, job.late = now, True
            if job.lacks_model and job.mine:  # before the manifest: nobody is to leave anything to us
                self._worklist.owe_claim(job, now)
            self._owe_manifest(job, now)
            self._owe_renewal(job, now)

    def _let_go(self, task: TaskId, now: float) -> None:
        """It is pending again. While it ran its file may have gone, or its model."""
        if (job := self._worklist.let_go(task, now)) is not None:
            self._match(job, (job.mine[task].entry.content,), now)

    def _rematch(self, job: JobState, now: float) -> None:
        self._match(job, {**dict.fromkeys(self.holdings.copies), **dict.fromkeys(job.units)}, now)

    # ---- models ------------------------------------------------------------------------------------------------------

    def _models(self, change: st.ModelsChanged, now: float) -> None:
        self.models.changed(change)
        for job in self.jobs.values():
            turned = self.models.mind(job)
            if job.is_open(now):
                self._rematch(job, now)
                if turned and job.has_open:
                    self._turned(job, now)

    def _turned(self, job: JobState, now: float) -> None:
        """Its model has come or gone, which others hear at once. Until now they took all that lies here too, and some
        may be at it: like one that joins late we wait for their claims.
        """
        self._worklist.owe_claim(job, now)
        job.claim_due = now
        if not job.lacks_model:
            job.heard, job.late = now, job.late or reports.has_copies_elsewhere(job, self.me)

    def _fetch_moved(self, news: st.FetchMoved, now: float) -> None:
        """Others hear of it now and then. What is refused we have no part in."""
        turned, told = self.models.moved(news)
        for job in self.models.lacking.values():
            if any(s.model == news.model for s in self.models.missing(job.info)) and job.is_open(now):
                if turned:
                    self._rematch(job, now)
                if told and job.has_open:
                    self._worklist.owe_claim(job, now)

    def _owe_manifest(self, job: JobState, now: float) -> None:
        reports.owe_manifest(job, now)
        self._worklist.touch(job)

    def _owe_renewal(self, job: JobState, now: float) -> None:
        if job.is_shared:
            job.renew_at = now
            self._worklist.touch(job)

    # ---- the others --------------------------------------------------------------------------------------------------

    def called(self, peer: PeerId) -> str:
        """Its name, or the end of its id where nobody has told it."""
        fact = self.peers.get(peer)
        return fact.name if fact else peer[-6:]

    def live(self, peer: PeerId, job: JobState, now: float) -> bool:
        """Connected, so a moment ago, or heard to speak of this job."""
        return peer == self.me or self.presence.live(peer) or now < job.lease(peer)

    def validate(self) -> None:
        """What must hold between stimuli; for tests."""
        for task, job_id in self.running.items():
            assert self.jobs[job_id].mine[task].status == "running"
            assert task in self.jobs[job_id].running
        for job in self.jobs.values():
            assert job.waiting <= job.mine.keys() - job.running
            assert {task for task, mine in job.mine.items() if mine.status == "running"} == job.running
