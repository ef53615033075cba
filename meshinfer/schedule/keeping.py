"""Who keeps what, and for how long: what stands between the wire and the log (docs/PROTOCOL.md).

All peers keep all but the logs of jobs; those are kept by who takes part: who has stated something in it, published
it, or has been asked about it lately. What others hear of a job is overheard (`overheard.py`), and not believed.

Whatever grows ends: a job `KEEP` seconds after it expired, with its log and cancels; a peer after a month of silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from meshinfer.model.facts import Cancel, Fact, PeerFact
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.job import MAX_EXPIRES, JobOrder, read_order
from meshinfer.model.logs import Extent, LogId
from meshinfer.model.record import Record
from meshinfer.schedule.interest import ASKED, Interest
from meshinfer.schedule.log import Fate, Held, RecordLog, Slot, StoreId, job_of
from meshinfer.schedule.overheard import Overheard
from meshinfer.schedule.stimuli import Heard, JobForgotten, PeerForgotten, Stimulus, StoreLost

KEEP = 3600.0
"""Seconds that an expired job is still told of."""

SILENT = 30 * 86400.0
SILENT_GUEST = 86400.0
"""Seconds after which a peer that says nothing and is not connected is forgotten; guests come and go for good."""

MAX_ORIGINS = 10_000
MAX_BROUGHT = MAX_ORIGINS // 2
"""Peers that are known of, and those of them that one neighbour was the first to name: anybody can make up keys."""

MAX_IN_LOG = 20_000
"""Live records of one peer in one log: two million tasks in one job are 11,000."""

MAX_SEQ = 10**12
FUTURE = 86_400_000
"""Milliseconds that an incarnation may be ahead of this clock: clocks differ, by hours at most."""

CLOCK_SET = 1_735_689_600_000
"""An earlier clock (before 2025) was never set: by it everything lies ahead, so nothing is judged by it."""

YOUNGER = 60.0
"""Seconds by which a job must be younger than was thought to be believed so: paths differ by less."""

MAX_ENDED = 10_000
"""Jobs remembered as over, so that their cancels do not come back."""


class Refusal(Enum):
    """Why a genuine record was not taken in."""

    EXPIRED = "a job that was over long ago"
    NOT_KEPT = "of a job that does not concern this peer"
    TOO_MANY_PEERS = "more peers than there can be"
    TOO_MANY_RECORDS = "more records of one peer in one log than there can be"
    FUTURE = "a store made more than a day ahead of this clock: check both clocks"
    TOO_HIGH = "a number that no peer reaches"
    NEWER_SELF = "our own name under a newer store"
    OTHER_SELF = "our own name under a number that we never gave"


class Taken(NamedTuple):
    """What became of a record, what the schedule is to be told, and the slots that the store lets go of."""

    fate: Fate | Refusal
    stimuli: tuple[Stimulus, ...] = ()
    gone: tuple[Slot, ...] = ()


AS_KNOWN = Taken(Fate.KNOWN)


class Keeping:
    """Decides what goes into `log` and what leaves it. `takes_part`: whether the schedule has a part in a job."""

    def __init__(self, log: RecordLog, takes_part: Callable[[JobId], bool], asked: float = ASKED) -> None:
        self.log = log
        self.interest = Interest(log, takes_part, asked)
        self.overheard = Overheard()
        self._first: dict[JobId, float] = {}
        """When each job was first heard of here."""
        self._ends: dict[JobId, float] = {}
        """How long each job lives."""
        self._ended: dict[JobId, None] = {}
        self._heard: dict[PeerId, float] = {}
        self._brought: Counter[PeerId] = Counter()
        self._brought_by: dict[PeerId, PeerId] = {}
        self.given: dict[JobId | None, int] = {}
        """The last number that we have given in each log, whether or not its record is held: a power cut may take the
        record, never the number."""

    @property
    def known(self) -> Iterable[PeerId]:
        """All peers that were heard of, this one too."""
        return self._heard.keys()

    # ---- what comes in -----------------------------------------------------------------------------------------------

    def lacking(self, seen: Mapping[LogId, Extent], jobs: Iterable[JobId], peer: PeerId) -> list[Held]:
        """What a peer that has seen so much, and keeps these jobs, lacks; and the last of its own records, by which it
        would know that another speaks in its name."""
        lacking = list(self.log.missing(seen, [None, *(job for job in jobs if job in self.interest.kept)]))
        if (last := self.log.last_of(peer)) is not None and last not in lacking:
            lacking.append(last)
        return lacking

    def ends(self, peer: PeerId, seen: Mapping[LogId, Extent], asked: Collection[JobId], lives: int) -> None:
        """A sync has brought all that `peer` has of its own logs: what all keep, and of the jobs it was asked for.

        Unless a log was let go of since it began, at `log.lives`: where that has begun anew, what the sync brought
        before, and what it was told need not be brought, is lacking. The next sync closes the gaps then.
        """
        if lives != self.log.lives:
            return
        self.log.ends(
            peer, {log: e for log, e in seen.items() if log.origin == peer and (log.job is None or log.job in asked)}
        )

    def hear(self, record: Record, born: float, now: float, *, wall: float, by: PeerId | None = None) -> Taken:
        """A genuine record, brought by a neighbour. `wall`: unix seconds."""
        if record.seq > MAX_SEQ:
            return Taken(Refusal.TOO_HIGH)
        if record.incarnation > wall * 1000 + FUTURE > CLOCK_SET + FUTURE:
            return Taken(Refusal.FUTURE)
        job = job_of(record.kind, record.key)
        if record.origin == self.log.own.origin and (self_said := self._not_ours(record, job)) is not None:
            return Taken(self_said)
        if job is not None and not self.interest.keeps(job, now):
            self.overheard.keep(job, record, born, now)
            return Taken(Refusal.NOT_KEPT)
        fact = record.fact
        if isinstance(fact, JobOrder):
            if now > born + self._lifetime(fact, record.origin) + KEEP:
                return Taken(Refusal.EXPIRED)
        elif isinstance(fact, Cancel):
            if fact.job in self._ended:
                return Taken(Refusal.EXPIRED)
        elif (held := self.log.get(record.origin, record.kind, record.key)) and held.record.sealed == record.sealed:
            return AS_KNOWN  # most of what comes
        if (room := self._room_for(record, by)) is not None:
            return Taken(room)
        return self.offer(record, born, now)

    def offer(self, record: Record, born: float, now: float, *, stored: bool = False) -> Taken:
        """One that is known to be good: our own, or from our own store."""
        job, fact = job_of(record.kind, record.key), record.fact
        if (record.origin, record.incarnation) == self.log.own:
            self.given[job] = max(record.seq, self.given.get(job, 0))
        said = self.log.get(record.origin, "job", record.key) if isinstance(fact, JobOrder) else None
        if said is not None and said.record.sealed != record.sealed:
            born = said.born  # stated once more: it is no younger for that
        fate, gone = self.log.offer(record, born, stored=stored)
        if job is not None and stored and record.origin == self.log.own.origin:
            self.interest.own(job)
        stimuli, dropped = self._without(record.origin, gone) if gone else ((), [])
        if fate is Fate.KNOWN and isinstance(fact, JobOrder):
            stimuli += self._younger(record, fact, born)
        if fate is not Fate.NEW:
            return Taken(fate, stimuli, (*gone, *dropped))
        if job is not None:
            self.interest.stir(job, now)
        self._heard[record.origin] = max(born, self._heard.get(record.origin, born))
        if isinstance(fact, JobOrder):
            self._first.setdefault(fact.id, now)
            if record.origin == self.log.own.origin:
                self.interest.own(fact.id)
                self.interest.stir(fact.id, now)
        if fact is not None:
            stimuli = (*stimuli, Heard(record.origin, fact, born))
        return Taken(fate, stimuli, (*gone, *dropped))

    def renew(self, own: StoreId) -> list[Fact]:
        """Our store goes on as a newer one; what it is to say anew. Jobs too: what was said since the store was copied
        bears numbers that others know as something else."""
        before, self.log.own = self.log.own, own
        mine = (held.record for job in (None, *self.log.jobs) for held in self.log.of_job(job))
        return [r.fact for r in mine if (r.origin, r.incarnation) == before and r.fact is not None]

    def _not_ours(self, record: Record, job: JobId | None) -> Refusal | None:
        """Whether it is signed with our key and was not said by us, with the store that we have."""
        own = self.log.own
        if record.incarnation > own.incarnation:
            return Refusal.NEWER_SELF
        known = record.incarnation == own.incarnation and (job is None or job in self.interest.kept)
        return Refusal.OTHER_SELF if known and record.seq > self.given.get(job, 0) else None

    def _room_for(self, record: Record, by: PeerId | None) -> Refusal | None:
        if self.log.newest(record.origin) == 0:
            if len(self._heard) >= MAX_ORIGINS or (by is not None and self._brought[by] >= MAX_BROUGHT):
                return Refusal.TOO_MANY_PEERS
            if by is not None and by != record.origin:
                self._brought[by] += 1
                self._brought_by[record.origin] = by
        if self.log.size(record) >= MAX_IN_LOG:
            return Refusal.TOO_MANY_RECORDS
        return None

    def _younger(self, record: Record, order: JobOrder, born: float) -> tuple[Stimulus, ...]:
        """A job's age is each neighbour's word. Too high a one would end the job here: a lower one corrects it, though
        never to less than since when it has been known here."""
        slot = Slot(record.origin, record.kind, record.key)
        held = self.log.get(*slot)
        born = min(born, self._first.get(order.id, born))
        if held is None or born < held.born + YOUNGER:
            return ()
        self.log.rejuvenate(slot, born)
        return (Heard(record.origin, order, born),)

    # ---- what is let go ----------------------------------------------------------------------------------------------

    def _lifetime(self, order: JobOrder, publisher: PeerId) -> float:
        if order.id not in self._ends:
            spec = read_order(order, publisher).spec
            self._ends[order.id] = spec.expires if spec else MAX_EXPIRES
        return self._ends[order.id]

    def _without(self, origin: PeerId, gone: tuple[Slot, ...]) -> tuple[tuple[Stimulus, ...], list[Slot]]:
        """What follows when these slots went away: slots that go with them, and what the schedule is told."""
        lost = {slot.job for slot in gone if slot.job is not None and origin != self.log.own.origin}
        stimuli: list[Stimulus] = [StoreLost(origin, frozenset(lost))] if lost else []
        dropped: list[Slot] = []
        for slot in gone:
            if slot.kind == "job":
                told, slots = self._forget_job(JobId(slot.key))
                stimuli += told
                dropped += slots
        return tuple(stimuli), dropped

    def _forget_job(self, job: JobId) -> tuple[list[Stimulus], list[Slot]]:
        """A record of it is gone: unless another peer published it too, so is all that is known of it."""
        if self.log.has_job(job):
            return [], []
        self.given.pop(job, None)
        self._first.pop(job, None)
        self._ends.pop(job, None)
        self.interest.forget(job)
        self.overheard.take(job)
        return [JobForgotten(job)], self.log.drop_job(job)

    def expire(self, now: float, connected: frozenset[PeerId]) -> Taken:
        """Let go of what is over. Now and then."""
        self._heard.update(dict.fromkeys(connected & self._heard.keys(), now))
        stimuli: list[Stimulus] = []
        gone: list[Slot] = []
        for held in self.log.of_kind("job"):
            order = held.record.fact
            lives = self._lifetime(order, held.record.origin) if isinstance(order, JobOrder) else MAX_EXPIRES
            if now > held.born + lives + KEEP:
                self._let_go(Slot(held.record.origin, "job", held.record.key), stimuli, gone)
                self._ended[JobId(held.record.key)] = None
        while len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        for held in self.log.of_kind("cancel"):
            # One whose job is not here may be needed yet, as long as any job of its age may live.
            if held.record.key in self._ended or now > held.born + MAX_EXPIRES + KEEP:
                self._let_go(Slot(held.record.origin, "cancel", held.record.key), stimuli, gone)
        for peer in [p for p, at in self._heard.items() if now > at + self._silence(p) and p not in connected]:
            self._forget(peer, stimuli, gone)
        self.interest.expire(now)
        self._drop_unkept(stimuli, gone)
        self.overheard.expire(now)
        self.log.tidy()
        return Taken(Fate.KNOWN, tuple(stimuli), tuple(gone))

    def forget(self, peer: PeerId) -> Taken:
        """A retired peer: all that it said goes, and comes back only with something newer."""
        stimuli: list[Stimulus] = []
        gone: list[Slot] = []
        self._forget(peer, stimuli, gone)
        return Taken(Fate.KNOWN, tuple(stimuli), tuple(gone))

    def restored(self, now: float) -> Taken:
        """All that was stored has been offered. Nobody is forgotten for what was silent while this peer was off."""
        self.log.restored()
        for peer, at in self._heard.items():
            self._heard[peer] = max(at, now - SILENT_GUEST / 2)
        stimuli: list[Stimulus] = []
        gone: list[Slot] = []
        self._drop_unkept(stimuli, gone)
        return Taken(Fate.KNOWN, tuple(stimuli), tuple(gone))

    def _drop_unkept(self, stimuli: list[Stimulus], gone: list[Slot]) -> None:
        for job in [job for job in self.log.jobs if job not in self.interest.kept]:
            stimuli += [StoreLost(peer, frozenset({job})) for peer in sorted(self.log.speakers(job))]
            gone += self.log.drop_job(job)

    def is_guest(self, peer: PeerId) -> bool:
        held = self.log.get(peer, "peer", "")
        return held is not None and isinstance(held.record.fact, PeerFact) and held.record.fact.guest

    def _silence(self, peer: PeerId) -> float:
        return SILENT_GUEST if self.is_guest(peer) else SILENT

    def _let_go(self, slot: Slot, stimuli: list[Stimulus], gone: list[Slot]) -> None:
        self.log.drop(slot)
        told, dropped = self._without(slot.origin, (slot,))
        stimuli += told
        gone += [slot, *dropped]

    def _forget(self, peer: PeerId, stimuli: list[Stimulus], gone: list[Slot]) -> None:
        if peer == self.log.own.origin:
            return
        slots = tuple(self.log.forget(peer))
        told, dropped = self._without(peer, slots)
        stimuli += [PeerForgotten(peer), *told]
        gone += [*slots, *dropped]
        self._heard.pop(peer, None)
        if (by := self._brought_by.pop(peer, None)) is not None:
            self._brought[by] -= 1
