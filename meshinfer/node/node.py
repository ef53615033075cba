"""A running peer: every part, wired. What the parts do is in their own files; what starts and ends when is here."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from msgspec.structs import replace

import meshinfer
from meshinfer.config import Config
from meshinfer.detect.card import ModelCard
from meshinfer.detect.isolated import AnyDetector
from meshinfer.detect.pool import Lease
from meshinfer.detect.shelf import Shelf
from meshinfer.detect.shelf.names import some
from meshinfer.detect.stages import lease_detector
from meshinfer.detect.variants.tuning import Book
from meshinfer.errors import ConfigError, MeshError, ModelError, ProtocolError
from meshinfer.home import socket_path
from meshinfer.media.catalog import Catalog
from meshinfer.media.source import SourceSpec
from meshinfer.mesh.api import Mesh
from meshinfer.mesh.identity import Identity
from meshinfer.model.channel import is_channel
from meshinfer.model.facts import MAX_MODELS
from meshinfer.model.ids import ModelDigest, PeerId, reference_of
from meshinfer.model.job import JobSpec, Then
from meshinfer.node import control, gossip
from meshinfer.node.calls import Calls
from meshinfer.node.checkup import Doctor
from meshinfer.node.driver import Driver
from meshinfer.node.events import EventHub
from meshinfer.node.fetch import Fetcher
from meshinfer.node.findings import Findings
from meshinfer.node.handover import Handover
from meshinfer.node.health import Health
from meshinfer.node.inference import Inference
from meshinfer.node.neighbours import Neighbours
from meshinfer.node.portrait import model_refs, own_fact, unheard_of
from meshinfer.node.questions import Questions
from meshinfer.node.records import Records
from meshinfer.node.replay import EventArchive
from meshinfer.node.rollout import Rollout
from meshinfer.node.runner import Runner
from meshinfer.node.speeds import Speeds
from meshinfer.node.stock import Stock
from meshinfer.node.sync import Sync
from meshinfer.node.tuner import Tuner
from meshinfer.schedule.models import no_second_stage, wrong_classes
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import (
    AskWork,
    Connected,
    Disconnected,
    Effect,
    Fetch,
    Forgo,
    Grant,
    Leaving,
    ModelsChanged,
    Start,
    State,
    Stop,
    Yield,
)
from meshinfer.store import Database, EventLog, FileTable, TaskTable

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that libp2p brings; trio's own types give way to them

CLOSE_PATIENCE = 5.0


class Node:
    """Made inside a joined mesh. `serve` runs until cancelled, then `close` puts things away.

    What must be read from disk for it comes ready: `log` with its `head`, and the `cards` of the models that may run.
    """

    def __init__(
        self,
        config: Config,
        identity: Identity,
        mesh: Mesh,
        db: Database,
        shelf: Shelf,
        book: Book,
        *,
        log: EventLog,
        head: int,
        cards: tuple[ModelCard, ...],
        say: Callable[[str], None],
        guest: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        self.config, self.mesh, self.shelf, self.say, self.guest = config, mesh, shelf, say, guest
        self.stop = trio.Event()
        self.seen: dict[PeerId, float] = {}
        """When a peer that has gone was last connected."""
        self.rejected: Counter[str] = Counter()
        """What others sent that was no good, by reason."""
        self._began = time.monotonic()
        self._notices = db.notices
        self.driver = Driver(ScheduleState(identity.peer_id, fetches=config.models.fetch and not guest), self._perform)
        self._cards, self._looking = cards, trio.Lock()
        self.records = Records(
            mesh, config.mesh.name, identity, db, self.driver, blame=mesh.blame, on_identity=self._on_identity
        )
        self.rollout = Rollout(self.driver, self.records)
        self._cloned = ""
        self.hub = EventHub(mesh, self.records.own, head)
        self.archive = EventArchive(mesh, log, db.incarnation)
        sources = [SourceSpec(s.name, s.path, dict(s.labels), s.kind) for s in config.source]
        limits = config.limits
        self.catalog = Catalog(
            sources,
            labels=dict(config.peer.labels),
            cache=FileTable(db),
            settle=limits.settle,
            interval=limits.rescan,
        )
        self.stock = Stock(self.catalog, self.driver, self.records)
        self.health = Health(config.home, limits.disk_reserve_mb, config.mesh.bootstrap, self.driver, mesh, say)
        self.runner = Runner(
            db,
            identity.peer_id,
            self.driver,
            find=self.catalog.find,
            detector_for=lambda item: self._detector(item.model, item.then, item.isolate),
            has_room=lambda item: shelf.has_room(*item.models, isolate=item.isolate),
            on_events=self.hub.recorded,
            on_trouble=self.health.trouble,
            on_lost=self.models_changed,
            workers=limits.workers,
        )
        self.handover = Handover(mesh, self.driver)
        self.questions = Questions(mesh, self.driver, self.catalog)
        self.findings = Findings(
            mesh,
            log,
            TaskTable(db, identity.peer_id),
            self.catalog,
            db.incarnation,
            share_pixels=config.policy.share_pixels,
        )
        self.inference = Inference(mesh, shelf.find, self._detector, allowed=config.policy.infer)
        dice = rng or random.Random()  # noqa: S311  picks neighbours
        self.fetcher = Fetcher(
            mesh,
            self.driver,
            shelf,
            config.home / "fetching",
            reserve=limits.disk_reserve_mb * 2**20,
            on_change=self.models_changed,
            dice=dice,
        )
        self.sync = Sync(mesh, self.records, self.rejected, dice)
        me = own_fact(config.peer.name, dict(config.peer.labels), mesh, cards, guest=guest)
        self.speeds = Speeds(book, self.runner.meter, self._tell_models)
        self.tuner = None if config.limits.cpu_only else Tuner(book, shelf, limits.workers or os.cpu_count() or 1, say)
        self.neighbours = Neighbours(mesh, self.records, self.driver, db, me, config.mesh.bootstrap, dice)
        self.doctor = Doctor(mesh, self.driver, self.records, self.hub, self.catalog, db, self.health.lag)

    # ---- life --------------------------------------------------------------------------------------------------------

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ready when the node answers on its control socket and takes part in the mesh."""
        sock = control.bind(socket_path(self.config.home))
        try:
            self._use(self._cards, await trio.to_thread.run_sync(self.shelf.refused))
            await self.records.load()
            await self.speeds.load(card.digest for card in self._cards)
            async with self.mesh.changes() as changes, trio.open_nursery() as nursery:
                for peer in sorted(self.mesh.peers):
                    self.driver.feed(Connected(peer))
                nursery.start_soon(self._watch_peers, changes)
                for service in (
                    self.driver.serve,
                    self.records.serve,
                    self.runner.serve,
                    self.handover.serve,
                    self.fetcher.serve,
                    self.hub.serve,
                    self.sync.serve,
                    self.neighbours.serve,
                    self.health.serve,
                    self.rollout.serve,
                    self.speeds.serve,
                    *([self.tuner.serve] if self.tuner else []),
                ):
                    nursery.start_soon(service)
                nursery.start_soon(gossip.listen, self.mesh, self.records, self.hub, self.rejected)
                await nursery.start(self.stock.serve)
                self._tell_models()
                nursery.start_soon(control.serve, sock, Calls(self).table())
                task_status.started()
        finally:
            sock.close()
            socket_path(self.config.home).unlink(missing_ok=True)

    async def close(self) -> None:
        """Stop the work; write down what is known. Bounded."""
        with trio.move_on_after(CLOSE_PATIENCE + 3) as scope:
            scope.shield = True
            self.driver.feed(Leaving())
            await self.runner.close(CLOSE_PATIENCE)
            await self.records.flush()

    async def _watch_peers(self, changes: trio.MemoryReceiveChannel[Any]) -> None:
        async for change in changes:
            self.driver.feed(Connected(change.peer) if change.up else Disconnected(change.peer))
            self.seen[change.peer] = trio.current_time()

    def _on_identity(self, kind: str, detail: str) -> None:
        if kind == "renewed":
            self.hub.renew(int(detail))
            self.archive.incarnation = int(detail)
            self.findings.incarnation = int(detail)
            self.say("others know of a newer store of this peer than this one: it goes on as a new one")
        elif not self._cloned:
            self._cloned = f"another process uses this peer's key ({detail}): stop one, or give it a key of its own"
            self.say(self._cloned)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case State(fact):
                self.records.state(fact)
            case Start() | Stop() | Yield():
                self.runner.perform(effect)
            case AskWork() | Grant():
                self.handover.perform(effect)
            case Fetch() | Forgo():
                self.fetcher.perform(effect)

    # ---- what calls need ---------------------------------------------------------------------------------------------

    def _detector(self, digest: ModelDigest, then: Then | None = None, isolate: bool = False) -> Lease[AnyDetector]:
        """In a worker thread."""
        return lease_detector(self.shelf, digest, then, isolate=isolate)

    def _use(self, cards: tuple[ModelCard, ...], refused: dict[ModelDigest, str]) -> None:
        series = frozenset(card.digest for card in cards if card.takes_series)
        self.driver.feed(ModelsChanged({card.digest: card.classes for card in cards}, refused, series))

    async def models_changed(self) -> None:
        async with self._looking:  # one look at a time: an older one must not be told after a newer one
            self._cards = await trio.to_thread.run_sync(self.shelf.runnable)
            self._use(self._cards, await trio.to_thread.run_sync(self.shelf.refused))
        self._tell_models()

    def _tell_models(self) -> None:
        self.neighbours.state_again(models=model_refs(self._cards, self.speeds.classes))

    async def resolve(self, spec: JobSpec) -> ModelDigest:
        """The model a job names: ours by that name, else another peer's. Raises ConfigError or ModelError."""
        try:
            card = await self._ours(spec.model)
        except ModelError as e:
            return self._held_elsewhere(spec.model, e)
        if wrong := wrong_classes(spec, card.name, card.classes):
            raise ConfigError(wrong)
        if spec.then is not None and card.takes_series:
            raise ConfigError(f"$.then: {no_second_stage(card.reference)}")
        return card.digest

    async def pin_second(self, spec: JobSpec) -> JobSpec:
        """The job with the digest of its second model, where it has one: of a channel what that stands for now. Raises
        ConfigError or ModelError.
        """
        then, models = spec.then, self.driver.state.models
        if then is None:
            return spec
        try:
            is_moving = is_channel(then.model)
            digest = self.rollout.find(then.model).state.stable.model if is_moving else await self.digest_of(then.model)
        except ModelError as e:
            raise ModelError(f"$.then.model: {e}") from None
        if wrong := wrong_classes(spec, then.model, models.here.get(digest, then.classes), second=True):
            raise ConfigError(wrong)
        if models.is_series(digest):
            raise ConfigError(f"$.then: {no_second_stage(then.model)}")
        return replace(spec, then=replace(then, digest=digest))

    async def digest_of(self, reference: str) -> ModelDigest:
        """Of a model here, that may run, or else at another peer. Raises ModelError."""
        try:
            return (await self._ours(reference)).digest
        except ModelError as e:
            return self._held_elsewhere(reference, e)

    async def _ours(self, reference: str) -> ModelCard:
        """A model here that is about to be named in the mesh: others hear of it now, if they had not. Raises
        ModelError.
        """
        card = await trio.to_thread.run_sync(self.shelf.find, reference)
        if card not in self._cards[:MAX_MODELS]:
            await trio.to_thread.run_sync(self.shelf.used, card.digest)
            await self.models_changed()
        return card

    def _held_elsewhere(self, reference: str, not_here: ModelError) -> ModelDigest:
        name, _, version = reference.partition("@")
        digits = reference.removeprefix("sha256:")
        held = {
            model.digest: model
            for _, fact in sorted(self.driver.state.peers.items())
            for model in fact.models
            if (model.name == name and version in ("", model.version))
            or (len(digits) >= 8 and model.digest.startswith(digits))
        }
        if len(held) == 1:
            return next(iter(held))
        if held:
            named = sorted((model.name, model.version, digest) for digest, model in held.items())
            which = ", ".join(f"{reference_of(n, v)} (sha256:{d[:12]})" for n, v, d in named)
            raise ModelError(f"{reference!r} names several models in this mesh: {which}: say which")
        elsewhere = sorted({m.name for fact in self.driver.state.peers.values() for m in fact.models})
        raise ModelError(f"{not_here}; in the mesh are: {some(elsewhere) or 'none'}") from None

    def nonce(self) -> bytes:
        return secrets.token_bytes(12)

    async def spread(self) -> None:
        """For a guest that may be gone in a moment: what it stated is known to all its neighbours when this returns."""
        if not self.guest:
            return
        reached = []
        for peer in sorted(self.mesh.peers):
            try:
                await self.sync.with_peer(peer)
                reached.append(peer)
            except (MeshError, ProtocolError, trio.TooSlowError):
                continue
        if not reached:
            raise MeshError("no peer could be reached to take the message: check --bootstrap, and try again")

    def status(self) -> dict[str, Any]:
        state, counters = self.driver.state, self.mesh.counters
        unreached = [
            {"peer": peer, "addresses": list(u.addresses), "seconds": round(u.seconds, 1), "error": u.error}
            for peer, u in sorted(self.mesh.unreached().items())
        ]
        return {
            "peer": self.mesh.me,
            "name": self.neighbours.fact.name,
            "mesh": self.config.mesh.name,
            "home": str(self.config.home),
            "pid": os.getpid(),
            "version": meshinfer.__version__,
            "addresses": list(self.mesh.addresses),
            "uptime": round(time.monotonic() - self._began, 1),
            "connected": len(self.mesh.peers),
            "known": len(state.peers),
            "unreached": unreached,
            "running": len(state.running),
            "queued": sum(len(job.ready) for job in state.jobs.values()),
            "fetching": self.fetcher.status(),
            "events": self.hub.own_head,
            "notices": [*self._notices, *self.health.notices(), *filter(None, (self._cloned, unheard_of(self._cards)))],
            "loop_lag_ms": self.health.lag(),
            "first_inference": {job: round(at, 6) for job, at in self.runner.first_inference.items()},
            "counters": {
                **counters,
                **self.hub.counters,
                **self.rejected,
                **self.records.rejected,
                **self.fetcher.counters,
            },
            "bytes_in": counters.get("bytes_in", 0),
            "bytes_out": counters.get("bytes_out", 0),
        }


def models_folder(home: Path) -> Path:
    return home / "models"
