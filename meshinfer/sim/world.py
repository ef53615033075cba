"""A run: peers, jobs and faults drawn from a seed, played on virtual time, watched until the mesh is at rest.

calm: peers find each other · storm: jobs, and whatever the scenario inflicts · then all heals and must converge
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import Cancel
from meshinfer.model.ids import ContentId, JobId, hash_of
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec
from meshinfer.schedule.log import Slot
from meshinfer.sim.agenda import Agenda
from meshinfer.sim.books import Unsealer
from meshinfer.sim.chance import Rng
from meshinfer.sim.chronicle import Chronicle
from meshinfer.sim.figures import Figures
from meshinfer.sim.invariants import Monitor, Version
from meshinfer.sim.network import Network
from meshinfer.sim.peer import MODEL, PIECES, SOURCE, Around, Crashed, Peer
from meshinfer.sim.scenario import Scenario, Spans
from meshinfer.sim.store import Store

LOOK_EVERY = 1.0
"""Seconds between two looks at the whole mesh."""

MEASURE_EVERY = 0.1

FPS = 8.0
LENGTHS = (16, 16, 700)
"""Frames of a video: one span, or three."""

FEWEST = 2
"""Peers that are left when others go for good."""


class World:
    """`rng` decides everything; `seed` is only what it was made from, to be named in errors."""

    def __init__(self, scenario: Scenario, seed: int, rng: Rng) -> None:
        self.scenario, self.seed, self.rng = scenario, seed, rng
        self.agenda = Agenda()
        self.chronicle = Chronicle(seed, self.agenda)
        self.network = Network(self.agenda, rng, scenario.link)
        self.monitor = Monitor(self.chronicle)
        self.jobs: list[JobId] = []
        self.figures: Figures | None = None
        self._crashes = 0
        self._over_at = scenario.calm + scenario.storm
        self._converged: float | None = None
        around = Around(self.agenda, self.network, rng, scenario, self.chronicle, Unsealer(), self.monitor)
        self.peers = self.monitor.peers = [
            Peer(around, i, held, rng.choice((1, 4, 16))) for i, held in enumerate(self._footage())
        ]
        for peer in self.peers:
            self.network.add(peer)
            peer.failing = frozenset(e.content for e in peer.entries if rng.random() < scenario.failing)
            late = peer.index > 0 and rng.random() < scenario.late
            self._at(scenario.calm + rng.uniform(0, scenario.storm * 0.8) if late else rng.uniform(0, 0.5), peer)
        self._plan_jobs()
        self._plan_faults()
        self.agenda.after(LOOK_EVERY, "look", self._look)
        self.agenda.after(self._over_at, "storm over", self._storm_over)

    def run(self) -> Figures:
        """Until the mesh is at rest. Raises Violated."""
        while self.figures is None:
            self.step()
        return self.figures

    def step(self) -> None:
        """One event. Raises Violated."""
        try:
            self.agenda.next()
        except Crashed as e:
            self._died(e.peer)

    # ---- who and what ------------------------------------------------------------------------------------------------

    def _footage(self) -> list[tuple[Entry, ...]]:
        """What lies at each peer."""
        rng, peers = self.rng, range(self.rng.randint(*self.scenario.peers))
        held: list[list[Entry]] = [[] for _ in peers]
        for i in range(self.scenario.contents):
            content = ContentId(hash_of(b"content", str(i).encode()))
            frames = rng.choice(LENGTHS)
            entry = Entry(content, SOURCE, f"f{i:05}.mp4", "video", {}, 1, 8, 8, frames, FPS, frames / FPS)
            for index in rng.sample(peers, rng.randint(1, min(len(peers), self.scenario.copies))):
                held[index].append(entry)
        return [tuple(entries) for entries in held]

    def _at(self, delay: float, peer: Peer, *, lose_store: bool = False) -> None:
        def start() -> None:
            if peer.process.alive or peer.gone:
                return
            peer.fragile = self.scenario.faults.crash if self._is_storm() else 0.0
            peer.start(lose_store=lose_store)
            self.network.reconsider(peer.index)

        self.agenda.after(delay, f"start {peer.index}", start)

    def _is_storm(self) -> bool:
        return self.scenario.calm <= self.agenda.now < self._over_at

    def _plan_jobs(self) -> None:
        rng, scenario = self.rng, self.scenario
        for i in range(rng.randint(*scenario.jobs)):
            spec = pack_spec(JobSpec("yolox", f"job{i}", scope="every" if rng.random() < scenario.every else "once"))
            salt = f"{self.seed}-{i}".encode().ljust(8, b"-")
            order = JobOrder(job_id(spec, MODEL, salt), spec, MODEL, salt, 0.0)
            self.jobs.append(order.id)
            at = scenario.calm + rng.uniform(0, scenario.storm * 0.6)
            self.agenda.after(at, f"publish {i}", partial(self._publish, order))
            if rng.random() < scenario.cancels:
                cancel = at + rng.uniform(0, 6)
                self.agenda.after(cancel, f"cancel {i}", partial(self._cancel, order.id))
        self.monitor.jobs = len(self.jobs)

    def _publish(self, order: JobOrder) -> None:
        alive = [peer for peer in self.peers if peer.process.alive]
        if not alive:
            self.agenda.after(1.0, "publish later", partial(self._publish, order))
            return
        peer = self.rng.choice(alive)
        self.chronicle.note(peer.process.name, f"publishes job {order.id}")
        peer.books.state(order)

    def _cancel(self, job: JobId) -> None:
        if knows := [peer for peer in self.peers if peer.process.alive and job in peer.state.jobs]:
            peer = self.rng.choice(knows)
            self.chronicle.note(peer.process.name, f"cancels job {job}")
            peer.books.state(Cancel(job, "enough"))

    # ---- what befalls them -------------------------------------------------------------------------------------------

    def _plan_faults(self) -> None:
        faults, n = self.scenario.faults, len(self.peers)
        if faults.crash:
            self.agenda.after(self.scenario.calm, "storm", self._storm_begins)
        self._plan(faults.kills * n, "kill", self._kill)
        self._plan(faults.pauses * n, "pause", self._pause)
        self._plan(faults.full_disks * n, "disk", self._fill_disk)
        if n > 1:
            self._plan(faults.cuts * n, "cut", self._cut)
            self._plan(faults.partitions, "partition", self._part)

    def _plan(self, a_minute: float, label: str, do: Callable[[], None]) -> None:
        expected = a_minute * self.scenario.storm / 60
        for _ in range(int(expected) + (self.rng.random() < expected % 1)):
            self.agenda.after(self.scenario.calm + self.rng.uniform(0, self.scenario.storm), label, do)

    def _lasting(self, spans: Spans) -> float:
        """How long it lasts: not beyond the storm."""
        return max(0.0, min(self.rng.uniform(*spans), self._over_at - self.agenda.now))

    def _storm_begins(self) -> None:
        for peer in self.peers:
            peer.fragile = self.scenario.faults.crash

    def _kill(self) -> None:
        peer = self.rng.choice(self.peers)
        if peer.process.alive:
            self.chronicle.note(peer.process.name, "is killed")
            self._died(peer)

    def _died(self, peer: Peer) -> None:
        rng, faults = self.rng, self.scenario.faults
        self._crashes += 1
        peer.process.alive = False
        self.network.died(peer.index)
        left = sum(not other.gone for other in self.peers)
        if left > FEWEST and rng.random() < faults.gone:
            peer.gone = True
            self.chronicle.note(peer.process.name, "never comes back")
        else:
            self._at(self._lasting(faults.down), peer, lose_store=rng.random() < faults.lost_store)

    def _pause(self) -> None:
        peer = self.rng.choice(self.peers)
        seconds = self._lasting(self.scenario.faults.paused)
        self.chronicle.note(peer.process.name, f"stands still for {seconds:.1f} s")
        peer.process.stopped_until = self.agenda.now + seconds

    def _fill_disk(self) -> None:
        peer = self.rng.choice(self.peers)
        if peer.store is None or peer.store.full:
            return
        store: Store = peer.store
        store.full = True
        self.chronicle.note(peer.process.name, "its disk is full")

        def freed() -> None:
            store.full = False
            if peer.store is store:
                peer.disk_freed()

        self.agenda.after(self._lasting(self.scenario.faults.full), "disk free", freed)

    def _cut(self) -> None:
        a, b = self.rng.sample(range(len(self.peers)), 2)
        self._apart([(a, b)], f"nothing gets from p{a} to p{b}")

    def _part(self) -> None:
        n = len(self.peers)
        here = sorted(self.rng.sample(range(n), self.rng.randint(1, n - 1)))
        there = [i for i in range(n) if i not in here]
        names = ", ".join(f"p{i}" for i in here[:8])
        self._apart([pair for a in here for b in there for pair in ((a, b), (b, a))], f"{names} are cut off")

    def _apart(self, cuts: list[tuple[int, int]], what: str) -> None:
        seconds = self._lasting(self.scenario.faults.apart)
        self.chronicle.note("network", f"{what} for {seconds:.1f} s")
        for a, b in cuts:
            self.network.cut(a, b)
        self.agenda.after(seconds, "heal", partial(self._heal, cuts))

    def _heal(self, cuts: list[tuple[int, int]]) -> None:
        for a, b in cuts:
            self.network.heal(a, b)

    # ---- what must hold ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self.figures is None:
            self.monitor.now_and_then()
            self.agenda.after(LOOK_EVERY, "look", self._look)

    def _storm_over(self) -> None:
        self.chronicle.note("network", "the storm is over")
        for peer in self.peers:
            peer.fragile = 0.0
            if not peer.process.alive:
                self._at(0.0, peer)
        # What is known is looked at when those that were down have read their stores.
        self.agenda.after(0.0, "healed", lambda: self._measure(self.monitor.known()))

    def _measure(self, target: dict[Slot, Version]) -> None:
        """Until everybody alive knows what was known, then until nobody has anything to do."""
        since = self.agenda.now - self._over_at
        if self._converged is None:
            if all(self.monitor.knows(peer, target) for peer in self.peers if peer.process.alive):
                self._converged = since
            elif since > self.scenario.converge:
                raise self.monitor.apart(target, since)
        elif self.monitor.at_rest():
            self.monitor.now_and_then()
            self.monitor.final()
            self.figures = self._figures(since)
            return
        elif since > self.scenario.rest:
            raise self.monitor.restless()
        self.agenda.after(MEASURE_EVERY if self._converged is None else 0.5, "measure", lambda: self._measure(target))

    def _figures(self, rested: float) -> Figures:
        pieces = sum(sum(peer.analysed.values()) for peer in self.peers)
        tasks = {task for peer in self.peers for task in peer.analysed}
        first = [max(peer.analysed[task] for peer in self.peers) for task in tasks]
        return Figures(
            self.seed,
            len(self.peers),
            len(self.jobs),
            len(self.monitor.runs),
            sum(self.monitor.runs.values()),
            self._crashes,
            pieces,
            pieces - sum(min(PIECES, n) for n in first),
            round(self._converged or 0.0, 3),
            round(rested, 3),
            sum(self.network.messages.values()),
            sum(self.network.bytes.values()),
            max(len(peer.books.log) for peer in self.peers if peer.process.alive),
            self.agenda.steps,
            self.agenda.digest(),
        )
