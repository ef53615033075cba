"""Our own tasks: which are looked at next, started, ended, let go of, and moved between peers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from meshinfer.model.facts import Outcome
from meshinfer.model.ids import JobId, PeerId, TaskId
from meshinfer.schedule import reports
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.choice import Choice, View, choose
from meshinfer.schedule.job import JobState, Mine
from meshinfer.schedule.lease import LEASE
from meshinfer.schedule.matching import order
from meshinfer.schedule.stealing import Stealing, spare

WINDOW = 32
"""What is handed to the engine at a time, by weight: enough that single images keep every core busy."""

WEIGHT = {"image": 1, "video": 8, "series": 8}
"""A span of a video is half a minute of work: with four of them waiting, the rest can still move to whoever is idle."""


class Worklist:
    def __init__(self, jobs: Mapping[JobId, JobState], view: View, window: int) -> None:
        self._jobs, self._view, self._window = jobs, view, window
        self.no_room = ""
        """Why no task is started, where that is so."""
        self.running: dict[TaskId, JobId] = {}
        self.active: dict[JobId, None] = {}
        """Jobs that have tasks to start or something to say, in the order in which they came to have."""
        self._load = 0
        self._look_at: dict[JobId, float] = {}
        """When the waiting tasks of a job are looked at again, at the latest."""
        self._watched: dict[tuple[JobId, PeerId], float] = {}
        """Leases that tasks stand by, and when they are looked at."""
        self._stealing = Stealing()
        self._turn = 0

    def deadlines(self, now: float) -> list[float]:
        times = [until for job_id, until in self._look_at.items() if self._jobs[job_id].waiting]
        times += self._watched.values()
        if self._is_idle and self._watched:
            times.append(max(now, self._stealing.deadline()))
        return times

    @property
    def _is_idle(self) -> bool:
        if self.running or self.no_room:
            return False
        return not any(job.ready and not job.lacks_model for job in map(self._jobs.__getitem__, self.active))

    def touch(self, job: JobState) -> None:
        self.active[job.id] = None

    # ---- looking -----------------------------------------------------------------------------------------------------

    def reconsider(self, job: JobState, tasks: Iterable[TaskId] | None = None) -> None:
        """Look at these waiting tasks of the job again, or at all of them."""
        again = list(job.waiting if tasks is None else job.waiting.intersection(tasks))
        if again:
            again.sort(key=lambda task: order(job.mine[task]))
            job.waiting.difference_update(again)
            job.ready.extend(again)
            self.touch(job)

    def reconsider_all(self) -> None:
        for job in self._jobs.values():
            self.reconsider(job)

    def look_again(self, now: float) -> None:
        """Deadlines that have passed: of jobs, and of leases that nobody renewed."""
        for job_id in [job_id for job_id, until in self._look_at.items() if until <= now]:
            del self._look_at[job_id]
            self.reconsider(self._jobs[job_id])
        for job_id, peer in [watched for watched, until in self._watched.items() if until <= now]:
            job = self._jobs.get(job_id)
            left = [] if job is None else [task for task in job.waiting if job.mine[task].stands_by == peer]
            if job is None or not left or now >= job.lease(peer):
                del self._watched[job_id, peer]
            else:
                self._watched[job_id, peer] = job.lease(peer)
                continue
            if job is not None:
                self.reconsider(job, left)

    # ---- starting ----------------------------------------------------------------------------------------------------

    def start(self, now: float, out: list[st.Effect]) -> None:
        """Fill the window, a task of each job in turn. Ask others for work where there is none."""
        jobs = [self._jobs[job_id] for job_id in self.active if self._jobs[job_id].ready]
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
            choice = choose(job, mine, now, self._view)
            full = self.no_room or self._load + WEIGHT[mine.entry.kind] > self._window
            if choice.start and (full or job.lacks_model):
                jobs.remove(job)  # its turn comes when there is room, or the model
                continue
            job.ready.popleft()
            if choice.start and mine.task in self.running:  # for a job that does the same: its result will do
                job.waiting.add(mine.task)
            elif choice.start:
                self._begin(job, mine, choice.epoch, now, out)
            else:
                self._leave(job, mine, choice, now)
        if self._is_idle and self._watched:
            able = (job for job in self._jobs.values() if job.waiting and job.is_open(now) and not job.lacks_model)
            asked = self._stealing.ask(able, now)
            if asked is not None:
                out.append(asked)

    def _begin(self, job: JobState, mine: Mine, epoch: int, now: float, out: list[st.Effect]) -> None:
        mine.status, mine.epoch, mine.stands_by = "running", epoch, None
        job.running.add(mine.task)
        self.running[mine.task] = job.id
        self._load += WEIGHT[mine.entry.kind]
        job.began = now if job.began is None else job.began
        self.owe_claim(job, now)
        if epoch:  # whoever had it must hear of it soon, or both go on with it
            job.claim_due = max(now, job.claim_said + reports.SAY_TAKEN)
        out.append(st.Start(job.id, mine.task, mine.entry, mine.first, mine.stop))

    def _leave(self, job: JobState, mine: Mine, choice: Choice, now: float) -> None:
        """To another, or until later; or for good."""
        if mine.stands_by != choice.stands_by:
            mine.stands_by, mine.since = choice.stands_by, now
        if choice.over:
            return
        job.waiting.add(mine.task)
        if choice.until < math.inf:
            self._look_at[job.id] = min(choice.until, self._look_at.get(job.id, math.inf))
        if choice.stands_by is not None and (lease := job.lease(choice.stands_by)) > now:
            self._watched.setdefault((job.id, choice.stands_by), lease)

    # ---- what becomes of them ----------------------------------------------------------------------------------------

    def owe_claim(self, job: JobState, now: float) -> None:
        reports.owe_claim(job, now)
        self.touch(job)

    def progressed(self, task: TaskId, analysed: int, detections: int, now: float) -> None:
        if (job := self._job_of(task)) is not None:
            job.mine[task].analysed, job.mine[task].detections = analysed, detections
            self.owe_claim(job, now)

    def ended(self, task: TaskId, outcome: Outcome, now: float) -> None:
        if (job := self._job_of(task)) is not None:
            mine = job.mine[task]
            self.end(job, mine, outcome)
            self.owe_claim(job, now)
            reports.owe_outcome(job, replace(outcome, epoch=mine.epoch), now)

    def end(self, job: JobState, mine: Mine, outcome: Outcome | None) -> None:
        if self.running.get(mine.task) == job.id:  # else it runs on for a job that does the same
            self._stopped(mine)
        job.end(mine, outcome)

    def let_go(self, task: TaskId, now: float) -> JobState | None:
        """It is pending again; the job that it was run for."""
        if (job := self._job_of(task)) is not None:
            mine = job.mine[task]
            self._stopped(mine)
            job.running.discard(task)
            mine.status, mine.taken = "pending", -math.inf
            job.ready.appendleft(task)
            self.owe_claim(job, now)
        return job

    def cancel(self, job: JobState, now: float, out: list[st.Effect]) -> None:
        """Nothing of this job is worked on any more."""
        if job.running:
            out.append(st.Stop(job.id, tuple(sorted(job.running))))
            job.claim_due = now
            self.touch(job)
        for task in sorted(job.running):
            self._stopped(job.mine[task])
            job.mine[task].status = "pending"
        job.running.clear()
        job.ready.clear()
        job.waiting.clear()
        self._look_at.pop(job.id, None)

    def forget(self, job: JobState, now: float, out: list[st.Effect]) -> None:
        """The job is no more."""
        self.cancel(job, now, out)
        self.active.pop(job.id, None)
        for key in [key for key in self._watched if key[0] == job.id]:
            del self._watched[key]

    def _job_of(self, task: TaskId) -> JobState | None:
        job_id = self.running.get(task)
        return None if job_id is None else self._jobs[job_id]

    def _stopped(self, mine: Mine) -> None:
        if (job_id := self.running.pop(mine.task, None)) is not None:
            self._load -= WEIGHT[mine.entry.kind]
            for alike in self._view.alike[self._jobs[job_id].work]:
                if alike.id != job_id:
                    self.reconsider(alike, (mine.task,))

    # ---- moving ------------------------------------------------------------------------------------------------------

    def hand_over(self, peer: PeerId, job_id: JobId, most: int, now: float) -> tuple[TaskId, ...]:
        """Tasks that an idle peer may have: we leave them alone until it claims them, or does not."""
        job = self._jobs.get(job_id)
        if job is None or not job.is_open(now) or not job.is_shared:
            return ()
        for task in [task for task, (_, until) in self._view.given.items() if until <= now]:
            del self._view.given[task]
        given = spare(job, peer, most, lambda mine: self._is_ours(job, mine, now))
        for mine in given:
            job.ready.remove(mine.task)
            mine.taken = -math.inf
            self._view.given[mine.task] = peer, now + LEASE
            self._leave(job, mine, Choice(start=False, until=now + LEASE, stands_by=peer), now)
        if given:
            self.owe_claim(job, now)
        return tuple(mine.task for mine in given)

    def _is_ours(self, job: JobState, mine: Mine, now: float) -> bool:
        """To start it, had we the time. What we have done for another job takes none."""
        alike = (other.mine.get(mine.task) for other in self._view.alike[job.work])
        if mine.task in self.running or any(other is not None and other.status == "ended" for other in alike):
            return False
        return choose(job, mine, now, self._view).start

    def take_over(self, peer: PeerId, job_id: JobId, tasks: tuple[TaskId, ...], now: float) -> None:
        """What a busy peer has handed over to us. Raises nothing: what we did not ask for is not heard."""
        job = self._jobs.get(job_id)
        if not self._stealing.answered(peer, job_id, len(tasks), now) or job is None:
            return
        for task in tasks:
            mine = job.mine.get(task)
            if mine is not None and mine.status == "pending" and job.holds(peer, task) and task in job.waiting:
                mine.taken = now + LEASE / 2  # well before they take it back
                self.reconsider(job, (task,))
