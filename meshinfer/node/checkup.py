"""`meshinfer doctor`: ask the peers how they are, and say what is wrong. Answers others who ask.

Neighbours are asked first; then those further off, who are dialed for it: only all of them together show whether the
mesh hangs on one of them.

What can be tried is tried: our `peer` record goes out anew, and a second later everybody is asked for it, so who does
not hear announcements is found while nothing else goes on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import trio
from msgspec.structs import replace

import meshinfer
from meshinfer.errors import MeshError, ProtocolError
from meshinfer.media.catalog import Catalog
from meshinfer.mesh.api import Mesh, Stream, Unreached
from meshinfer.model.facts import PeerFact
from meshinfer.model.ids import PeerId
from meshinfer.model.logs import Extent, LogId
from meshinfer.node import sync
from meshinfer.node.diagnosis import diagnose
from meshinfer.node.driver import Driver
from meshinfer.node.events import EventHub
from meshinfer.node.look import Answer, Look
from meshinfer.node.records import Records
from meshinfer.node.views import View
from meshinfer.schedule.log import StoreId
from meshinfer.store import Database
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import (
    MAX_LACKING,
    MAX_LINKS,
    MAX_VECTOR,
    Checkup,
    Health,
    Lacking,
    read_checkup,
    read_health,
)
from meshinfer.wire.vectors import read_vector, upto

HEALTH = "health"
PATIENCE = 5.0
"""Seconds for all answers: the peers are asked at once."""

HEARD_WITHIN = (1.0, 3.0)
"""Seconds that an announcement has to reach everybody, at the first look and, if it did not, at the second."""

AGAIN_AFTER = 1.2 * sync.EVERY + 0.5
"""Seconds between two looks: everybody has begun a sync by then."""

MAX_ASKED, MAX_DIALED = 256, 64
"""Peers asked, and dialed for it, the first by their ids."""


class Doctor:
    def __init__(
        self,
        mesh: Mesh,
        driver: Driver,
        records: Records,
        hub: EventHub,
        catalog: Catalog,
        db: Database,
        lag: Callable[[], dict[str, float]],
    ) -> None:
        """`lag`: milliseconds by name, of which `p99` is told."""
        self._mesh, self._driver, self._records, self._hub = mesh, driver, records, hub
        self._catalog, self._db, self._lag = catalog, db, lag
        self._began = trio.current_time()
        mesh.serve(HEALTH, self._on_checkup)

    async def examine(self) -> list[View]:
        """The findings, as docs/CONTROL.md has them. Takes one second, up to 20 where something is wrong."""
        first, again = HEARD_WITHIN
        look = await self._look(first)
        checks = await trio.to_thread.run_sync(diagnose, look)
        if any(check.settles for check in checks):
            await trio.sleep(AGAIN_AFTER - again)
            checks = await trio.to_thread.run_sync(diagnose, await self._look(again), look)
        return [{"check": c.check, "ok": c.ok, "what": c.what, "todo": c.todo} for c in checks]

    async def _look(self, heard_within: float) -> Look:
        announced = await self._announce(heard_within)
        vector = sorted(self._records.log.vector().items())
        ask = Checkup(tuple(upto(log, extent) for log, extent in vector[:MAX_VECTOR]))
        answers: dict[PeerId, Answer] = {}
        silent: dict[PeerId, str] = {}
        own = await self._health(self._mesh.me, ask)
        state, mesh = self._driver.state, self._mesh
        unreached = dict(mesh.unreached())
        near = sorted(mesh.peers)
        far = sorted(
            peer
            for peer, fact in state.peers.items()
            if fact.addresses and not fact.guest and peer not in (mesh.me, *near, *unreached, *mesh.kept_out())
        )
        for peers in (near[:MAX_ASKED], far[:MAX_DIALED]):
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    nursery.start_soon(self._ask, peer, ask, answers, silent)
        for peer in far[:MAX_DIALED]:
            if peer in answers:  # the link that we made to ask is none of the mesh's
                health = answers[peer].health
                known = tuple(other for other in health.connected if other != mesh.me)
                answers[peer] = answers[peer]._replace(health=replace(health, connected=known))
            elif peer not in mesh.peers:
                unreached[peer] = Unreached(state.peers[peer].addresses, 0.0, silent[peer])
        return Look(
            me=mesh.me,
            own=own,
            peers=dict(state.peers),
            answers=answers,
            silent={peer: why for peer, why in silent.items() if peer in mesh.peers},  # else it is unreached
            unreached=unreached,
            kept_out=mesh.kept_out(),
            unasked=len(near[MAX_ASKED:]) + len(far[MAX_DIALED:]),
            heads={store.origin: window.last for store, window in self._hub.windows.items()},
            announced=announced,
            entries=len(self._catalog.snapshot()[0]),
            notices=self._db.notices,
        )

    async def _announce(self, heard_within: float) -> int | None:
        """State our `peer` record anew and let it travel. Its seq, or None where it could not be written in time."""
        held = self._records.log.get(self._mesh.me, "peer", "")
        before = held.record.seq if held else 0
        if held is not None and isinstance(held.record.fact, PeerFact):
            self._records.state(held.record.fact)
        await trio.sleep(heard_within)
        after = self._records.log.get(self._mesh.me, "peer", "")
        return after.record.seq if after is not None and after.record.seq > before else None

    async def _ask(self, peer: PeerId, ask: Checkup, answers: dict[PeerId, Answer], silent: dict[PeerId, str]) -> None:
        silent[peer] = f"no answer within {PATIENCE:.0f} s"
        with trio.move_on_after(PATIENCE):
            try:
                async with self._mesh.open(peer, HEALTH) as stream:
                    sent = trio.current_time()
                    await stream.send(encode(ask))
                    data = await stream.receive()
                    took, wall = trio.current_time() - sent, time.time()
                    health = read_health(data or b"")
                    answers[peer] = Answer(health, health.clock - (wall - took / 2), took)
                    del silent[peer]
            except (MeshError, ProtocolError) as e:
                if peer not in answers:
                    silent[peer] = str(e)

    async def _on_checkup(self, stream: Stream) -> None:
        await stream.send(encode(await self._health(stream.peer, read_checkup(await stream.receive() or b""))))

    async def _health(self, asker: PeerId, ask: Checkup) -> Health:
        free, store = await trio.to_thread.run_sync(_disk, self._db.path)
        state, log = self._driver.state, self._records.log
        heard = log.get(asker, "peer", "")
        return Health(
            clock=time.time(),
            version=meshinfer.__version__,
            up=trio.current_time() - self._began,
            connected=tuple(sorted(self._mesh.peers)[:MAX_LINKS]),
            lag=self._lag()["p99"] / 1000,
            free=free,
            store=store,
            events=self._hub.own_head,
            running=len(state.running),
            records=len(log),
            no_room=state.no_room[:512],
            heard=heard.record.seq if heard is not None else 0,
            lacking=self._lacking(read_vector(ask.vector)),
        )

    def _lacking(self, theirs: dict[LogId, Extent]) -> tuple[Lacking, ...]:
        found: dict[StoreId, list[int]] = {}
        for held in self._records.log.missing(theirs):
            found.setdefault(StoreId(held.record.origin, held.record.incarnation), []).append(held.record.seq)
        return tuple(Lacking(*store, min(seqs), len(seqs)) for store, seqs in sorted(found.items())[:MAX_LACKING])


def _disk(path: Path) -> tuple[int, int]:
    """Bytes free, and bytes of the database with its log; 0 each where it is gone."""
    try:
        log = path.with_name(path.name + "-wal")
        size = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        return shutil.disk_usage(path.parent).free, size
    except OSError:
        return 0, 0
