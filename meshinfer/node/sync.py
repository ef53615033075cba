"""Anti-entropy: two peers compare what they have seen and each sends what the other lacks (docs/PROTOCOL.md).

    a: Have+      b: Page* Complete+      a: Page* Complete+

On every new connection; every few seconds with a random neighbour; with all neighbours when a job is published or
cancelled; with some when this peer comes to take part in a job; and with a few others when one brought news. Those
with a part in the same job and no link visit each other (`schedule/visits.py`). Gossip only makes it faster: everything
arrives with every gossip message dropped.

A stream that begins with a page is a push (`push.py`): records, and no answer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable

import trio

from meshinfer.errors import MeshError, ProtocolError
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.ids import JobId, PeerId
from meshinfer.model.record import Record
from meshinfer.node.paging import by_size
from meshinfer.node.push import Push
from meshinfer.node.records import Records, count
from meshinfer.schedule.log import job_of
from meshinfer.schedule.visits import Visits
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import Complete, Have, Page, read_sync
from meshinfer.wire.vectors import Reader, View, parts

PROTOCOL = "sync"
EVERY = 5.0
PUSH_AFTER = 0.25
"""Seconds after which what people wait for is pushed besides the gossip: by then it has mostly arrived, and the push
costs little; had it been at once, the two would have been in each other's way."""

PASS_EVERY = 0.75
"""Seconds between two rounds in which news are passed on, and between two visits: a peer that gets many news, or jobs,
does not sync for each."""

PATIENCE = 30.0
"""Seconds for one whole sync."""

MAX_PUSHED = 16
"""Neighbours that are told at once of what people wait for. They tell theirs."""

MAX_PASSED = 4
MAX_PASSED_OF_JOBS = 2
"""Neighbours that news are passed on to: of what all keep, and of jobs, among those that take part."""

MAX_ASKED = 8
"""Neighbours that are asked for a job's story, the publisher and who is known to take part before others."""

MAX_PAGES = 2000
"""Pages a peer may send in one sync: 200 MB, far above any honest backlog."""


