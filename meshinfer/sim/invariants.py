"""What must hold, checked while it runs (the numbers are those of docs/PROTOCOL.md's design).

I1 no task is lost while a holder lives · I2 at rest every peer names the same result · I3 done is monotone
I4 nobody runs data that it doesn't hold · I5 what is private leaves no peer
I6 peers that can talk come to know the same, in bounded time · I7 what a peer keeps is bounded; what went stays away
I8 without faults a task runs once, with faults once in a holder's life

All of it among honest peers: of those that break the rules nothing is asked, nor of work whose data they hold too.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import BOUND_TO_JOB, KINDS, Outcome
from meshinfer.model.ids import ContentId, JobId, PeerId, TaskId
from meshinfer.model.job import JobOrder
from meshinfer.model.logs import LogId
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.log import Slot
from meshinfer.schedule.progress import progress
from meshinfer.sim.chronicle import Chronicle, Violated
from meshinfer.sim.duties import Version, is_idle, keeps, may_hold, tasks_at, version_of
from meshinfer.sim.peer import Peer

Life = tuple[int, int]
"""A peer's index, and which of its lives."""

Ended = dict[TaskId, dict[PeerId, Outcome]]

PRIVATE = "private-"
"""In the name of every file: names are told to those who ask for results, and stand in no record."""

