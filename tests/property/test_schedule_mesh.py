"""Several schedulers with real records on one virtual clock and a network that reorders, repeats and loses."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from typing import Any

import pytest

from meshinfer.errors import ProtocolError
from meshinfer.mesh.identity import Identity
from meshinfer.model.facts import Cancel, Outcome
from meshinfer.model.ids import JobId, PeerId, TaskId
from meshinfer.model.record import Record
from meshinfer.schedule import stimuli as st
from meshinfer.schedule.lease import LEASE
from meshinfer.schedule.log import Fate, RecordLog, StoreId, job_of
from meshinfer.schedule.progress import progress
from meshinfer.schedule.state import ScheduleState
from meshinfer.wire.records import address_of, seal, unseal
from tests.unit.scheduling import MODEL, entry, holds, order, peer

MESH = "sim"
IDENTITIES = [Identity.from_seed(bytes([i]) * 32) for i in range(1, 7)]
SYNC_EVERY = 2.0


class Node:
    """What the shell does around a scheduler: number and seal what it states, believe what is new, announce it."""

    def __init__(self, world: World, identity: Identity, files: list[str], cores: int) -> None:
        self.world, self.identity, self.me, self.files, self.cores = world, identity, identity.peer_id, files, cores
        self.incarnation, self.alive = 0, False
        self.disk: dict[Any, Record] = {}
        self.finished: dict[TaskId, Outcome] = {}
        self.ran: Counter[TaskId] = Counter()

    def start(self, *, lose_store: bool = False) -> None:
        if lose_store or not self.incarnation:
            self.incarnation, self.disk, self.finished = self.incarnation + 1, {}, {}
            self.seqs = Counter[JobId | None]()
        self.alive, self.work, self.wake = True, set[TaskId](), 0.0
        self.state = ScheduleState(self.me, window=self.world.rng.choice([8, 16, 256]))
        self.log = RecordLog(StoreId(self.me, self.incarnation))
        for record in sorted(self.disk.values(), key=lambda r: (r.kind != "job", r.origin, r.seq)):
            self.believe(record.sealed, 0.0)
        self.feed(st.ModelsChanged({MODEL: ("person",)}))
        self.feed(st.CatalogChanged(tuple(map(entry, self.files))))
        if not any(r.origin == self.me for r in self.disk.values()):
            self.say(peer(self.cores))
            self.say(holds(*self.files))
        for other in self.world.up():
            if other is not self:
                self.feed(st.Connected(other.me))
                other.feed(st.Connected(self.me))
                self.world.sync(self, other)

    def stop(self) -> None:
        self.alive = False
        for other in self.world.up():
            other.feed(st.Disconnected(self.me))

    def believe(self, sealed: bytes, age: float) -> None:
        record = unseal(sealed, mesh=MESH)
        born = self.world.now - age
        fate, gone = self.log.offer(record, born)
        if gone:
            self.feed(st.StoreLost(record.origin, frozenset(JobId(slot.key.partition("/")[0]) for slot in gone)))
        if fate is Fate.NEW:
            self.disk[record.origin, record.kind, record.key] = record
            if record.fact is not None:
                self.feed(st.Heard(record.origin, record.fact, born))

    def say(self, fact: Any) -> None:
        log, sign = job_of(*address_of(fact)), self.identity.sign
        self.seqs[log] += 1
        record = seal(fact, mesh=MESH, origin=self.me, incarnation=self.incarnation, seq=self.seqs[log], sign=sign)
        self.believe(record.sealed, 0.0)
        self.world.announce(self, record)

    def feed(self, stimulus: st.Stimulus) -> None:
        effects = self.state.handle(stimulus, self.world.now)
        self.state.validate()
        for effect in effects:
            match effect:
                case st.State(fact):
                    self.world.at(0.01, self.if_same(lambda fact=fact: self.say(fact)))
                case st.Start(_, task, what, _, _):
                    assert what.name in self.files, "ran data that it does not hold"
                    self.work.add(task)
                    self.ran[task] += 1
                    self.world.at(self.world.rng.uniform(0.1, 3.0), self.if_same(lambda task=task: self.finish(task)))
                case st.Stop(_, tasks):
                    self.work.difference_update(tasks)
                case st.Yield(_, tasks):
                    self.work.difference_update(tasks)
                    self.ran.subtract(tasks)
                case st.AskWork() as question:
                    self.world.at(0.01, self.if_same(lambda question=question: self.ask(question)))
                case st.Grant(ticket, job, tasks):
                    self.world.tickets[ticket](job, tasks)
        deadline = self.state.next_deadline()
        if deadline is not None and deadline != self.wake:
            self.wake = deadline
            self.world.at(max(0.0, deadline - self.world.now), self.if_same(lambda: self.tick(deadline)))

    def ask(self, question: st.AskWork) -> None:
        [other] = [node for node in self.world.nodes if node.me == question.peer]
        if not other.alive or self.world.rng.random() < self.world.loss:
            self.feed(st.WorkGranted(question.peer, question.job))
            return

        def answer(job: JobId, tasks: tuple[TaskId, ...]) -> None:
            self.world.at(0.01, self.if_same(lambda: self.feed(st.WorkGranted(question.peer, job, tasks))))

        self.world.tickets.append(answer)
        other.feed(st.WorkAsked(self.me, question.job, question.most, len(self.world.tickets) - 1))

    def tick(self, deadline: float) -> None:
        if self.wake == deadline:
            self.wake = 0.0
            self.feed(st.Tick())

    def finish(self, task: TaskId) -> None:
        if task in self.work:
            self.work.discard(task)
            result = self.finished.setdefault(task, Outcome(bytes.fromhex(task), True, 10, 1, 0.5, digest=task))
            self.feed(st.TaskEnded(task, result))

    def if_same(self, do: Any) -> Any:
        """What a process planned dies with it."""
        state = getattr(self, "state", None)
        return lambda: do() if self.alive and self.state is state else None


class World:
    def __init__(self, seed: int, *, loss: float, spread: float) -> None:
        self.rng, self.now, self.loss, self.spread = random.Random(seed), 1.0, loss, spread
        self.agenda: list[tuple[float, int, Any]] = []
        self.tie = itertools.count()
        self.nodes: list[Node] = []
        self.links: dict[tuple[Node, Node], float] = {}
        self.tickets: list[Any] = []

    def up(self) -> list[Node]:
        return [node for node in self.nodes if node.alive]

    def at(self, delay: float, do: Any) -> None:
        heapq.heappush(self.agenda, (self.now + delay, next(self.tie), do))

    def announce(self, by: Node, record: Record) -> None:
        for node in self.up():
            for _ in range(self.rng.choice([1, 1, 2]) if node is not by and self.rng.random() >= self.loss else 0):
                due = self.now + self.rng.uniform(0.001, self.spread)
                if not self.loss:  # without faults each link keeps its order
                    due = self.links[by, node] = max(due, self.links.get((by, node), 0.0))
                self.at(due - self.now, lambda node=node: node.believe(record.sealed, 0.0) if node.alive else None)

    def sync(self, a: Node, b: Node) -> None:
        for giver, taker in ((a, b), (b, a)):
            theirs, mine = (log.seen_of(log.jobs) for log in (taker.log, giver.log))
            for held in list(giver.log.missing(theirs, [None, *giver.log.jobs])):
                taker.believe(held.record.sealed, self.now - held.born)
            taker.log.ends(giver.me, mine)

    def sync_for_ever(self) -> None:
        if len(up := self.up()) > 1:
            self.sync(*self.rng.sample(up, 2))
        self.at(SYNC_EVERY / len(self.nodes), self.sync_for_ever)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(200_000):
            if not self.agenda or self.agenda[0][0] > end:
                self.now = end
                return
            self.now, _, do = heapq.heappop(self.agenda)
            do()
        pytest.fail("the mesh does not come to rest")


def world(seed: int, *, loss: float = 0.0, spread: float = 0.05) -> World:
    made = World(seed, loss=loss, spread=spread)
    rng = made.rng
    files = [f"f{i}" for i in range(12)]
    for identity in IDENTITIES[: rng.randint(2, len(IDENTITIES))]:
        held = rng.sample(files, rng.randint(0, len(files)))
        made.nodes.append(Node(made, identity, held, rng.choice([1, 4, 16])))
    made.at(0.0, made.sync_for_ever)
    return made


def check_everything_is_done(made: World, job: JobId, *, scope: str = "once") -> None:
    """At rest: every task of every holder is done, and all peers name the same results."""
    views: dict[PeerId, Any] = {}
    for node in made.up():
        state = node.state.jobs[job]
        views[node.me] = {task: canonical for task in sorted(state.outcomes) if (canonical := state.canonical(task))}
        assert progress(node.state, state, made.now).stage == ("done" if any(n.files for n in made.up()) else "waiting")
        for task, mine in state.mine.items():
            assert state.fate(task) == "done", f"{mine} is {mine.status} and stands by {mine.stands_by}"
    first, *others = views.values()
    assert all(view == first for view in others)
    wanted = [(name, node.me if scope == "every" else "") for node in made.up() for name in node.files]
    assert len(first) == len(set(wanted))


@pytest.mark.parametrize("seed", range(30))
def test_without_faults_every_task_runs_exactly_once(seed: int) -> None:
    """Whoever publishes, and whoever joins late; each origin's records come in order, though some later or twice."""
    made = world(seed)
    late = made.rng.sample(made.nodes[1:], made.rng.randint(0, len(made.nodes) - 1))
    for node in made.nodes:
        if node not in late:
            node.start()
    made.run(10)
    scope = made.rng.choice(["once", "once", "every"])
    job = order(str(seed), scope=scope)
    made.rng.choice(made.up()).say(job)
    for node in late:
        made.run(made.rng.uniform(0, 4))
        node.start()
    made.run(60)
    check_everything_is_done(made, job.id, scope=scope)
    total = sum((node.ran for node in made.nodes), Counter[TaskId]())
    assert set(total.values()) <= {1}


