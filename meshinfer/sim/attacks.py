"""What a Byzantine peer sends. It has its own key and its own links, and does its part of the work besides.

It may waste its own share. It must not lose or change anything of others, and what breaks the rules is counted where
it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshinfer.model.catalog import SourceSummary
from meshinfer.model.facts import MAX_EPOCH, Claim, Fact, Outcome, Outcomes, PeerFact, Running
from meshinfer.model.ids import JobId, TaskId
from meshinfer.schedule.log import job_of
from meshinfer.sim.books import MESH
from meshinfer.sim.scenario import Attack
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import Aged, Announcement, Complete, Have, OfJob, Page, Upto
from meshinfer.wire.records import MAX_RECORD, address_of, seal

if TYPE_CHECKING:
    from meshinfer.sim.peer import Peer

FLOOD = 1200
"""Messages at once: more than anyone takes from one origin."""

HOARD = 100
"""New records at once, each in a slot of its own."""

FAR_AHEAD = 1000
"""Numbers beyond those that were given."""

FAR = 2**41
"""Milliseconds: about 70 years."""


class Attacker:
    """`others` are the peers whose names and tasks it uses."""

    def __init__(self, peer: Peer, others: list[Peer], attacks: tuple[Attack, ...]) -> None:
        self.peer, self.others = peer, others
        self.rng = peer.around.rng
        self._todo = [attack for attack in attacks if attack != "clone"]
        self.done: list[Attack] = []

    def act(self) -> None:
        """One attack, where its process lives."""
        if not self.peer.process.alive or not self._todo:
            return
        attack = self.rng.choice(self._todo)
        self.done.append(attack)
        self.peer.around.chronicle.note(self.peer.process.name, f"attacks: {attack}")
        if attack == "flood":
            self._todo.remove(attack)  # one is enough, and costs as much as all else together
        ATTACKS[attack](self)

    # ---- means -------------------------------------------------------------------------------------------------------

    def sealed(
        self, fact: Fact, *, mesh: str = MESH, ahead: int = 0, seq: int | None = None, origin: str = ""
    ) -> bytes:
        """A record under its own signature."""
        store = self.peer.store
        assert store is not None
        keys = self.peer.keys
        if seq is None:
            log = job_of(*address_of(fact))
            seq = store.take_seqs({log: 1})[log]
        who = next((p.id for p in self.others if p.id == origin), keys.peer)
        incarnation = store.incarnation + ahead
        made_up = seal(fact, mesh=mesh, origin=who, incarnation=incarnation, seq=seq, sign=keys.sign).sealed
        self.peer.lies.add(made_up)
        return made_up

    def tell(self, *sealed: bytes) -> None:
        """By gossip, and to a neighbour in a sync of its own."""
        self.peer.publish(encode(Announcement(sealed)))
        self.sync(encode(Page(tuple(Aged(each, 0.0) for each in sealed))))

    def sync(self, *frames: bytes) -> None:
        if not self.peer.neighbours:
            return
        other = self.rng.choice(sorted(self.peer.neighbours))
        stream = 2 * self.rng.randint(10**6, 10**9) + (self.peer.index > other)
        for frame in (encode(Have(())), *frames):
            self.peer.send(other, stream, frame)

    def victim(self) -> Peer:
        return self.rng.choice(self.others)

    def strangers_task(self) -> tuple[JobId, TaskId] | None:
        """A task whose data lies elsewhere."""
        for other in self.rng.sample(self.others, len(self.others)):
            for job_id in sorted(other.state.jobs) if other.process.alive else ():
                job = self.peer.state.jobs.get(job_id)
                own = set() if job is None else job.mine.keys()
                if tasks := sorted(other.state.jobs[job_id].mine.keys() - own):
                    return job_id, self.rng.choice(tasks)
        return None

    def fact(self) -> PeerFact:
        return PeerFact(f"x{self.rng.randint(0, 999)}", {}, (), "1", 1, 1)


def forged(a: Attacker) -> None:
    """Another's name over its own signature."""
    a.tell(a.sealed(a.fact(), origin=a.victim().id, seq=a.rng.randint(1, 100)))


