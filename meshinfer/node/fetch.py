"""Models from other peers: what the schedule waits for is brought here, each model once, and others are served."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from meshinfer.errors import ModelError
from meshinfer.mesh.api import Mesh
from meshinfer.model.ids import ModelDigest
from meshinfer.node.driver import Driver
from meshinfer.node.fetch_model import Means, ModelFetch, Shelf
from meshinfer.node.fetch_talk import ModelServer
from meshinfer.schedule.stimuli import Fetch, FetchMoved, Forgo

MAX_STREAMS = 8
"""Peers that models come from at once, of all models: with the chunks under way on each, 10 MB of memory."""

THREADS = 3
"""That check and write what comes."""

BY_HAND_EVERY = 0.2
"""Seconds between two words on what somebody waits for."""

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
        self._by_hand: Counter[ModelDigest] = Counter()
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
                self._let_go(model)

    async def bring(self, model: ModelDigest) -> AsyncGenerator[FetchMoved, None]:
        """Because somebody asks for it; ends when it is here. Raises ModelError where it is refused."""
        self._by_hand[model] += 1
        try:
            self._begin(model)
            while (fetch := self._under_way.get(model)) is not None or model in self._scopes:
                if fetch is not None:
                    if fetch.news.refused:
                        raise ModelError(fetch.news.trouble)
                    yield fetch.news
                await trio.sleep(BY_HAND_EVERY)
        finally:
            self._by_hand[model] -= 1
            if not self._by_hand[model]:
                del self._by_hand[model]
            self._let_go(model)

    def _let_go(self, model: ModelDigest) -> None:
        if model in self._scopes and model not in self._wanted and not self._by_hand[model]:
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
        elif model in self._wanted or self._by_hand[model]:
            self._begin(model)

    def _tidy(self) -> None:
        """What was begun long ago goes: it would be found again by its hashes, but nobody seems to need it."""
        for path in self._means.folder.glob("*.part"):
            with suppress(OSError):  # it lies there on
                if path.stat().st_mtime < time.time() - KEPT:
                    path.unlink()

    def status(self) -> list[dict[str, Any]]:
        """What is under way, in plain values."""
        return [self.view(fetch.news) for _, fetch in sorted(self._under_way.items())]

    def view(self, news: FetchMoved) -> dict[str, Any]:
        sources = [self._means.called(peer) for peer in news.sources]
        return {
            "model": news.model,
            "bytes": news.got,
            "size": news.size,
            "from": sources,
            "trouble": news.trouble,
        }
