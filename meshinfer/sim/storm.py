"""What befalls peers and links while jobs run, planned from the seed. All of it has an end: then the mesh must heal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from meshinfer.model.ids import JobId
from meshinfer.sim.books import LOOKED
from meshinfer.sim.peer import CLASSES, EPOCH, MODEL, Around, Peer
from meshinfer.sim.scenario import Spans
from meshinfer.sim.store import Store

FEWEST = 2
"""Peers that are left when others go for good."""

SNAPSHOT_EVERY = 4.0


class Storm:
    """`revive(peer, delay, lose_store=...)` starts a peer again; `gone(peer)` tells that it never will."""

    def __init__(
        self, around: Around, peers: Sequence[Peer], revive: Callable[..., None], gone: Callable[[Peer], None]
    ) -> None:
        self._around, self._peers, self._revive, self._gone = around, tuple(peers), revive, gone
        self._scenario, self._agenda, self._network = around.scenario, around.agenda, around.network
        self._chronicle, self._rng = around.chronicle, around.rng
        self.over_at = self._scenario.calm + self._scenario.storm
        self.crashes = 0
        self.planned = 0
        self._copies: dict[int, Store] = {}
        """Of stores, as they were a while ago."""

    def plan(self) -> None:
        faults, n = self._scenario.faults, len(self._peers)
        if faults.crash:
            self._agenda.after(self._scenario.calm, "storm", self._begins)
        self._plan(faults.kills * n, "kill", self._kill)
        self._plan(faults.pauses * n, "pause", self._pause)
        self._plan(faults.full_disks * n, "disk", self._fill_disk)
        self._plan(faults.jumps * n, "clock", self._jump)
        self._plan(faults.moves * n, "file", self._move)
        self._plan(faults.models * n, "model", self._take_model)
        self._plan(faults.looks * n, "look", self._look)
        if n > 1:
            self._plan(faults.cuts * n, "cut", self._cut)
            self._plan(faults.partitions, "partition", self._part)
        if faults.rolled_back:
            self._agenda.after(self._scenario.calm, "copy stores", self._copy_stores)

    def _plan(self, a_minute: float, label: str, do: Callable[[], None]) -> None:
        expected = a_minute * self._scenario.storm / 60
        for _ in range(int(expected) + (self._rng.random() < expected % 1)):
            at = self._scenario.calm + self._rng.uniform(0, self._scenario.storm)
            if self.planned not in self._scenario.without:
                self._agenda.after(at, label, do)
            self.planned += 1

    @property
    def rages(self) -> bool:
        return self._scenario.calm <= self._agenda.now < self.over_at

    def _lasting(self, spans: Spans) -> float:
        """How long it lasts: not beyond the storm."""
        return max(0.0, min(self._rng.uniform(*spans), self.over_at - self._agenda.now))

    # ---- processes ---------------------------------------------------------------------------------------------------

    def _begins(self) -> None:
        for peer in self._peers:
            peer.fragile = self._scenario.faults.crash

    def ends(self) -> None:
        self._chronicle.note("network", "the storm is over")
        for peer in self._peers:
            peer.fragile = 0.0
            if not peer.process.alive:
                self._revive(peer, 0.0)

    def _kill(self) -> None:
        peer = self._rng.choice(self._peers)
        if self._rng.random() < self._scenario.faults.busy:
            at_work = [p for p in self._peers if p.process.alive and p.runner.working]
            peer = self._rng.choice(at_work) if at_work else peer
        if peer.process.alive:
            self._chronicle.note(peer.process.name, "is killed")
            self.died(peer)

    def died(self, peer: Peer) -> None:
        """Its process is no more; whether and how it comes back is drawn here."""
        rng, faults, name = self._rng, self._scenario.faults, peer.process.name
        self.crashes += 1
        self._around.watch.died(peer)
        peer.process.alive = False
        self._network.died(peer.index)
        others = [other for other in self._peers if not other.gone and other is not peer]
        has_model = any(other.models for other in others)  # or what lies with the others could never be done
        if len(others) >= FEWEST and rng.random() < faults.gone and has_model:
            peer.gone = True
            self._chronicle.note(name, "never comes back")
            self._gone(peer)
            return
        lose = rng.random() < faults.lost_store
        if faults.rolled_back and not lose and peer.index in self._copies and rng.random() < faults.rolled_back:
            peer.store = self._copies[peer.index].copy()
            peer.set_back = peer.store.incarnation
            self._chronicle.note(name, "its store is set back to an earlier copy")
        self._revive(peer, self._lasting(faults.down), lose_store=lose)

    def _copy_stores(self) -> None:
        for peer in self._peers:
            if peer.store is not None:
                self._copies[peer.index] = peer.store.copy()
        if self.rages:
            self._agenda.after(SNAPSHOT_EVERY, "copy stores", self._copy_stores)

    def _pause(self) -> None:
        peer = self._rng.choice(self._peers)
        seconds = self._lasting(self._scenario.faults.paused)
        self._chronicle.note(peer.process.name, f"stands still for {seconds:.1f} s")
        peer.process.stopped_until = self._agenda.now + seconds

    # ---- machines ----------------------------------------------------------------------------------------------------

    def _fill_disk(self) -> None:
        peer = self._rng.choice(self._peers)
        if peer.store is None or peer.store.full:
            return
        store: Store = peer.store
        store.full = True
        self._chronicle.note(peer.process.name, "its disk is full")

        def freed() -> None:
            store.full = False
            if peer.store is store:
                peer.disk_freed()

        self._agenda.after(self._lasting(self._scenario.faults.full), "disk free", freed)

    def _jump(self) -> None:
        peer, skew = self._rng.choice(self._peers), self._scenario.faults.skew
        seconds = self._rng.uniform(-skew, skew)
        self._chronicle.note(peer.process.name, f"its wall clock is set to {seconds:+.0f} s")
        peer.set_wall(EPOCH + seconds)

    def _move(self) -> None:
        """A file goes, or comes to lie elsewhere too."""
        rng = self._rng
        peer, other = rng.choice(self._peers), rng.choice(self._peers)
        known = {entry.content for entry in peer.entries} | peer.had
        if peer.entries and rng.random() < 0.5:
            entry = rng.choice(peer.entries)
            self._chronicle.note(peer.process.name, f"{entry.name} is deleted")
            peer.set_entries(tuple(e for e in peer.entries if e != entry))
        elif new := [entry for entry in other.entries if entry.content not in known]:
            entry = rng.choice(new)
            self._chronicle.note(peer.process.name, f"{entry.name} is copied to it")
            for holder in self._peers:
                if holder is not peer and any(e.content == entry.content for e in holder.entries):
                    self._network.link(peer.index, holder.index)
            peer.set_entries((*peer.entries, entry))

    def _take_model(self) -> None:
        peer = self._rng.choice(self._peers)
        self._chronicle.note(peer.process.name, "its model is taken away")
        peer.set_models({})
        back = self._lasting(self._scenario.faults.down)
        self._agenda.after(back, "model back", partial(peer.set_models, {MODEL: CLASSES}))

    def _look(self) -> None:
        peer = self._rng.choice(self._peers)
        if peer.process.alive and peer.state.jobs:
            job = self._rng.choice(sorted(peer.state.jobs))
            self._look_at(peer, job)
            again = LOOKED + self._rng.uniform(0.002, 0.5)
            self._agenda.after(again, "look again", partial(self._look_at, peer, job), peer.process)

    def _look_at(self, peer: Peer, job: JobId) -> None:
        self._chronicle.note(peer.process.name, f"somebody asks about job {job}")
        peer.look(job)

    # ---- links -------------------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        a = self._rng.randint(0, len(self._peers) - 1)
        if not (linked := sorted(self._network.linked[a])):
            return
        b = self._rng.choice(linked)
        seconds = self._lasting(self._scenario.faults.apart)
        self._chronicle.note("network", f"nothing gets from p{a} to p{b} for {seconds:.1f} s")
        self._network.cut(a, b)
        self._agenda.after(seconds, "heal", partial(self._network.heal, a, b))

    def _part(self) -> None:
        n = len(self._peers)
        side = sorted(self._rng.sample(range(n), self._rng.randint(1, n - 1)))
        seconds = self._lasting(self._scenario.faults.apart)
        names = ", ".join(f"p{i}" for i in side[:8])
        self._chronicle.note("network", f"{names} are cut off for {seconds:.1f} s")
        here = frozenset(side)
        self._network.part(here)
        self._agenda.after(seconds, "heal", partial(self._network.join, here))
