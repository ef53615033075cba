"""What must hold, checked while it runs (the numbers are those of docs/PROTOCOL.md's design).

I1 no task is lost while a holder lives · I2 at rest every peer names the same result · I3 done is monotone
I4 nobody runs data that it doesn't hold · I6 peers that can talk come to know the same, in bounded time
I7 what a peer keeps is bounded · I8 without faults a task runs once, with faults once in a holder's life
"""

from __future__ import annotations

from collections import Counter

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import BOUND_TO_JOB, KINDS
from meshinfer.model.ids import JobId, PeerId, TaskId
from meshinfer.model.logs import Extent, LogId
from meshinfer.model.record import Record
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.choice import SETTLE
from meshinfer.schedule.log import Slot
from meshinfer.schedule.progress import progress
from meshinfer.sim.chronicle import Chronicle, Violated
from meshinfer.sim.peer import Peer

Done = tuple[JobId, TaskId, PeerId]
Version = tuple[int, int]

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
        self._begins: dict[TaskId, list[tuple[float, Peer]]] = {}
        self._done: dict[tuple[int, int], set[Done]] = {}
        self._results = 0

    # ---- at every step -----------------------------------------------------------------------------------------------

    def begins(self, peer: Peer, task: TaskId, entry: Entry) -> None:
        name = peer.process.name
        if entry not in peer.entries:
            raise self._chronicle.broken("I4", f"{name} runs {entry.name}, which it does not hold", task)
        self.runs[task] += 1
        self._begins.setdefault(task, []).append((peer.around.agenda.now, peer))
        life = (peer.index, peer.process.life, task)
        self._in_life[life] += 1
        if self._in_life[life] > 1:
            raise self._chronicle.broken("I8", f"{name} runs a task for the second time in one life", task)

    def handled(self, peer: Peer, stimulus: st.Stimulus) -> None:
        match stimulus:
            case st.TaskReturned(task):  # it was not run after all, or will rightly be run again
                self._in_life[peer.index, peer.process.life, task] -= 1
            case st.TaskEnded(task, outcome):
                self.failed[task] += not outcome.done
                self._results += 1
            case st.StoreLost(origin, jobs):
                life = (peer.index, peer.process.life)
                self._done[life] = {d for d in self._done.get(life, ()) if d[2] != origin or d[0] not in jobs}
        if len(self.peers) <= EVERY_STEP:
            self._check_peer(peer)

    def now_and_then(self) -> None:
        for peer in self._alive():
            self._check_peer(peer)
            self._check_vector(peer)

    def _alive(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.process.alive]

    def _check_peer(self, peer: Peer) -> None:
        try:
            peer.state.validate()
        except AssertionError as e:
            raise self._chronicle.broken("state", f"{peer.process.name}'s schedule contradicts itself: {e}") from e
        life = (peer.index, peer.process.life)
        done = {
            (job.id, task, by)
            for job in peer.state.jobs.values()
            for task, outcomes in job.outcomes.items()
            for by, outcome in outcomes.items()
            if outcome.done
        }
        if undone := self._done.get(life, set()) - done:
            _, task, by = min(undone)
            raise self._chronicle.broken(
                "I3", f"{peer.process.name} held that {self._name(by)} had done a task, and holds so no more", task
            )
        self._done[life] = done

    def _check_vector(self, peer: Peer) -> None:
        """What it claims to have seen of another's store it holds, or something newer in its place."""
        log = peer.books.log
        seen = log.seen_of(log.jobs)
        for other in self.peers:
            if other is peer or other.store is None:
                continue
            for slot, kept in other.store.records.items():
                if slot.origin != other.id or kept.record.incarnation != other.store.incarnation:
                    continue
                extent = seen.get(LogId(other.id, other.store.incarnation, slot.job), Extent())
                held = log.get(*slot)
                if kept.record.seq in extent and (held is None or _version(held.record) < _version(kept.record)):
                    why = f"{peer.process.name} claims to have seen {self._name(other.id)}'s {kept.record.seq}"
                    raise self._chronicle.broken("I6", f"{why}, and lacks {slot.kind} {slot.key}")

    def _name(self, peer: PeerId) -> str:
        return next((p.process.name for p in self.peers if p.id == peer), peer[-6:])

    # ---- after the storm ---------------------------------------------------------------------------------------------

    def known(self) -> dict[Slot, Version]:
        """The newest that any living peer holds in each slot, without what a lost store takes back."""
        lives_in = {peer.id: peer.store.incarnation for peer in self.peers if peer.store}
        return self._newest(lives_in)

    def _told(self) -> dict[Slot, Version]:
        """The same, by the stores that the living know of: of one that was made and lost in silence nobody does."""
        known = {p.id: max(peer.books.log.newest(p.id) for peer in self._alive()) for p in self.peers}
        return self._newest(known)

    def _newest(self, stores: dict[PeerId, int]) -> dict[Slot, Version]:
        out: dict[Slot, Version] = {}
        for peer in self._alive():
            for slot, version in versions(peer).items():
                if slot.kind not in BOUND_TO_JOB or version[0] >= stores[slot.origin]:
                    out[slot] = max(version, out.get(slot, version))
        return out

    def knows(self, peer: Peer, target: dict[Slot, Version]) -> bool:
        return all(
            (held := peer.books.log.get(*slot)) is not None and _version(held.record) >= version
            for slot, version in target.items()
            if keeps(peer, slot)
        )

    def apart(self, target: dict[Slot, Version], since: float) -> Violated:
        """Who does not know what, so long after the storm."""
        for peer in self._alive():
            for slot, version in sorted(target.items()):
                if not self.knows(peer, {slot: version}):
                    what = f"{self._name(slot.origin)}'s {slot.kind} {slot.key} of {version[1]}"
                    why = f"{since:.1f} s after the storm {peer.process.name} does not know {what}"
                    return self._chronicle.broken("I6", why)
        return self._chronicle.broken("I6", "peers know different things")

    def at_rest(self) -> bool:
        """Nobody has anything to do, and all hold the same records."""
        alive = self._alive()
        for peer in alive:
            if peer.working or peer.state.running or not peer.books.at_rest or peer.state.next_deadline() is not None:
                return False
        everything = self._told()
        return all(versions(peer) == {s: v for s, v in everything.items() if keeps(peer, s)} for peer in alive)

    def restless(self) -> Violated:
        """Why it does not come to rest, as far as can be told."""
        self.final()  # most likely something more telling is broken
        everything = self._told()
        for peer in self._alive():
            ought = {slot: version for slot, version in everything.items() if keeps(peer, slot)}
            for slot, _ in sorted(versions(peer).items() ^ ought.items())[:1]:
                what = f"{self._name(slot.origin)}'s {slot.kind} {slot.key}"
                return self._chronicle.broken("I6", f"{peer.process.name} does not come to hold the same {what}")
        return self._chronicle.broken("I6", "the mesh does not come to rest")

    def final(self) -> None:
        """All that must hold once the mesh is at rest."""
        alive = self._alive()
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
            if job.running or any(tasks for by, tasks in job.working.items() if by in ids):
                raise self._chronicle.broken("cancel", f"{name} believes that cancelled job {job_id} is worked on")

    def _check_done(self, alive: list[Peer], job_id: JobId) -> None:
        able = {(peer.id, e.content) for peer in alive for e in peer.entries if e.content not in peer.failing}
        for peer in alive:
            job, name = peer.state.jobs[job_id], peer.process.name
            for entry in peer.entries:
                task = job.task_for(entry.content, peer.id)
                once = job.info.spec is not None and job.info.spec.scope == "once"
                possible = any(content == entry.content and (once or by == peer.id) for by, content in able)
                if task not in job.mine:
                    raise self._chronicle.broken("I1", f"{name} does not take up {entry.name} of job {job_id}", task)
                # Where all holders that are left fail it, those that are not may still come back: it is not over.
                over = job.is_over(task) or (job.mine[task].status == "ended" and not possible)
                if not over or (possible and not job.canonical(task)):
                    raise self._chronicle.broken(
                        "I1", f"nobody does {entry.name} of job {job_id}", task, self._views(alive, job_id, task)
                    )
                if possible and self._quiet and self.runs[task] - self.failed[task] != 1 and not self._unmet(task):
                    ran = f"ran {self.runs[task]} times and failed {self.failed[task]} times"
                    raise self._chronicle.broken("I8", f"without faults {entry.name} of job {job_id} {ran}", task)

    def _unmet(self, task: TaskId) -> bool:
        """Two that were up and had not met when the first of them began: each runs its own (docs/PROTOCOL.md)."""
        begins = self._begins[task]
        return any(
            second.since < at < first.around.network.met(first.index, second.index) + SETTLE
            for i, (at, first) in enumerate(begins)
            for _, second in begins[i + 1 :]
        )

    def _check_agreement(self, alive: list[Peer], job_id: JobId) -> None:
        seen: list[tuple[Peer, dict[TaskId, object], str]] = []
        for peer in alive:
            job = peer.state.jobs[job_id]
            if job_id not in peer.books.keeping.kept:
                continue
            results: dict[TaskId, object] = {task: job.canonical(task) for task in sorted(job.outcomes)}
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
            if stage != stage_there:
                raise self._chronicle.broken(
                    "I2", f"job {job_id} is {stage} to one, {stage_there} to the other: {pair}"
                )

    def _check_size(self, alive: list[Peer]) -> None:
        jobs, peers = self.jobs, len(self.peers)
        most = 2 * peers + 2 * jobs + 2 * jobs * peers + self._results
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


def keeps(peer: Peer, slot: Slot) -> bool:
    """Whether it is to hold what is said there: all do but of jobs, which concern who takes part."""
    return slot.job is None or slot.job in peer.books.keeping.kept


def versions(peer: Peer) -> dict[Slot, Version]:
    """What a peer holds, by slot."""
    log = peer.books.log
    return {Slot(r.origin, r.kind, r.key): _version(r) for kind in KINDS for r, _ in log.of_kind(kind)}


def _version(record: Record) -> Version:
    return record.incarnation, record.seq
