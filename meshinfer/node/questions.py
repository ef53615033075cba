"""Questions that peers ask each other over short streams: what would you do with this job, and what do you hold?"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import trio

from meshinfer.errors import MeshError, ProtocolError
from meshinfer.media.catalog import Catalog
from meshinfer.mesh.api import Mesh, Stream
from meshinfer.model.ids import PeerId
from meshinfer.model.job import JobOrder, job_id, read_order
from meshinfer.model.verdict import Verdict
from meshinfer.node.driver import Driver
from meshinfer.node.paging import by_size, next_frame
from meshinfer.schedule import verdict
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import (
    Ask,
    CatalogOf,
    CatalogPage,
    read_ask,
    read_catalog,
    read_catalog_of,
    read_verdict,
)

ASK, CATALOG = "ask", "catalog"
PATIENCE = 5.0
MAX_PAGES = 10_000


class Questions:
    """Answers others, and asks them."""

    def __init__(self, mesh: Mesh, driver: Driver, catalog: Catalog) -> None:
        self._mesh, self._driver, self._catalog = mesh, driver, catalog
        mesh.serve(ASK, self._on_ask)
        mesh.serve(CATALOG, self._on_catalog)

    def answer(self, ask: Ask) -> Verdict:
        state = self._driver.state
        if ask.job is not None:
            job = state.jobs.get(ask.job)
            if job is None:
                return Verdict("unknown", "has not heard of this job")
            return verdict.on_job(state, job, trio.current_time())
        if ask.spec is None or ask.model is None:
            raise ProtocolError("a question about nothing")
        nonce = bytes(8)
        order = JobOrder(job_id(ask.spec, ask.model, nonce), ask.spec, ask.model, nonce, 0.0)
        return verdict.on_spec(state, read_order(order, self._mesh.me))

    async def ask(self, peer: PeerId, ask: Ask, patience: float = PATIENCE) -> Verdict:
        """Raises MeshError or ProtocolError."""
        if peer == self._mesh.me:
            return self.answer(ask)
        with trio.move_on_after(patience):
            async with self._mesh.open(peer, ASK) as stream:
                await stream.send(encode(ask))
                return read_verdict(await stream.receive() or b"")
        raise MeshError("no answer in time")

    async def _on_ask(self, stream: Stream) -> None:
        await stream.send(encode(self.answer(read_ask(await stream.receive() or b""))))

    async def catalog_of(self, peer: PeerId) -> AsyncGenerator[CatalogPage, None]:
        """Everything that a peer holds, page by page. Raises MeshError or ProtocolError."""
        if peer == self._mesh.me:
            for page in self._pages():
                yield page
            return
        async with self._mesh.open(peer, CATALOG) as stream:
            await stream.send(encode(CatalogOf()))
            for _ in range(MAX_PAGES):
                data = await next_frame(stream, PATIENCE)
                if data is None:
                    return
                yield read_catalog(data)
        raise ProtocolError("a catalog without end")

    async def _on_catalog(self, stream: Stream) -> None:
        read_catalog_of(await stream.receive() or b"")
        for page in self._pages():
            await stream.send(encode(page))

    def _pages(self) -> Iterator[CatalogPage]:
        entries, unreadable = self._catalog.snapshot()
        yield from (CatalogPage(page) for page in by_size(entries.values(), most=1000))
        yield from (CatalogPage((), page) for page in by_size(unreadable.values(), most=1000))
