"""A run: peers, jobs and faults drawn from a seed, played on virtual time, watched until the mesh is at rest.

calm: peers find each other · storm: jobs, and whatever the scenario inflicts · then all heals and must converge
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from meshinfer.model.catalog import Entry
from meshinfer.model.facts import Cancel
from meshinfer.model.ids import ContentId, JobId, hash_of
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec
from meshinfer.model.selector import Selector
from meshinfer.schedule.log import Slot
from meshinfer.sim import overlay
from meshinfer.sim.agenda import Agenda
from meshinfer.sim.attacks import Attacker
from meshinfer.sim.books import Unsealer
from meshinfer.sim.chance import Rng
from meshinfer.sim.chronicle import Chronicle
from meshinfer.sim.duties import Version
from meshinfer.sim.ending import Ending
from meshinfer.sim.figures import Figures, figures_of
from meshinfer.sim.gossip import Gossip
from meshinfer.sim.invariants import PRIVATE, Monitor
from meshinfer.sim.network import Network
from meshinfer.sim.peer import MODEL, SOURCE, Around, Crashed, Peer
from meshinfer.sim.scenario import Scenario
from meshinfer.sim.storm import Storm

LOOK_EVERY = 1.0
"""Seconds between two looks at the whole mesh."""

MEASURE_EVERY = 0.1

FPS = 8.0
LENGTHS = (16, 16, 700)
"""Frames of a video: one span, or three."""

SLOWNESS = 4.0


class World:
    """`rng` decides everything; `seed` is only what it was made from, to be named in errors."""

    def __init__(self, scenario: Scenario, seed: int, rng: Rng) -> None:
        self.scenario, self.seed, self.rng = scenario, seed, rng
        self.agenda = Agenda()
        self.chronicle = Chronicle(seed, self.agenda)
        self.network = Network(self.agenda, rng, scenario.link)
        self.jobs: list[JobId] = []
        self.figures: Figures | None = None
        self.attackers: list[Attacker] = []
        footage = self._footage()
        self._links = overlay.random_links(rng, len(footage), scenario.links or len(footage))
        self.gossip = Gossip(self.network, self._links if scenario.links else None)
        self.monitor = Monitor(self.chronicle)
        self.ending = Ending(self.monitor, self.chronicle)
        self.around = Around(
            self.agenda, self.network, self.gossip, rng, scenario, self.chronicle, Unsealer(), self.monitor
        )
        self.peers = self.monitor.peers = [
            Peer(self.around, i, held, rng.choice((1, 4, 16))) for i, held in enumerate(footage)
        ]
        for peer in self.peers:
            self.network.add(peer)
            peer.failing = frozenset(e.content for e in peer.entries if rng.random() < scenario.failing)
            peer.slowness = SLOWNESS if rng.random() < scenario.slow else 1.0
            if scenario.lacking and peer.index and rng.random() < scenario.lacking:
                peer.models = {}
        contents = [{entry.content for entry in peer.entries} for peer in self.peers]
        for a, b in sorted({*self._links, *overlay.sharing(contents)}):
            self.network.link(a, b)
        for peer in self.peers:
            late = peer.index > 0 and rng.random() < scenario.late
            joins = rng.uniform(0, scenario.storm * 0.8)
            self._at(peer, scenario.calm + joins if late else rng.uniform(*scenario.start))
        self._plan_jobs()
        self.storm = Storm(self.around, self.peers, self._at, self._gone)
        self.storm.plan()
        self._plan_attacks()
        self._behind: list[Peer] = []
        """Those that do not know yet all that was known when the storm was over."""
        self._converged: float | None = None
        self.agenda.after(LOOK_EVERY, "look", self._look)
        self.sent_before = (0, 0), (0, 0)
        """Messages and bytes by gossip and on streams, before the first job could be published."""
        self.agenda.after(scenario.calm, "calm over", self._calm_over)
        self.agenda.after(self.storm.over_at, "storm over", self._storm_over)

    def run(self) -> Figures:
        """Until the mesh is at rest. Raises Violated."""
        while self.figures is None:
            self.step()
        return self.figures

    def run_for(self, events: int) -> None:
        """Until the mesh is at rest, or so many events have happened. Raises Violated."""
        while self.figures is None and self.agenda.steps < events:
            self.step()

    def step(self) -> None:
        """One event. Raises Violated."""
        try:
            self.agenda.next()
        except Crashed as e:
            self.storm.died(e.peer)

    # ---- who and what ------------------------------------------------------------------------------------------------

    def _peers(self) -> int:
        """Their number n, with a chance as 1 to n (n + 1): all work grows with its square, so each number of them takes
        about the same part of the time of many runs."""
        few, many = self.scenario.peers
        return min(many, int(1 / (1 / few - self.rng.random() * (1 / few - 1 / (many + 1)))))

    def _footage(self) -> list[tuple[Entry, ...]]:
        """What lies at each peer."""
        rng, scenario = self.rng, self.scenario
        peers = range(self._peers())
        held: list[list[Entry]] = [[] for _ in peers]
        for i in range(scenario.contents):
            content = ContentId(hash_of(b"content", str(i).encode()))
            frames = rng.choice(LENGTHS)
            name = f"g{i % scenario.groups}/{PRIVATE}{i:05}.mp4"
            entry = Entry(content, SOURCE, name, "video", {}, 1, 8, 8, frames, FPS, frames / FPS)
            most = min(len(peers), scenario.copies)
            for index in rng.sample(peers, rng.randint(min(most, scenario.fewest), most)):
                held[index].append(entry)
        return [tuple(entries) for entries in held]

    def _at(self, peer: Peer, delay: float, *, lose_store: bool = False) -> None:
        def start() -> None:
            if peer.process.alive or peer.gone:
                return
            peer.fragile = self.scenario.faults.crash if self.storm.rages else 0.0
            peer.start(lose_store=lose_store)
            self.network.reconsider(peer.index)

        self.agenda.after(delay, f"start {peer.index}", start)

    def _gone(self, peer: Peer) -> None:
        """Its neighbours look for others."""
        linked = [pair for pair in self._links if peer.index in pair]
        neighbours = [a + b - peer.index for a, b in linked]
        self._links = [pair for pair in self._links if pair not in linked]
        for a, b in overlay.without(neighbours):
            self._links.append((a, b))
            self.gossip.add(a, b)
            self.network.link(a, b)

    def _plan_jobs(self) -> None:
        rng, scenario = self.rng, self.scenario
        for i in range(rng.randint(*scenario.jobs)):
            on = Selector(name=f"g{i % scenario.groups}/*") if scenario.groups > 1 else Selector()
            scope: Literal["once", "every"] = "every" if rng.random() < scenario.every else "once"
            spec = pack_spec(JobSpec("yolox", f"job{i}", on=on, scope=scope))
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
        alive = [peer for peer in self.peers if peer.process.alive and peer.honest]
        if not alive:
            self.agenda.after(1.0, "publish later", partial(self._publish, order))
            return
        peer = self.rng.choice(alive)
        self.chronicle.note(peer.process.name, f"publishes job {order.id}")
        self.monitor.published(order.id)
        peer.books.state(order)

    def _cancel(self, job: JobId) -> None:
        if knows := [peer for peer in self.peers if peer.process.alive and peer.honest and job in peer.state.jobs]:
            peer = self.rng.choice(knows)
            self.chronicle.note(peer.process.name, f"cancels job {job}")
            peer.books.state(Cancel(job, "enough"))

    # ---- those that break the rules ----------------------------------------------------------------------------------

    def _plan_attacks(self) -> None:
        rng, plan = self.rng, self.scenario.byzantine
        number = min(len(self.peers) - 1, round(plan.share * len(self.peers)))
        if plan.share == 0 or number < 1 or not plan.attacks:
            return
        chosen = rng.sample(self.peers, number)
        for peer in chosen:
            peer.honest = False
        others = [peer for peer in self.peers if peer.honest]
        for peer in chosen:
            attacker = Attacker(peer, others, plan.attacks)
            self.attackers.append(attacker)
            self.agenda.after(self.scenario.calm, "attack", partial(self._attack, attacker))
            if "clone" in plan.attacks:
                self.agenda.after(self.scenario.calm + rng.uniform(0, 3), "clone", partial(self._clone, peer))

    def _attack(self, attacker: Attacker) -> None:
        attacker.act()
        if self.storm.rages:
            again = self.rng.uniform(*self.scenario.byzantine.pause)
            self.agenda.after(again, "attack", partial(self._attack, attacker))

    def _clone(self, peer: Peer) -> None:
        """A second process with its key and a copy of its store."""
        if peer.store is None:
            return
        twin = Peer(self.around, len(self.network.ends), peer.entries, peer.fact.cores, peer.keys)
        twin.store, twin.honest, twin.lies = peer.store.copy(), False, peer.lies
        self.chronicle.note(twin.process.name, f"is a copy of {peer.process.name}, with its key and its store")
        self.peers.append(twin)
        self.network.add(twin)
        for other in sorted(self.network.linked[peer.index]):
            self.network.link(twin.index, other)
            if self.scenario.links:
                self.gossip.add(twin.index, other)
        self._at(twin, 0.0)

    # ---- what must hold ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self.figures is None:
            self.monitor.now_and_then()
            self.agenda.after(LOOK_EVERY, "look", self._look)

    def _calm_over(self) -> None:
        self.sent_before = self.gossip.traffic.total, self.network.streams.total

    def _storm_over(self) -> None:
        self.storm.ends()
        # What is known is looked at when those that were down have read their stores.
        self.agenda.after(0.0, "healed", self._healed)

    def _healed(self) -> None:
        self._behind = self.monitor.alive()
        self._measure(self.ending.known())

    def _measure(self, target: dict[Slot, Version]) -> None:
        """Until everybody alive knows what was known, then until nobody has anything to do."""
        since = self.agenda.now - self.storm.over_at
        if self._converged is None:
            self._behind = [peer for peer in self._behind if not self.ending.knows(peer, target)]
            if not self._behind:
                self._converged = since
            elif since > self.scenario.converge:
                raise self.ending.apart(target, since)
        elif self.ending.at_rest():
            self.monitor.now_and_then()
            self.ending.final()
            self.figures = figures_of(self, self._converged, since)
            return
        elif since > self.scenario.rest:
            raise self.ending.restless()
        self.agenda.after(MEASURE_EVERY if self._converged is None else 0.5, "measure", lambda: self._measure(target))