class Sync:
    def __init__(self, mesh: Mesh, records: Records, rejected: Counter[str], rng: random.Random) -> None:
        self._mesh, self._records, self._rejected, self._rng = mesh, records, rejected, rng
        self._under_way: set[PeerId] = set()
        self._again: set[PeerId] = set()
        self._keepers: dict[PeerId, frozenset[JobId]] = {}
        """Jobs that a neighbour says it keeps, of those that are kept here."""
        self._news = trio.Event()
        self._news_by: set[PeerId] = set()
        """Neighbours that brought something that all keep."""
        self._news_of: dict[JobId, set[PeerId]] = {}
        """Jobs of which neighbours brought something."""
        self._visit_soon = trio.Event()
        self._visits = Visits(records.keeping)
        self._push = Push(mesh, self.takes_part)
        records.on_stated, records.contradict = self._push.stated, self._push.tell
        mesh.serve(PROTOCOL, self._answer)

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery, self._mesh.changes() as changes:

            def start(peer: PeerId) -> None:
                """One sync with a peer at a time; none waits for another peer, which may be frozen."""
                if peer in self._under_way:
                    self._again.add(peer)
                else:
                    self._under_way.add(peer)
                    nursery.start_soon(self._try, peer)

            nursery.start_soon(self._push.serve, start)
            nursery.start_soon(self._push_urgent, start)
            nursery.start_soon(self._pass_on, start)
            nursery.start_soon(self._catch_up, start)
            nursery.start_soon(self._every_so_often, start)
            nursery.start_soon(self._visit_now_and_then)
            for peer in sorted(self._mesh.peers):
                start(peer)
            async for change in changes:
                if change.up:
                    self._records.welcome(change.peer)
                    # Both sides know of the connection: one of them asks.
                    if self._mesh.me < change.peer:
                        start(change.peer)
                else:
                    self._keepers.pop(change.peer, None)

    # ---- when --------------------------------------------------------------------------------------------------------

    async def _every_so_often(self, start: Callable[[PeerId], None]) -> None:
        while True:
            await trio.sleep(EVERY * self._rng.uniform(0.8, 1.2))
            if peers := sorted(self._mesh.peers - self._under_way):
                start(self._rng.choice(peers))

    async def _push_urgent(self, start: Callable[[PeerId], None]) -> None:
        while True:
            await self._records.urgent.wait()
            await trio.sleep(PUSH_AFTER)
            self._records.urgent = trio.Event()
            for peer in self._some(self._mesh.peers, MAX_PUSHED):
                start(peer)

    async def _pass_on(self, start: Callable[[PeerId], None]) -> None:
        while True:
            await self._news.wait()
            await trio.sleep(PUSH_AFTER)
            self._news = trio.Event()
            by, of, self._news_by, self._news_of = self._news_by, self._news_of, set(), {}
            chosen = set(self._some(self._mesh.peers - by, MAX_PASSED)) if by else set()
            concerned = {peer for job, heard_from in of.items() for peer in self.takes_part(job) - heard_from}
            for peer in sorted(chosen.union(self._some(concerned, MAX_PASSED_OF_JOBS))):
                start(peer)
            await trio.sleep(PASS_EVERY - PUSH_AFTER)

    async def _catch_up(self, start: Callable[[PeerId], None]) -> None:
        while True:
            await self._records.joined.wait()
            for peer in self._whom_to_ask(self._records.take_joined()):
                start(peer)
            self._visit_soon.set()

    async def _visit_now_and_then(self) -> None:
        """A new connection begins with a sync; the link goes like any that is one too many."""
        while True:
            with trio.move_on_after(EVERY * self._rng.uniform(0.8, 1.2)):
                await self._visit_soon.wait()
            self._visit_soon = trio.Event()
            mesh, now = self._mesh, trio.current_time()
            away = frozenset(mesh.unreached()) | mesh.kept_out().keys()
            if candidates := self._visits.whom(mesh.peers, away, now):
                peer = self._rng.choice(candidates)
                try:
                    await mesh.reach(peer)
                except MeshError:
                    self._visits.failed(peer, now)
                await trio.sleep(PASS_EVERY)

    def _some(self, peers: Iterable[PeerId], most: int) -> list[PeerId]:
        there = sorted(peers)
        return self._rng.sample(there, min(most, len(there)))

    def takes_part(self, job: JobId) -> set[PeerId]:
        """Neighbours that are known to keep the job's log."""
        log = self._records.log
        keepers = {peer for peer, jobs in self._keepers.items() if job in jobs}
        return (log.speakers(job) | log.publishers(job) | keepers) & self._mesh.peers

    def _whom_to_ask(self, jobs: Collection[JobId]) -> list[PeerId]:
        first = self._some({peer for job in jobs for peer in self.takes_part(job)}, MAX_ASKED)
        return first + self._some(self._mesh.peers.difference(first), MAX_ASKED - len(first))

    async def fetch(self, jobs: Collection[JobId], patience: float) -> None:
        """Follow these jobs. The story of those that were not kept here comes, as far as neighbours have it, within
        `patience` seconds."""
        new = [job for job in jobs if job not in self._records.keeping.interest.kept]
        self._records.follow(*jobs)
        if not new:
            return
        self._records.take_joined()
        with trio.move_on_after(patience):
            async with trio.open_nursery() as nursery:
                for peer in self._whom_to_ask(new):
                    nursery.start_soon(self._once, peer)

    async def _try(self, peer: PeerId) -> None:
        try:
            while True:
                self._again.discard(peer)
                await self._once(peer)
                if peer not in self._again:
                    return
        finally:
            self._under_way.discard(peer)

    async def _once(self, peer: PeerId) -> None:
        try:
            await self.with_peer(peer)
        except (MeshError, ProtocolError, trio.TooSlowError) as e:
            count(self._rejected, f"sync: {str(e) or 'too slow'}")

    # ---- how ---------------------------------------------------------------------------------------------------------

    async def with_peer(self, peer: PeerId) -> None:
        """Raises MeshError, ProtocolError or trio.TooSlowError; what has arrived by then is kept."""
        with trio.fail_after(PATIENCE):
            async with self._mesh.open(peer, PROTOCOL) as stream:
                mine = self._records.view(self._named(), peer)
                for part in parts(Have, mine):
                    await stream.send(encode(part))
                theirs = await self._take(stream, mine)
                await self._give(stream, theirs, [])

    async def _answer(self, stream: Stream) -> None:
        with trio.move_on_after(PATIENCE) as patience:
            message = read_sync(await stream.receive() or b"")
            if isinstance(message, Page):
                await self._take_push(stream, message)
            elif isinstance(message, Have):
                theirs = await self._rest(stream, message)
                mine = await self._give(stream, theirs, self._named())
                await self._take(stream, mine)
            else:
                raise self._blamed(stream.peer, "a sync that does not begin with a vector")
        if patience.cancelled_caught:
            raise MeshError("a sync that took too long")

    def _named(self) -> list[JobId]:
        return self._records.keeping.interest.named(trio.current_time())

    def _blamed(self, peer: PeerId, why: str) -> ProtocolError:
        self._records.blame(peer, why)
        return ProtocolError(why)

    async def _rest(self, stream: Stream, part: Have | Complete) -> View:
        """A vector whose first part has come."""
        reader = Reader()
        kind = type(part)
        while (view := reader.take(part)) is None:
            message = read_sync(await stream.receive() or b"")
            if not isinstance(message, kind):
                raise self._blamed(stream.peer, "a vector that is broken off")
            part = message
        keeping = self._records.keeping
        self._records.relay(view.relay)
        self._keepers[stream.peer] = frozenset(job for job in view.jobs if job in keeping.interest.kept)
        return view

    async def _give(self, stream: Stream, theirs: View, named: Collection[JobId]) -> View:
        """Send what the other side lacks, and what was seen here before: what comes in between is not promised."""
        kept = [job for job in theirs.jobs if job in self._records.keeping.interest.kept]
        mine = self._records.view(dict.fromkeys([*kept, *named]), stream.peer)
        for page in by_size(self._records.lacking(theirs, stream.peer), most=1000):
            await stream.send(encode(Page(page)))
        for part in parts(Complete, mine):
            await stream.send(encode(part))
        return mine

    async def _take(self, stream: Stream, mine: View) -> View:
        """Take in pages up to the other side's vector, which is returned."""
        for _ in range(MAX_PAGES):
            message = read_sync(await stream.receive() or b"")
            match message:
                case Page():
                    await self._hear(stream.peer, message)
                case Complete():
                    theirs = await self._rest(stream, message)
                    self._records.ends(stream.peer, theirs, mine)
                    return theirs
                case _:
                    raise self._blamed(stream.peer, "a vector in the middle of a sync")
        raise self._blamed(stream.peer, "a sync without end")

    async def _take_push(self, stream: Stream, page: Page) -> None:
        for _ in range(MAX_PAGES):
            await self._hear(stream.peer, page)
            data = await stream.receive()
            if data is None:
                return
            message = read_sync(data)
            if not isinstance(message, Page):
                break
            page = message
        raise self._blamed(stream.peer, "a push of something else than records")

    async def _hear(self, peer: PeerId, page: Page) -> None:
        for aged in page.records:
            try:
                news = await self._records.hear(aged.sealed, aged.age, peer)
            except ProtocolError as e:
                self._records.blame(peer, str(e))
                raise
            if news is not None:
                self._note(peer, news)
            await trio.lowlevel.checkpoint()

    def _note(self, peer: PeerId, news: Record) -> None:
        """Others may lack it too. Not claims: by the time they came round they would be old."""
        job = job_of(news.kind, news.key)
        if job is None:
            self._news_by.add(peer)
        elif news.kind != "claim":
            self._news_of.setdefault(job, set()).add(peer)
        else:
            return
        self._news.set()
