"""What lies here, told to the schedule entry by entry and to the mesh as a summary a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from msgspec.structs import replace

from meshinfer.media.catalog import Catalog, CatalogChange
from meshinfer.model.catalog import SourceSummary
from meshinfer.node.driver import Driver
from meshinfer.node.records import Records
from meshinfer.schedule.sketch import sketch
from meshinfer.schedule.stimuli import CatalogChanged

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # the stubs that libp2p brings; trio's own types give way to them

SUMMARISE_EVERY = 1.0
"""Seconds between two summaries while a scan goes on."""

PIECE = 200
"""Entries given to the schedule at a time: matching them against every open job takes a millisecond or two."""


class Stock:
    def __init__(self, catalog: Catalog, driver: Driver, records: Records) -> None:
        self._catalog, self._driver, self._records = catalog, driver, records
        self._changed = trio.Event()

    async def serve(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        send, receive = trio.open_memory_channel[CatalogChange](16)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take, receive)
            nursery.start_soon(self._first_look)
            nursery.start_soon(self._summarise)
            await nursery.start(self._catalog.serve, send)
            task_status.started()

    async def _take(self, changes: trio.MemoryReceiveChannel[CatalogChange]) -> None:
        async for change in changes:
            complete = self._catalog.scanned.is_set()
            self._driver.feed(CatalogChanged((), change.removed, complete=complete))
            for i in range(0, len(change.added), PIECE):
                self._driver.feed(CatalogChanged(change.added[i : i + PIECE], (), complete=complete))
                await trio.lowlevel.checkpoint()
            self._changed.set()

    async def _first_look(self) -> None:
        await self._catalog.scanned.wait()
        self._driver.feed(CatalogChanged((), (), complete=True))
        self._changed.set()

    async def _summarise(self) -> None:
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            now = {summary.name: summary for summary in await self._catalog.summary()}
            contents: dict[str, list[str]] = {name: [] for name in now}
            for (source, _), entry in self._catalog.snapshot()[0].items():
                contents[source].append(entry.content)
            for name, summary in now.items():
                bits = await trio.to_thread.run_sync(sketch, contents[name])
                self._state(replace(summary, sketch=bits))
            for held in self._records.log.of_kind("source"):
                fact = held.record.fact
                if not isinstance(fact, SourceSummary) or held.record.origin != self._records.own.origin:
                    continue
                if fact.name not in now and fact.kinds:
                    self._state(SourceSummary(fact.name, (), {}, 0, 0, 0, 0.0))
            await trio.sleep(SUMMARISE_EVERY)

    def _state(self, summary: SourceSummary) -> None:
        held = self._records.log.get(self._records.own.origin, "source", summary.name)
        if held is None or held.record.fact != summary:
            self._records.state(summary)