def strange(a: Attacker) -> None:
    a.tell(a.sealed(a.fact(), mesh="another"))


def unsigned(a: Attacker) -> None:
    """Another's record, with a byte of its signature changed."""
    store = a.victim().store
    if store is not None and store.records:
        sealed = bytearray(a.rng.choice(list(store.records.values())).record.sealed)
        sealed[-1] ^= 1
        a.tell(bytes(sealed))


def oversized(a: Attacker) -> None:
    a.tell(b"\0" * (MAX_RECORD + 1))


def garbage(a: Attacker) -> None:
    junk = bytes(a.rng.randint(0, 255) for _ in range(a.rng.randint(0, 200)))
    a.peer.publish(junk)
    a.sync(junk)


def future(a: Attacker) -> None:
    """A store from the day after tomorrow."""
    a.tell(a.sealed(a.fact(), ahead=FAR, seq=1))


def jump(a: Attacker) -> None:
    a.tell(a.sealed(a.fact(), seq=2**60 + a.rng.randint(0, 1000)))


def fork(a: Attacker) -> None:
    """Two records under one number, to two halves of the mesh."""
    assert a.peer.store is not None
    seq = a.peer.store.take_seqs({None: 1})[None]
    for _ in range(2):
        a.tell(a.sealed(a.fact(), seq=seq))


def claim(a: Attacker) -> None:
    """On what it does not hold, under an epoch that beats every other."""
    if found := a.strangers_task():
        job, task = found
        a.tell(a.sealed(Claim(job, (Running(bytes.fromhex(task), MAX_EPOCH),), 1, 1, 1.0)))


def outcome(a: Attacker) -> None:
    if found := a.strangers_task():
        job, task = found
        a.tell(a.sealed(Outcomes(job, (Outcome(bytes.fromhex(task), True, 1, 99, 1.0, "0" * 32),))))


def unknown(a: Attacker) -> None:
    """How tasks ended that nobody has, of a job that there is and of one that there is not."""
    jobs = sorted(a.peer.state.jobs)
    for job in (JobId(f"{a.rng.randint(0, 2**60):016x}"), *([a.rng.choice(jobs)] if jobs else [])):
        task = a.rng.randint(0, 2**60).to_bytes(16, "big")
        a.tell(a.sealed(Outcomes(job, (Outcome(task, True, 1, 99, 1.0, "0" * 32),))))


def vector(a: Attacker) -> None:
    """That it has seen all of everybody's logs, and more than there is; and that all jobs are to be kept for it."""

    def lie(job: JobId | None) -> tuple[Upto, ...]:
        stores = [(p.id, p.store) for p in (*a.others, a.peer) if p.store]
        tops = [(peer, store, store.seqs[job] + FAR_AHEAD) for peer, store in stores]
        return tuple(Upto(peer, store.incarnation, n, (n + 2, n + FAR_AHEAD)) for peer, store, n in tops)

    jobs = tuple(OfJob(job, lie(job), relay=True) for job in sorted(a.peer.state.jobs))
    a.sync(encode(Complete(lie(None), jobs)))


def flood(a: Attacker) -> None:
    same = encode(Announcement((a.sealed(a.fact()),)))
    for _ in range(FLOOD):
        a.peer.publish(same)


def hoard(a: Attacker) -> None:
    """Small true records without end, none of which replaces another."""
    names = [f"s{a.rng.randint(0, 2**30)}" for _ in range(HOARD)]
    a.tell(*(a.sealed(SourceSummary(name, ("video",), {}, 0, 0, 0, 0.0)) for name in names))


ATTACKS: dict[Attack, Callable[[Attacker], None]] = {
    "forged": forged,
    "strange": strange,
    "unsigned": unsigned,
    "oversized": oversized,
    "garbage": garbage,
    "future": future,
    "jump": jump,
    "fork": fork,
    "claim": claim,
    "outcome": outcome,
    "unknown": unknown,
    "vector": vector,
    "flood": flood,
    "hoard": hoard,
}
