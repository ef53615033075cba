"""What must hold when the storm is over: all come to know the same, and at rest everything is done and agreed on."""

from __future__ import annotations

from meshinfer.model.facts import BOUND_TO_JOB, KINDS
from meshinfer.model.ids import JobId, PeerId, TaskId
from meshinfer.schedule.log import Slot
from meshinfer.schedule.progress import progress
from meshinfer.sim.chronicle import Chronicle, Violated
from meshinfer.sim.duties import Version, is_idle, keeps, may_hold, tasks_at, version_of
from meshinfer.sim.invariants import EVERY_STEP, Monitor
from meshinfer.sim.peer import Peer

OF_ATTACKER = 1000
"""Records of one attacker that others may keep."""


class Ending:
    def __init__(self, monitor: Monitor, chronicle: Chronicle) -> None:
        self._monitor, self._chronicle = monitor, chronicle

    def known(self) -> dict[Slot, Version]:
        """The newest that any living peer holds in each slot, without what a lost store takes back."""
        peers = self._monitor.peers
        return self._newest({peer.id: peer.store.incarnation for peer in peers if peer.store and peer.honest})

    def _told(self) -> dict[Slot, Version]:
        """The same, by the stores that the living know of: of one that was made and lost in silence nobody does."""
        alive = self._monitor.alive()
        return self._newest({p.id: max(peer.books.log.newest(p.id) for peer in alive) for p in self._monitor.peers})

    def _newest(self, stores: dict[PeerId, int]) -> dict[Slot, Version]:
        out: dict[Slot, Version] = {}
        for peer in self._monitor.alive():
            for slot, version in self._versions(peer).items():
                if slot.kind not in BOUND_TO_JOB or version[0] >= stores[slot.origin]:
                    out[slot] = max(version, out.get(slot, version))
        return out

    def _versions(self, peer: Peer) -> dict[Slot, Version]:
        """What a peer holds of honest peers, by slot."""
        suspects = self._monitor.suspects()
        return {
            Slot(r.origin, r.kind, r.key): version_of(r)
            for r, _ in peer.books.log
            if r.origin not in suspects and r.kind in KINDS
        }

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
        for peer in self._monitor.alive():
            for slot, version in sorted(target.items()):
                if not self.knows(peer, {slot: version}):
                    what = f"{self._monitor.name(slot.origin)}'s {slot.kind} {slot.key} of {version[1]}"
                    why = f"{since:.1f} s after the storm {peer.process.name} does not know {what}"
                    return self._chronicle.broken("I6", why)
        return self._chronicle.broken("I6", "peers know different things")

    def at_rest(self) -> bool:
        """Nobody has anything to do, and all hold what they are to."""
        alive = self._monitor.alive()
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
        for peer in self._monitor.alive():
            for slot, _ in self._odd(peer, everything)[:1]:
                what = f"{self._monitor.name(slot.origin)}'s {slot.kind} {slot.key}"
                return self._chronicle.broken("I6", f"{peer.process.name} does not come to hold the same {what}")
        return self._chronicle.broken("I6", "the mesh does not come to rest")

    def final(self) -> None:
        """All that must hold once the mesh is at rest."""
        alive = self._monitor.alive()
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
        doubtful = self._monitor.doubtful()
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
                if (named := job.canonical(task)) and named[0] not in self._monitor.done_by[task]:
                    raise self._chronicle.broken(
                        "I1", f"{self._monitor.name(named[0])} counts as having done {entry.name}, and has not", task
                    )
                if possible and self._quiet and self._monitor.runs[task] - self._monitor.failed[task] != 1:
                    ran = f"ran {self._monitor.runs[task]} times and failed {self._monitor.failed[task]} times"
                    raise self._chronicle.broken("I8", f"without faults {entry.name} of job {job_id} {ran}", task)

    def _check_agreement(self, alive: list[Peer], job_id: JobId) -> None:
        seen: list[tuple[Peer, dict[TaskId, object], str]] = []
        suspects, doubtful = self._monitor.suspects(), self._monitor.doubtful()
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
        jobs, peers = self._monitor.jobs, len(self._monitor.peers)
        most = 2 * peers + 2 * jobs + 2 * jobs * peers + self._monitor.results
        most += OF_ATTACKER * len(self._monitor.suspects())
        for peer in alive:
            if len(peer.books.log) > most:
                raise self._chronicle.broken(
                    "I7", f"{peer.process.name} keeps {len(peer.books.log)} records, over {most}"
                )

    def _views(self, peers: list[Peer], job_id: JobId, task: TaskId) -> tuple[str, ...]:
        """How each of them sees the task."""
        name, lines = self._monitor.name, ["at the end:"]
        for peer in peers:
            job = peer.state.jobs[job_id]
            mine = job.mine.get(task)
            parts: list[str] = [mine.status if mine else "not its own"]
            if mine and mine.stands_by:
                parts.append(f"stands by {name(mine.stands_by)}")
            parts += [f"claimed by {name(by)}" for by, tasks in sorted(job.working.items()) if task in tasks]
            ended = sorted(job.outcomes.get(task, {}).items())
            parts += [f"{'done' if o.done else 'failed'} at {name(by)}" for by, o in ended]
            lines.append(f"           {peer.process.name:8}  {', '.join(parts)}")
        return tuple(lines)

    @property
    def _quiet(self) -> bool:
        return bool(self._monitor.peers) and self._monitor.peers[0].around.scenario.is_quiet
