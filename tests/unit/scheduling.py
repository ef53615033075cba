"""A scheduler to poke: peers, entries and jobs in a line each, effects that compare."""

from __future__ import annotations

import hashlib
from typing import Any

from meshinfer.model.catalog import Entry, SourceSummary
from meshinfer.model.facts import Claim, Holding, Manifest, Outcome, Outcomes, PeerFact, Running
from meshinfer.model.ids import ContentId, PeerId, TaskId, UnitId, task_id, unit_id
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec, read_order
from meshinfer.model.spans import WHOLE, Cut
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.job import JobState
from meshinfer.schedule.rank import ranked
from meshinfer.schedule.sketch import sketch
from meshinfer.schedule.state import ScheduleState

MODEL: Any = "5" * 64
ME, BOB, CAROL = PeerId("me"), PeerId("bob"), PeerId("carol")


def content(name: str) -> ContentId:
    return ContentId(hashlib.sha256(name.encode()).hexdigest()[:32])


def entry(name: str, *, source: str = "cam", frames: int = 10, **changes: Any) -> Entry:
    """A video whose content is its name's."""
    known: dict[str, Any] = {"kind": "video", "labels": {"site": "hamburg"}, "content": content(name)}
    known |= {"bytes": 1, "width": 8, "height": 8, "fps": 10.0, "duration": frames / 10}
    return Entry(source=source, name=name, frames=frames, **{**known, **changes})


def order(nonce: str = "n", *, packed: bytes | None = None, **spec: Any) -> JobOrder:
    packed = pack_spec(JobSpec(**{"model": "yolox", **spec})) if packed is None else packed
    salt = nonce.encode().ljust(8, b"-")
    return JobOrder(job_id(packed, MODEL, salt), packed, MODEL, salt, 0.0)


def unit(of: JobOrder, name: str, owner: PeerId | None = None, *, cut: Cut = WHOLE) -> UnitId:
    return unit_id(read_order(of, ME).work, content(name), *cut, owner=owner)


def task(of: JobOrder, name: str, owner: PeerId | None = None, *, cut: Cut = WHOLE, span: int = 0) -> TaskId:
    return task_id(unit(of, name, owner, cut=cut), span)


def raw(*tasks: TaskId) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, sorted(tasks)))


def manifest(of: JobOrder, *names: str, frames: int = 0, cut: Cut = WHOLE) -> Manifest:
    units = sorted(unit(of, name, cut=cut) for name in names)
    return Manifest(of.id, 0, 1, tuple(Holding(bytes.fromhex(u), cut.spans) for u in units), frames)


def claim(of: JobOrder, *names: str, epoch: int = 0, analysed: int = 0, **more: Any) -> Claim:
    return claim_tasks(of, *(task(of, name) for name in names), epoch=epoch, analysed=analysed, **more)


def claim_tasks(of: JobOrder, *tasks: TaskId, epoch: int = 0, analysed: int = 0, **more: Any) -> Claim:
    return Claim(of.id, tuple(Running(t, epoch) for t in raw(*tasks)), analysed, 0, 0.0, **more)


def outcome(
    of: JobOrder, name: str, *, done: bool = True, frames: int = 10, detections: int = 3, **more: Any
) -> Outcome:
    return Outcome(bytes.fromhex(task(of, name)), done, frames, detections, 1.0, **more)


def outcomes(of: JobOrder, *batch: Outcome) -> Outcomes:
    return Outcomes(of.id, batch)


def peer(cores: int = 1, **more: Any) -> PeerFact:
    return PeerFact("p", {}, (), "1", cores, 1, **more)


def holds(*names: str) -> SourceSummary:
    return SourceSummary("cam", ("video",), {}, len(names), 0, 0, 0.0, sketch=sketch(map(content, names)))


def first_of(of: JobOrder, name: str, *peers: PeerId, cut: Cut = WHOLE) -> PeerId:
    return ranked(unit(of, name, cut=cut), peers, {})[0]


def named(of: JobOrder, winner: PeerId, *peers: PeerId, tag: str = "f") -> str:
    """A file name whose task in this job falls to `winner` among `peers`."""
    return next(name for i in range(1000) if first_of(of, name := f"{tag}{i}", *peers) == winner)


class Peer:
    """A scheduler with its log played by hand: what it states comes back as heard, as the shell would do it."""

    def __init__(
        self, *entries: Entry, me: PeerId = ME, echo: bool = True, classes: tuple[str, ...] = ("person",), **more: Any
    ):
        self.state, self.echo, self.now = ScheduleState(me, **more), echo, 100.0
        self.stated: list[Any] = []
        self.handle(st.ModelsChanged({MODEL: classes}))
        self.handle(st.CatalogChanged(entries))

    def handle(self, stimulus: st.Stimulus, at: float | None = None) -> list[st.Effect]:
        """Effects in order; records of its own are believed at once."""
        self.now = self.now if at is None else at
        effects = self.state.handle(stimulus, self.now)
        self.check()
        for effect in list(effects):
            if isinstance(effect, st.State):
                self.stated.append(effect.fact)
                if self.echo:
                    effects += self.handle(st.Heard(self.state.me, effect.fact, self.now))
        return effects

    def hear(self, origin: PeerId, fact: Any, *, born: float | None = None) -> list[st.Effect]:
        return self.handle(st.Heard(origin, fact, self.now if born is None else born))

    def tick(self, at: float) -> list[st.Effect]:
        return self.handle(st.Tick(), at)

    def run_until(self, end: float) -> list[tuple[float, st.Effect]]:
        """Every deadline up to `end`, as the driver does it."""
        done: list[tuple[float, st.Effect]] = []
        while (deadline := self.state.next_deadline()) is not None and deadline <= end:
            done += [(deadline, effect) for effect in self.tick(deadline)]
            after = self.state.next_deadline()
            assert after is None or after > deadline, "a deadline that handling it does not move"
        self.now = end
        return done

    def check(self) -> None:
        """No task of an open job is forgotten: it is looked at now, waits for something, runs, or is over."""
        self.state.validate()
        for job in self.state.jobs.values():
            if job.is_open(self.now):
                for name, mine in job.mine.items():
                    over = job.fate(name, untried=self.state.me) is not None
                    assert mine.status != "pending" or over or name in job.waiting or name in job.ready

    def meet(self, other: PeerId, *names: str, cores: int = 1) -> None:
        """Another peer joined a while ago, and its catalog may hold copies of these."""
        now = self.now
        self.handle(st.Connected(other), now - 10)
        self.hear(other, peer(cores))
        if names:
            self.hear(other, holds(*names))
        self.now = now


def started(effects: list[st.Effect]) -> list[str]:
    """Names of the entries whose tasks start."""
    return [effect.entry.name for effect in effects if isinstance(effect, st.Start)]


JOB = order()
"""What most tests are about."""


def job_of(me: Peer, of: Any = JOB) -> JobState:
    return me.state.jobs[of.id]


def end(me: Peer, name: str, at: float | None = None, **how: Any) -> list[st.Effect]:
    return me.handle(st.TaskEnded(task(JOB, name), outcome(JOB, name, **how)), at)
