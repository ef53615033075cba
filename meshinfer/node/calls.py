"""What the owner can ask of a node: one method a call of docs/CONTROL.md."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from meshinfer.detect.shelf.views import loaded_view
from meshinfer.errors import ConfigError, MeshError, ProtocolError, StoreError
from meshinfer.model.detection import Cursor
from meshinfer.model.facts import Cancel, ModelRef
from meshinfer.model.ids import JobId, ModelDigest, PeerId
from meshinfer.model.job import Detect, JobOrder, JobSpec, job_id, pack_spec
from meshinfer.model.jobfile import read_spec
from meshinfer.model.typed import typed
from meshinfer.node.channel_calls import ChannelCalls
from meshinfer.node.closing import closing
from meshinfer.node.follow import Follower
from meshinfer.node.merge import merged
from meshinfer.node.model_calls import ModelCalls
from meshinfer.node.subscription import Filter, Subscription
from meshinfer.node.views import (
    View,
    event_view,
    job_view,
    missing_view,
    peers_view,
    seen_view,
    story_view,
    verdict_view,
)
from meshinfer.schedule.log import MAX_LISTED
from meshinfer.schedule.state import ScheduleState
from meshinfer.wire.messages import Ask, CatalogPage, ResultsOf

if TYPE_CHECKING:
    from meshinfer.node.control import Call
    from meshinfer.node.node import Node

Args = dict[str, Any]
Answers = AsyncGenerator[dict[str, Any], None]

_AGO = re.compile(r"^(\d+(?:\.\d+)?)(s|m|h|d)?$")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
PUBLISH_PATIENCE = 15.0
JOIN_PATIENCE = 3.0
"""Seconds in which a node that has just started hears of the peers behind its bootstrap peer."""
MAX_FETCHED = 50
"""Jobs, the newest, whose state is asked of those that take part when all are listed."""


class Calls:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._follower = Follower(node.driver, node.questions, node.sync)

    def table(self) -> dict[str, Call]:
        return {
            "status": self.status,
            "peers": self.peers,
            "catalog": self.catalog,
            "publish": self.publish,
            "dry_run": self.dry_run,
            "cancel": self.cancel,
            "jobs": self.jobs,
            "job": self.job,
            "follow": self.follow,
            "subscribe": self.subscribe,
            "results": self.results,
            "forget": self.forget,
            **ModelCalls(self._node).table(),
            "infer": self.infer,
            **ChannelCalls(self._node, self._follower).table(),
            "doctor": self.doctor,
            "shutdown": self.shutdown,
        }

    async def status(self, args: Args) -> Answers:
        loaded = await trio.to_thread.run_sync(loaded_view, self._node.shelf)
        yield {"end": {**self._node.status(), **loaded}}

    async def peers(self, args: Args) -> Answers:
        node = self._node
        yield {"end": {"peers": peers_view(node.driver.state, node.seen, node.mesh.kept_out(), trio.current_time())}}

    async def doctor(self, args: Args) -> Answers:
        yield {"end": {"checks": await self._node.doctor.examine()}}

    async def shutdown(self, args: Args) -> Answers:
        yield {"end": {}}
        self._node.stop.set()

    # ---- jobs --------------------------------------------------------------------------------------------------------

    async def _order(self, args: Args) -> tuple[JobSpec, JobOrder]:
        spec = await self._node.pin_second(read_spec(args.get("spec") or {}))
        spec, digest = self._node.rollout.pin(spec) or (spec, await self._node.resolve(spec))
        packed, nonce = pack_spec(spec), self._node.nonce()
        await self._check_classes(spec, packed, digest)
        return spec, JobOrder(job_id(packed, digest, nonce), packed, digest, nonce, time.time())

    async def _check_classes(self, spec: JobSpec, packed: bytes, digest: ModelDigest) -> None:
        """Where a model lies elsewhere only its holders know its classes: ask one."""
        state, then = self._node.driver.state, spec.then
        asked = {digest: ("$.detect.classes", spec.asked)}
        if then is not None and then.digest is not None:
            asked.setdefault(then.digest, ("$.then", then.classes))
        for model, (where, classes) in asked.items():
            holders = [p for p in sorted(state.connected) if any(m.digest == model for m in _models(state, p))]
            if not classes or model in state.models.here or not holders:
                continue
            with suppress(MeshError, ProtocolError):
                verdict = await self._node.questions.ask(holders[0], Ask(spec=packed, model=digest))
                if verdict.cause == "classes":
                    raise ConfigError(f"{where}: {verdict.reason}")

    async def publish(self, args: Args) -> Answers:
        spec, order = await self._order(args)
        state = self._node.driver.state
        self._check_room()
        self._node.records.state(order)
        with trio.move_on_after(PUBLISH_PATIENCE):
            while order.id not in state.jobs:
                await self._node.driver.changed()
        if order.id not in state.jobs:
            raise StoreError(
                f"job {order.id} is not written down yet ({state.no_room or 'the disk is slow'}): it goes out when it "
                "can be; don't publish it again, see `meshinfer jobs` and `meshinfer status`"
            )
        await self._node.spread()
        said = {"job": order.id, "name": spec.name, "model": spec.model, "digest": order.model}
        yield {"end": {**said, "peers": len(state.connected)}}

    def _check_room(self) -> None:
        """Of one peer's jobs the mesh keeps the newest: none that is open is pushed out. Raises ConfigError."""
        log, now = self._node.records.log, trio.current_time()
        oldest = log.oldest(log.own.origin, "job")
        job = self._node.driver.state.jobs.get(JobId(oldest.key)) if oldest is not None else None
        if job is not None and job.is_open(now):
            raise ConfigError(
                f"this peer has published {MAX_LISTED} jobs and the oldest, {job.name} {job.id}, is still open: "
                f"meshinfer cancel {job.id}, or publish from another peer"
            )

    async def dry_run(self, args: Args) -> Answers:
        spec, order = await self._order(args)
        async with self._node.neighbours.near():
            verdicts, missing = await self._follower.ask_all(Ask(spec=order.spec, model=order.model))
        state = self._node.driver.state
        views = [verdict_view(state, peer, v) for peer, v in sorted(verdicts.items())]
        end = {"model": spec.model, "digest": order.model, "verdicts": views, "missing": missing_view(state, missing)}
        yield {"end": end}

    async def cancel(self, args: Args) -> Answers:
        job = self._follower.find(str(args.get("job", "")))
        self._node.records.state(Cancel(job.id, str(args.get("why") or "by its owner")[:500]))
        with trio.move_on_after(PUBLISH_PATIENCE):
            while job.cancelled is None:
                await self._node.driver.changed()
        if job.cancelled is None:
            raise StoreError(
                "the cancel is not written down yet: it goes out as soon as it can be; see `meshinfer status`"
            )
        await self._node.spread()
        yield {"end": {"job": job.id, "name": job.name}}

    async def jobs(self, args: Args) -> Answers:
        state, now = self._node.driver.state, trio.current_time()
        jobs = sorted(state.jobs.values(), key=lambda job: (job.born, job.id), reverse=True)
        await self._follower.fetch(*jobs[:MAX_FETCHED])
        yield {"end": {"jobs": [job_view(state, job, now) for job in jobs[:200]]}}

    async def job(self, args: Args) -> Answers:
        job = self._follower.find(str(args.get("job", "")))
        async with self._node.neighbours.near():
            view = await self._follower.describe(job)
        if args.get("explain"):
            view["story"] = story_view(self._node.driver.state, job, trio.current_time())
        yield {"end": view}

    async def follow(self, args: Args) -> Answers:
        view: View = {}
        job = self._follower.find(str(args.get("job", "")))
        async with self._node.neighbours.near(), closing(self._follower.follow(job)) as views:
            async for view in views:
                yield {"data": {"progress": view}}
        yield {"end": {"summary": view}}

    # ---- what is held, what was found --------------------------------------------------------------------------------

    async def catalog(self, args: Args) -> Answers:
        state = self._node.driver.state
        entries, missing = 0, {}
        async with self._node.neighbours.near(None if args.get("all") else ()):
            for peer in [state.me, *(sorted(state.connected) if args.get("all") else ())]:
                try:
                    async with aclosing(self._node.questions.catalog_of(peer)) as pages:
                        async for page in pages:
                            entries += len(page.entries)
                            for line in _catalog_lines(page, peer, state.called(peer)):
                                yield line
                except (MeshError, ProtocolError) as e:
                    missing[peer] = str(e)
        yield {"end": {"entries": entries, "missing": missing_view(state, missing)}}

    async def subscribe(self, args: Args) -> Answers:
        node = self._node
        ago, cursor = _since(args.get("since"))
        labels = args.get("label") or []
        job = self._follower.find(str(args["job"])) if args.get("job") else None
        wanted = Filter(
            job=None if job is None else job.id,
            labels=tuple(labels if isinstance(labels, list) else [labels]),
            min_score=_number(args, "min_score"),
            source=args.get("source") or None,
            peer=args.get("peer") or None,
        )
        subscription = Subscription(
            node.mesh,
            node.hub,
            node.archive,
            wanted=wanted,
            ago=ago,
            cursor=cursor,
            serves=lambda task: job is not None and bool(job.holders(task)),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(subscription.serve)
            async with closing(subscription.items()) as items:
                async for item in items:
                    if isinstance(item, str):
                        yield {"data": {"notice": item}}
                    else:
                        yield {"data": {"event": event_view(node.driver.state, item)}}

    async def results(self, args: Args) -> Answers:
        node = self._node
        job = self._follower.find(str(args.get("job", "")))
        await self._follower.fetch(job)
        ask = ResultsOf(job.id, min(64, int(_number(args, "annotate"))))
        async with (
            node.neighbours.near(job.held),
            aclosing(merged(node.driver.state, node.findings, job, ask)) as answers,
        ):
            async for answer in answers:
                yield answer

    async def forget(self, args: Args) -> Answers:
        node, state = self._node, self._node.driver.state
        peer = self._find_peer(str(args.get("peer", "")))
        if peer == state.me:
            raise ConfigError("that is this peer itself: to retire it, stop it and forget it at the others")
        if peer in state.connected:
            raise ConfigError(f"{state.called(peer)} is connected, so it is not gone: stop it first")
        name, records = state.called(peer), node.records.forget(peer)  # first: its record would make it known again
        await node.neighbours.forget(peer)
        yield {"end": {"peer": peer, "name": name, "records": records}}

    def _find_peer(self, text: str) -> PeerId:
        """By id, the end of one, or name. Raises ConfigError."""
        peers = self._node.driver.state.peers
        if text in peers:
            return PeerId(text)
        matches = [
            p for p, fact in peers.items() if text and (fact.name == text or (len(text) >= 4 and p.endswith(text)))
        ]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ConfigError(f"{text!r} names {len(matches)} peers: give an id, see `meshinfer peers`")
        raise ConfigError(f"no peer {text!r} is known here; `meshinfer peers` lists those that are")

    async def _find_soon(self, text: str) -> PeerId:
        """A peer that a program names right after it joined may still be on its way here. Raises ConfigError."""
        until = trio.current_time() + JOIN_PATIENCE
        while True:
            try:
                return self._find_peer(text)
            except ConfigError:
                if trio.current_time() >= until:
                    raise
            with trio.move_on_at(until):
                await self._node.driver.changed()

    async def infer(self, args: Args) -> Answers:
        """Absolute paths, one after another."""
        node = self._node
        detect = typed(args.get("detect") or {}, Detect, where="infer")
        peer = await self._find_soon(str(args["peer"])) if args.get("peer") else node.mesh.me
        files = args.get("files") or []
        for file in files if isinstance(files, list) else [files]:
            seen = await node.inference.on(peer, str(args.get("model", "")), detect, Path(str(file)))
            yield {"data": {"file": file, **seen_view(seen)}}
        yield {"end": {"peer": peer, "name": node.driver.state.called(peer)}}


def _models(state: ScheduleState, peer: PeerId) -> tuple[ModelRef, ...]:
    fact = state.peers.get(peer)
    return fact.models if fact else ()


def _catalog_lines(page: CatalogPage, peer: PeerId, name: str) -> list[dict[str, Any]]:
    who = {"peer": peer, "peer_name": name}
    return [
        *({"data": {"entry": {**who, **msgspec.structs.asdict(entry)}}} for entry in page.entries),
        *({"data": {"unreadable": {**who, **msgspec.structs.asdict(bad)}}} for bad in page.unreadable),
    ]


def _number(args: Args, name: str) -> float:
    value = args.get(name) or 0.0
    if not isinstance(value, int | float):
        raise ConfigError(f"{name}: {value!r} is no number")
    return float(value)


def _since(text: object) -> tuple[float, Cursor | None]:
    """`10m` -> seconds; `peer/incarnation/n` -> a cursor. Raises ConfigError."""
    if not text:
        return 0.0, None
    if match := _AGO.match(str(text)):
        return float(match[1]) * _SECONDS[match[2]], None
    parts = str(text).split("/")
    if len(parts) == 3 and all(part.isdigit() and len(part) < 19 for part in parts[1:]):
        return 0.0, Cursor(PeerId(parts[0]), int(parts[1]), int(parts[2]))
    raise ConfigError(f"--since {text}: give a time such as 10m, or an event's cursor (peer/incarnation/n)")