@pytest.mark.parametrize("seed", range(40))
def test_with_faults_everything_is_still_done(seed: int) -> None:
    """1. Half of the announcements are lost, the rest repeated and reordered; at every fourth seed all are lost.
    2. Peers are killed and come back, some of them without their store (never the publisher: it alone may know).
    3. At rest all tasks are done, all peers agree, and no process ran a task more often than it was started.
    """
    made = world(seed, loss=0.5 if seed % 4 else 1.0, spread=2.0)
    for node in made.nodes:
        node.start()
    made.run(3)
    job = order(str(seed))
    publisher = made.rng.choice(made.nodes)
    publisher.say(job)
    lives = Counter({node.me: 1 for node in made.nodes})
    for _ in range(made.rng.randint(1, 5)):
        made.run(made.rng.uniform(0, 4))
        node = made.rng.choice(made.nodes)
        if node.alive:
            node.stop()
        else:
            node.start(lose_store=made.rng.random() < 0.3 and node is not publisher)
            lives[node.me] += 1
    for node in made.nodes:
        if not node.alive:
            made.run(made.rng.uniform(0, LEASE * 2))
            node.start(lose_store=made.rng.random() < 0.3 and node is not publisher)
            lives[node.me] += 1
    made.run(90)
    check_everything_is_done(made, job.id)
    for node in made.nodes:
        assert all(n <= lives[node.me] for n in node.ran.values())


@pytest.mark.parametrize("seed", range(20))
def test_a_cancelled_job_comes_to_rest_everywhere(seed: int) -> None:
    made = world(seed, loss=0.3, spread=1.0)
    for node in made.nodes:
        node.start()
    made.run(3)
    job = order(str(seed))
    made.rng.choice(made.nodes).say(job)
    made.run(made.rng.uniform(0, 2))
    made.rng.choice(made.nodes).say(Cancel(job.id, "enough"))
    made.run(60)
    for node in made.nodes:
        assert not node.work
        assert not node.state.running
        assert progress(node.state, node.state.jobs[job.id], made.now).stage == "cancelled"
        assert not node.state.jobs[job.id].claims.get(node.me) or not node.state.jobs[job.id].claims[node.me].running


def test_a_record_of_another_mesh_goes_nowhere() -> None:
    made = world(0)
    made.nodes[0].start()
    node = made.nodes[0]
    alien = seal(order(), mesh="other", origin=node.me, incarnation=9, seq=9, sign=node.identity.sign)
    with pytest.raises(ProtocolError):
        node.believe(alien.sealed, 0.0)
    assert not node.state.jobs
