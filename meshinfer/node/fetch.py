"""Models from other peers: what the schedule waits for is brought here, each model once, and others are served."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from meshinfer.mesh.api import Mesh
from meshinfer.model.ids import ModelDigest
from meshinfer.node.driver import Driver
from meshinfer.node.fetch_model import Means, ModelFetch, Shelf
from meshinfer.node.fetch_talk import ModelServer
from meshinfer.schedule.stimuli import Fetch, Forgo

MAX_STREAMS = 8
"""Peers that models come from at once, of all models: with the chunks under way on each, 10 MB of memory."""

THREADS = 3
"""That check and write what comes."""

KEPT = 86_400.0
"""Seconds that the beginning of a model which nobody waits for is kept."""


class Fetcher:
    def __init__(
        self,
        mesh: Mesh,
        driver: Driver,
        shelf: Shelf,
        folder: Path,
        *,
        reserve: int,
        on_change: Callable[[], Awaitable[None]],
        dice: random.Random,
    ) -> None:
        """`folder`: of what is under way. `reserve`: bytes of disk to keep free. `on_change`: the shelf has changed."""
        state = driver.state
        self.counters: Counter[str] = Counter()
        self._means = Means(
            mesh=mesh,
            shelf=shelf,
            folder=folder,
            reserve=reserve,
            holders=lambda model: state.models.holders.get(model, {}),
            called=state.called,
            in_use=lambda: state.models.in_use(trio.current_time()),
            on_change=on_change,
            moved=driver.feed,
            streams=trio.CapacityLimiter(MAX_STREAMS),
            threads=trio.CapacityLimiter(THREADS),
            reserved={},
            counters=self.counters,
            dice=dice,
        )
        self._wanted: dict[ModelDigest, None] = {}
        self._under_way: dict[ModelDigest, ModelFetch] = {}
        self._scopes: dict[ModelDigest, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        ModelServer(mesh, shelf, self.counters)

    def perform(self, effect: Fetch | Forgo) -> None:
        match effect:
            case Fetch(model):
                self._wanted[model] = None
                self._begin(model)
            case Forgo(model):
                self._wanted.pop(model, None)
                if model in self._scopes:
                    self._scopes[model].cancel()

    async def serve(self) -> None:
        await trio.to_thread.run_sync(self._tidy)
        async with trio.open_nursery() as self._nursery:
            for model in self._wanted:
                self._begin(model)
            await trio.sleep_forever()

    def _begin(self, model: ModelDigest) -> None:
        """One at a time of each model: one that was let go of and is wanted again waits until it has ended."""
        if self._nursery is not None and model not in self._scopes:
            self._scopes[model] = trio.CancelScope()
            self._nursery.start_soon(self._fetch, model)

    async def _fetch(self, model: ModelDigest) -> None:
        fetch = self._under_way[model] = ModelFetch(model, self._means)
        arrived = False
        try:
            with self._scopes[model]:
                await fetch.run()
                arrived = True
        finally:
            del self._under_way[model], self._scopes[model]
        if arrived:
            self.counters["models_fetched"] += 1
            await self._means.on_change()
        elif model in self._wanted:
            self._begin(model)

    def _tidy(self) -> None:
        """What was begun long ago goes: it would be found again by its hashes, but nobody seems to need it."""
        for path in self._means.folder.glob("*.part"):
            if path.stat().st_mtime < time.time() - KEPT:
                path.unlink(missing_ok=True)

    def status(self) -> list[dict[str, Any]]:
        """What is under way, in plain values."""
        called = self._means.called
        return [
            {
                "model": model,
                "bytes": fetch.news.got,
                "size": fetch.news.size,
                "from": [called(peer) for peer in fetch.news.sources],
                "trouble": fetch.news.trouble,
            }
            for model, fetch in sorted(self._under_way.items())
        ]
