"""What must hold, checked while it runs; `ending.py` has what must hold in the end. In words: docs/SIMULATOR.md.

I1 no task is lost while a holder lives · I2 at rest every peer names the same result · I3 done is monotone
I4 nobody runs data that it doesn't hold · I5 what is private leaves no peer
I6 peers that can talk come to know the same, in bounded time · I7 what a peer keeps is bounded; what went stays away
I8 without faults a task runs once, with faults once in a holder's life

All of it among honest peers: of those that break the rules nothing is asked, nor of work whose data they hold too.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import Outcome
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.model.job import JobOrder
from meshinfer.model.logs import LogId
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.log import Slot
from meshinfer.sim.chronicle import Chronicle
from meshinfer.sim.duties import version_of
from meshinfer.sim.peer import Peer

Life = tuple[int, int]
"""A peer's index, and which of its lives."""

Ended = dict[TaskId, dict[PeerId, Outcome]]

PRIVATE = "private-"
"""In the name of every file: names are told to those who ask for results, and stand in no record."""

EVERY_STEP = 32
"""Peers up to which all is looked at after each step; beyond, now and then."""


class Monitor:
    def __init__(self, chronicle: Chronicle) -> None:
        self._chronicle = chronicle
        self.peers: list[Peer] = []
        self.jobs = 0
        """That operators ask for, known to anybody or not."""
        self.runs: Counter[TaskId] = Counter()
        self.failed: Counter[TaskId] = Counter()
        self._in_life: Counter[tuple[int, int, TaskId]] = Counter()
        self._under_way: set[tuple[int, int, TaskId]] = set()
        self._ended: dict[Life, dict[JobId, Ended]] = {}
        """How tasks had ended in the eyes of each life, when it was last looked at."""
        self._named: frozenset[PeerId] = frozenset()
        self._counted = 0
        self.done_by: defaultdict[TaskId, set[PeerId]] = defaultdict(set)
        """Who has really done a task, whatever records say."""
        self._forgotten: set[tuple[int, int, JobId]] = set()
        """Jobs that a life let go of for good."""
        self.results = 0
        """Runs that ended, done or not."""
        self._looks = 0
        self._published: dict[JobId, float] = {}
        self._orphans: dict[TaskId, tuple[float, PeerId]] = {}
        """Tasks whose runner died, when, and who it was."""
        self.takeovers: list[float] = []
        """Seconds from the death of a runner, or since who takes over is up, to the next run of its task elsewhere."""
        self.spread: list[float] = []
        """Seconds from the publishing of a job until a peer that was up knew it."""

    # ---- at every step -----------------------------------------------------------------------------------------------

    def starts(self, peer: Peer, task: TaskId, entry: Entry) -> None:
        if entry not in peer.found:
            raise self._chronicle.broken("I4", f"{peer.process.name} runs {entry.name}, which it does not hold", task)

    def begins(self, peer: Peer, task: TaskId) -> None:
        name, now = peer.process.name, peer.around.agenda.now
        self.runs[task] += 1
        if (orphan := self._orphans.pop(task, None)) is not None and orphan[1] != peer.id:
            self.takeovers.append(now - max(orphan[0], peer.since))
        life = (peer.index, peer.process.life, task)
        self._in_life[life] += 1
        self._under_way.add(life)
        if self._in_life[life] > 1:
            raise self._chronicle.broken("I8", f"{name} runs a task for the second time in one life", task)

    def lets_go(self, peer: Peer, task: TaskId) -> None:
        """It may rightly be begun again."""
        life = (peer.index, peer.process.life, task)
        if life in self._under_way:
            self._under_way.discard(life)
            self._in_life[life] -= 1
            self.runs[task] -= 1

    def died(self, peer: Peer) -> None:
        for task in peer.runner.working:
            self._orphans[task] = peer.around.agenda.now, peer.id

    def published(self, job: JobId) -> None:
        self._published[job] = self._chronicle.now

    def leaves(self, peer: Peer, data: bytes) -> None:
        if PRIVATE.encode() in data:
            raise self._chronicle.broken("I5", f"{peer.process.name} tells others the name of a file")

    def handled(self, peer: Peer, stimulus: st.Stimulus) -> None:
        match stimulus:
            case st.Heard(_, JobOrder(id=job), _):
                if (peer.index, peer.process.life, job) in self._forgotten:
                    raise self._chronicle.broken("I7", f"{peer.process.name} had forgotten job {job}, and it is back")
                if peer.since < (at := self._published.get(job, -1.0)):
                    self.spread.append(self._chronicle.now - at)
            case st.TaskReturned(task):  # it was not run after all, or will rightly be run again
                self._in_life[peer.index, peer.process.life, task] -= 1
            case st.TaskEnded(task, outcome):
                self._under_way.discard((peer.index, peer.process.life, task))
                if not outcome.done:  # another job may rightly try it again
                    self.failed[task] += 1
                    self._in_life[peer.index, peer.process.life, task] -= 1
                else:
                    self.done_by[task].add(peer.id)
                self.results += 1
            case st.StoreLost(origin, jobs):
                seen = self._ended.get((peer.index, peer.process.life), {})
                for ended in (seen[lost] for lost in jobs & seen.keys()):
                    for by in ended.values():
                        by.pop(origin, None)
            case st.JobForgotten(job):
                life = (peer.index, peer.process.life)
                self._ended.get(life, {}).pop(job, None)
                self._forgotten.add((*life, job))
        if peer.honest and len(self.peers) <= EVERY_STEP:
            self._check_peer(peer)

    def now_and_then(self) -> None:
        """A look at all peers; of a large mesh at some, others each time."""
        alive, said = self.alive(), self._said()
        self._looks += 1
        for at in range(min(len(alive), EVERY_STEP)):
            peer = alive[(at + self._looks * EVERY_STEP) % len(alive)]
            self._check_peer(peer)
            self._check_vector(peer, said)

    def alive(self) -> list[Peer]:
        """Those of whom anything is asked."""
        return [peer for peer in self.peers if peer.process.alive and peer.honest]

    def suspects(self) -> frozenset[PeerId]:
        """Those that break the rules. None comes to be one: copies of them join."""
        if self._counted != len(self.peers):
            self._counted = len(self.peers)
            self._named = frozenset(peer.id for peer in self.peers if not peer.honest)
        return self._named

    def doubtful(self) -> set[ContentId]:
        """What they hold or held."""
        suspects = [peer for peer in self.peers if not peer.honest]
        held = {entry.content for peer in suspects for entry in peer.entries}
        return held.union(*(peer.had for peer in suspects))

    def _check_peer(self, peer: Peer) -> None:
        try:
            peer.state.validate()
        except AssertionError as e:
            raise self._chronicle.broken("state", f"{peer.process.name}'s schedule contradicts itself: {e}") from e
        seen, jobs = self._ended.setdefault((peer.index, peer.process.life), {}), peer.state.jobs
        # Most steps change nothing here: two dicts of the same outcomes are compared without a look inside.
        if seen.keys() != jobs.keys() or any(seen[job_id] != job.outcomes for job_id, job in jobs.items()):
            self._check_done_stays(peer, seen)

    def _check_done_stays(self, peer: Peer, seen: dict[JobId, Ended]) -> None:
        jobs, suspects = peer.state.jobs, self.suspects()
        undone: list[tuple[JobId, TaskId, PeerId]] = []
        for job_id in seen.keys() | jobs.keys():
            before, job = seen.setdefault(job_id, {}), jobs.get(job_id)
            now = job.outcomes if job is not None else {}
            for task in [task for task in before.keys() | now.keys() if before.get(task) != now.get(task)]:
                ended = now.get(task, {})
                was = [by for by, outcome in before.get(task, {}).items() if outcome.done and by not in suspects]
                undone += [(job_id, task, by) for by in was if by not in ended or not ended[by].done]
                before[task] = dict(ended)
            if job is None:
                del seen[job_id]
        if undone:
            _, task, by = min(undone)
            raise self._chronicle.broken(
                "I3", f"{peer.process.name} held that {self.name(by)} had done a task, and holds so no more", task
            )

    def _check_vector(self, peer: Peer, said: dict[LogId, list[tuple[Slot, int]]]) -> None:
        """What it claims to have seen of another's store it holds, or something newer in its place."""
        log = peer.books.log
        for log_id, extent in log.seen_of(log.jobs).items():
            if log_id.origin == peer.id:
                continue
            for slot, seq in said.get(log_id, ()):
                if seq > extent.n and seq not in extent:
                    continue
                held = log.at(slot)
                if held is None or version_of(held.record) < (log_id.incarnation, seq):
                    why = f"{peer.process.name} claims to have seen {self.name(slot.origin)}'s {seq}"
                    raise self._chronicle.broken("I6", f"{why}, and lacks {slot.kind} {slot.key}")

    def _said(self) -> dict[LogId, list[tuple[Slot, int]]]:
        """What each honest peer has stated and not replaced since, with its number, by log."""
        out: defaultdict[LogId, list[tuple[Slot, int]]] = defaultdict(list)
        for peer in self.peers:
            if peer.honest and peer.store is not None and peer.store.incarnation != peer.set_back:
                for slot, (r, _) in peer.store.records.items():
                    if r.origin == peer.id and r.incarnation == peer.store.incarnation:
                        out[LogId(r.origin, r.incarnation, slot.job)].append((slot, r.seq))
        return out

    def name(self, peer: PeerId) -> str:
        return next((p.process.name for p in self.peers if p.id == peer), peer[-6:])