OF_ATTACKER = 1000
"""Records of one attacker that others may keep."""

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
        self._done_by: defaultdict[TaskId, set[PeerId]] = defaultdict(set)
        """Who has really done a task, whatever records say."""
        self._forgotten: set[tuple[int, int, JobId]] = set()
        """Jobs that a life let go of for good."""
        self._results = 0
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
        for task in peer.working:
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
                    self._done_by[task].add(peer.id)
                self._results += 1
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

    def _suspects(self) -> frozenset[PeerId]:
        """Those that break the rules. None comes to be one: copies of them join."""
        if self._counted != len(self.peers):
            self._counted = len(self.peers)
            self._named = frozenset(peer.id for peer in self.peers if not peer.honest)
        return self._named

    def _doubtful(self) -> set[ContentId]:
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
        jobs, suspects = peer.state.jobs, self._suspects()
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
                "I3", f"{peer.process.name} held that {self._name(by)} had done a task, and holds so no more", task
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
                    why = f"{peer.process.name} claims to have seen {self._name(slot.origin)}'s {seq}"
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

    def _versions(self, peer: Peer) -> dict[Slot, Version]:
        """What a peer holds of honest peers, by slot."""
        suspects = self._suspects()
        return {
            Slot(r.origin, r.kind, r.key): version_of(r)
            for r, _ in peer.books.log
            if r.origin not in suspects and r.kind in KINDS
        }

    def _name(self, peer: PeerId) -> str:
        return next((p.process.name for p in self.peers if p.id == peer), peer[-6:])

    # ---- after the storm ---------------------------------------------------------------------------------------------

    def known(self) -> dict[Slot, Version]:
        """The newest that any living peer holds in each slot, without what a lost store takes back."""
        return self._newest({peer.id: peer.store.incarnation for peer in self.peers if peer.store and peer.honest})

    def _told(self) -> dict[Slot, Version]:
        """The same, by the stores that the living know of: of one that was made and lost in silence nobody does."""
        alive = self.alive()
        return self._newest({p.id: max(peer.books.log.newest(p.id) for peer in alive) for p in self.peers})

    def _newest(self, stores: dict[PeerId, int]) -> dict[Slot, Version]:
        out: dict[Slot, Version] = {}
        for peer in self.alive():
            for slot, version in self._versions(peer).items():
                if slot.kind not in BOUND_TO_JOB or version[0] >= stores[slot.origin]:
                    out[slot] = max(version, out.get(slot, version))
        return out

    def knows(self, peer: Peer, target: dict[Slot, Version]) -> bool:
        log = peer.books.log
        return all(
            ((held := log.at(slot)) is not None and version_of(held.record) >= version)
            or (slot.kind in BOUND_TO_JOB and version[0] < log.newest(slot.origin))
            for slot, version in target.items()
            if keeps(peer, slot)
        )

    def apart(self, target: dict[Slot, Version], since: float) -> Violated:
        """Who does not know what, so long after the storm."""
        for peer in self.alive():
            for slot, version in sorted(target.items()):
                if not self.knows(peer, {slot: version}):
                    what = f"{self._name(slot.origin)}'s {slot.kind} {slot.key} of {version[1]}"
                    why = f"{since:.1f} s after the storm {peer.process.name} does not know {what}"
                    return self._chronicle.broken("I6", why)
        return self._chronicle.broken("I6", "peers know different things")

    def at_rest(self) -> bool:
        """Nobody has anything to do, and all hold what they are to."""
        alive = self.alive()
        if not all(map(is_idle, alive)):
            return False
        everything = self._told()
        some = alive if len(alive) <= EVERY_STEP else alive[:: len(alive) // EVERY_STEP]
        return not any(self._odd(peer, everything) for peer in some)

    def _odd(self, peer: Peer, everything: dict[Slot, Version]) -> list[tuple[Slot, Version]]:
        """What it lacks of what it is to hold, and holds of what it is not."""
        ought = {slot: version for slot, version in everything.items() if keeps(peer, slot)}
        held = {s: version for s, version in self._versions(peer).items() if keeps(peer, s) or not may_hold(peer, s)}
        return sorted(held.items() ^ ought.items())

    def restless(self) -> Violated:
        """Why it does not come to rest, as far as can be told."""
        self.final()  # most likely something more telling is broken
        everything = self._told()
        for peer in self.alive():
            for slot, _ in self._odd(peer, everything)[:1]:
                what = f"{self._name(slot.origin)}'s {slot.kind} {slot.key}"
                return self._chronicle.broken("I6", f"{peer.process.name} does not come to hold the same {what}")
        return self._chronicle.broken("I6", "the mesh does not come to rest")

    def final(self) -> None:
        """All that must hold once the mesh is at rest."""
        alive = self.alive()
        cancelled = {job for peer in alive for job in peer.state.cancels}
        for job_id in sorted({job_id for peer in alive for job_id in peer.state.jobs}):
            for peer in alive:
                if job_id not in peer.state.jobs:
                    raise self._chronicle.broken("I6", f"{peer.process.name} does not know job {job_id}")
            if job_id in cancelled:
                self._check_cancelled(alive, job_id)
            else:
                self._check_done(alive, job_id)
            self._check_agreement(alive, job_id)
        self._check_size(alive)

    def _check_cancelled(self, alive: list[Peer], job_id: JobId) -> None:
        ids = {peer.id for peer in alive}
        for peer in alive:
            job, name = peer.state.jobs[job_id], peer.process.name
            if job.cancelled is None:
                task = min(job.mine, default=None)
                raise self._chronicle.broken("cancel", f"{name} goes on with job {job_id}, which was cancelled", task)
            told = job.working if peer.books.keeping.interest.is_own(job_id) else {}
            if job.running or any(tasks for by, tasks in told.items() if by in ids):
                raise self._chronicle.broken("cancel", f"{name} believes that cancelled job {job_id} is worked on")

    def _check_done(self, alive: list[Peer], job_id: JobId) -> None:
        doubtful = self._doubtful()
        able = {(peer.id, e.content) for peer in alive for e in peer.entries if e.content not in peer.failing}
        for peer in alive:
            job, name = peer.state.jobs[job_id], peer.process.name
            for entry, task in tasks_at(job, peer):
                if entry.content in doubtful:
                    continue
                once = job.is_shared
                possible = any(content == entry.content and (once or by == peer.id) for by, content in able)
                if task not in job.mine:
                    raise self._chronicle.broken("I1", f"{name} does not take up {entry.name} of job {job_id}", task)
                # Where all holders that are left fail it, those that are not may still come back: it is not over.
                over = job.fate(task) is not None or (job.mine[task].status == "ended" and not possible)
                if not over or (possible and not job.canonical(task)):
                    raise self._chronicle.broken(
                        "I1", f"nobody does {entry.name} of job {job_id}", task, self._views(alive, job_id, task)
                    )
                if (named := job.canonical(task)) and named[0] not in self._done_by[task]:
                    raise self._chronicle.broken(
                        "I1", f"{self._name(named[0])} counts as having done {entry.name}, and has not", task
                    )
                if possible and self._quiet and self.runs[task] - self.failed[task] != 1:
                    ran = f"ran {self.runs[task]} times and failed {self.failed[task]} times"
                    raise self._chronicle.broken("I8", f"without faults {entry.name} of job {job_id} {ran}", task)

    def _check_agreement(self, alive: list[Peer], job_id: JobId) -> None:
        seen: list[tuple[Peer, dict[TaskId, object], str]] = []
        suspects, doubtful = self._suspects(), self._doubtful()
        certain = {
            task
            for peer in alive
            for task, mine in peer.state.jobs[job_id].mine.items()
            if mine.entry.content not in doubtful
        }
        for peer in alive:
            job = peer.state.jobs[job_id]
            if not peer.books.keeping.interest.is_own(job_id):
                continue
            results: dict[TaskId, object] = {
                task: job.canonical(task) for task in sorted(job.outcomes) if not suspects or task in certain
            }
            seen.append((peer, results, progress(peer.state, job, peer.clock()).stage))
        if not seen:
            return
        first, results, stage = seen[0]
        for peer, others, stage_there in seen[1:]:
            pair = f"{first.process.name} and {peer.process.name}"
            for task in sorted(results.keys() | others.keys()):
                if results.get(task) != others.get(task):
                    views = self._views([first, peer], job_id, task)
                    raise self._chronicle.broken("I2", f"{pair} name different results", task, views)
            if stage != stage_there and not suspects:  # a liar's own part may look different to each
                raise self._chronicle.broken(
                    "I2", f"job {job_id} is {stage} to one, {stage_there} to the other: {pair}"
                )

    def _check_size(self, alive: list[Peer]) -> None:
        jobs, peers = self.jobs, len(self.peers)
        most = 2 * peers + 2 * jobs + 2 * jobs * peers + self._results + OF_ATTACKER * len(self._suspects())
        for peer in alive:
            if len(peer.books.log) > most:
                raise self._chronicle.broken(
                    "I7", f"{peer.process.name} keeps {len(peer.books.log)} records, over {most}"
                )

    def _views(self, peers: list[Peer], job_id: JobId, task: TaskId) -> tuple[str, ...]:
        """How each of them sees the task."""
        lines = ["at the end:"]
        for peer in peers:
            job = peer.state.jobs[job_id]
            mine = job.mine.get(task)
            parts: list[str] = [mine.status if mine else "not its own"]
            if mine and mine.stands_by:
                parts.append(f"stands by {self._name(mine.stands_by)}")
            parts += [f"claimed by {self._name(by)}" for by, tasks in sorted(job.working.items()) if task in tasks]
            ended = sorted(job.outcomes.get(task, {}).items())
            parts += [f"{'done' if o.done else 'failed'} at {self._name(by)}" for by, o in ended]
            lines.append(f"           {peer.process.name:8}  {', '.join(parts)}")
        return tuple(lines)

    @property
    def _quiet(self) -> bool:
        return bool(self.peers) and self.peers[0].around.scenario.is_quiet
