"""One model, brought here from several peers at once, for as long as somebody waits for it."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import trio

from meshinfer.detect.card import ModelCard
from meshinfer.errors import MeshError, ModelError, ProtocolError
from meshinfer.mesh.api import Mesh
from meshinfer.model.bundle import Bundle, Vouched
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.node.fetch_chunks import Chunks
from meshinfer.node.fetch_file import PartFile
from meshinfer.node.fetch_talk import MAX_SEALS, PROTOCOL, Held, draw, offers
from meshinfer.schedule.stimuli import FetchMoved

T = TypeVar("T")

MAX_SOURCES = 4
"""Peers that one model comes from at once."""

LOOK_EVERY = 0.5
"""Seconds between two looks at who has it and how far it is."""

RETRY, RETRY_MOST = 1.0, 60.0
"""Seconds until a source that failed is tried again, doubled each time it fails."""

REFUSED_AGAIN = 300.0
"""Seconds until somebody whose offer may not run here is asked again, for he may offer it under another seal."""

DISK_AGAIN = 30.0
"""Seconds until it is looked again for room."""


class Shelf(Held, Protocol):
    """What takes models in. Every call may read and write files: worker threads only."""

    def trusts(self, signer: PeerId) -> bool: ...

    def make_room(self, size: int, spare: Collection[ModelDigest] = ()) -> None: ...

    def take_in(self, file: Path, vouched: tuple[Vouched, ...]) -> ModelCard: ...


class Means(NamedTuple):
    """What all fetches of a peer share."""

    mesh: Mesh
    shelf: Shelf
    folder: Path
    """Of what is under way."""
    reserve: int
    """Bytes of disk that are kept free."""
    holders: Callable[[ModelDigest], Collection[PeerId]]
    called: Callable[[PeerId], str]
    in_use: Callable[[], Collection[ModelDigest]]
    on_change: Callable[[], Awaitable[None]]
    """Models have come or gone."""
    moved: Callable[[FetchMoved], None]
    streams: trio.CapacityLimiter
    threads: trio.CapacityLimiter
    reserved: dict[ModelDigest, int]
    """Bytes that each model under way will take."""
    counters: Counter[str]
    dice: random.Random


class _Source:
    """A peer that says it has the model."""

    def __init__(self) -> None:
        self.failures = 0
        self.again = 0.0
        """Not before then."""
        self.refused = ""
        """Why what it offers may not run here."""


class ModelFetch:
    def __init__(self, model: ModelDigest, means: Means) -> None:
        self.model = model
        self._means = means
        self._sources: dict[PeerId, _Source] = {}
        self._engaged: set[PeerId] = set()
        self._drawing: dict[PeerId, None] = {}
        self._chunks: Chunks | None = None
        self._opening = trio.Lock()
        self._seals: dict[PeerId, Vouched] = {}
        """Of what was offered, by signer: of all that are trusted, and of some strangers whom others may trust."""
        self._useless: dict[bytes, tuple[float, str]] = {}
        """Seals of what did not run here: not before when, and why."""
        self._trouble = ""
        self._stirred = trio.Event()
        self.news = FetchMoved(model)

    # ---- the whole ---------------------------------------------------------------------------------------------------

    async def run(self) -> ModelCard:
        """Until it is here, or cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                while (card := await self._arrived()) is None:
                    self._engage(nursery)
                    self._tell()
                    await self._stir_or(LOOK_EVERY)
                nursery.cancel_scope.cancel()
            return card
        finally:
            self._means.reserved.pop(self.model, None)
            if self._chunks is not None:
                self._chunks.file.close()

    async def _arrived(self) -> ModelCard | None:
        """The model, once all of it has come and it runs."""
        chunks = self._chunks
        if chunks is None or not chunks.complete:
            return None
        self._tell()
        self._chunks = None
        try:
            return await self._in_thread(self._take_in, chunks)
        except (ModelError, OSError) as e:
            again = trio.current_time() + (REFUSED_AGAIN if isinstance(e, ModelError) else DISK_AGAIN)
            self._useless[chunks.vouched.sealed] = again, str(e)
            self._trouble = str(e)
            return None

    def _take_in(self, chunks: Chunks) -> ModelCard:
        chunks.file.finish()
        same = [v for v in self._seals.values() if _alike(v.bundle, chunks.vouched.bundle)]
        return self._means.shelf.take_in(chunks.file.path, (chunks.vouched, *same))

    # ---- who brings it -----------------------------------------------------------------------------------------------

    def _engage(self, nursery: trio.Nursery) -> None:
        now, means = trio.current_time(), self._means
        holders = [peer for peer in means.holders(self.model) if peer != means.mesh.me]
        for gone in self._sources.keys() - set(holders) - self._engaged:
            del self._sources[gone]
        for peer in holders:
            self._sources.setdefault(peer, _Source())
        free = [p for p in sorted(holders) if p not in self._engaged and self._sources[p].again <= now]
        near = means.mesh.peers
        means.dice.shuffle(free)
        free.sort(key=lambda peer: (self._sources[peer].failures, peer not in near))
        for peer in free[: MAX_SOURCES - len(self._engaged)]:
            self._engaged.add(peer)
            nursery.start_soon(self._draw_from, peer)

    async def _draw_from(self, peer: PeerId) -> None:
        means, source = self._means, self._sources[peer]
        try:
            async with means.streams, means.mesh.open(peer, PROTOCOL) as stream:
                offered = await offers(stream, self.model, means.threads)
                chunks = await self._agree(source, offered)
                if chunks is not None:
                    self._drawing[peer], self._trouble = None, ""
                    self._tell()
                    await draw(stream, chunks, means.threads, means.counters)
                    source.failures = 0
        except (MeshError, ProtocolError) as e:
            if isinstance(e, ProtocolError):
                means.counters["model_sources_blamed"] += 1
                source.failures += 4
            self._failed(source, str(e))
        except OSError as e:
            self._failed(source, f"the disk: {e.strerror or e}")
        finally:
            self._engaged.discard(peer)
            self._drawing.pop(peer, None)
            if self._chunks is not None:
                self._chunks.give_back(peer)
            self._stir()

    def _failed(self, source: _Source, why: str) -> None:
        source.again = trio.current_time() + min(RETRY_MOST, RETRY * 2.0 ** min(source.failures, 10))
        source.failures += 1
        self._trouble = why

    async def _agree(self, source: _Source, offered: list[Vouched]) -> Chunks | None:
        """What to draw from somebody who offers this; None: nothing now."""
        now = trio.current_time()
        for v in offered:
            if len(self._seals) < MAX_SEALS or self._means.shelf.trusts(v.signer):
                self._seals[v.signer] = v
        trusted = [v for v in offered if self._means.shelf.trusts(v.signer)]
        usable = [v for v in trusted if self._useless.get(v.sealed, (0.0, ""))[0] <= now]
        source.refused = ""
        if not trusted:
            source.refused = self._refusal(offered)
        elif not usable:
            source.refused = f"refused: {self._useless[trusted[0].sealed][1]}"
        if source.refused:
            source.again = now + REFUSED_AGAIN
            return None
        async with self._opening:
            if self._chunks is None:
                self._chunks = await self._open(usable[0], source)
        chunks = self._chunks
        if chunks is None or any(_alike(v.bundle, chunks.vouched.bundle) for v in usable):
            return chunks
        self._failed(source, "another signer vouches for other chunks of the same model")  # one of the two is wrong
        return None

    def _refusal(self, offered: list[Vouched]) -> str:
        signers = " and ".join(f"{self._means.called(v.signer)} ({v.signer})" for v in offered[:2])
        return f"refused: signed by {signers}, who is not among this peer's signers: add it to [models] signers"

    # ---- where it goes -----------------------------------------------------------------------------------------------

    async def _open(self, vouched: Vouched, source: _Source) -> Chunks | None:
        """None where there is no room for it."""
        means, size = self._means, vouched.bundle.size
        means.reserved[self.model] = size
        file = PartFile(means.folder, vouched.bundle)
        try:
            spare = {*means.in_use(), self.model}
            missing = await self._in_thread(self._make_room, file, sum(means.reserved.values()), spare)
        except (ModelError, OSError) as e:
            file.close()
            del means.reserved[self.model]
            source.again = trio.current_time() + DISK_AGAIN
            self._trouble = str(e)
            return None
        chunks = Chunks(vouched, file, missing)
        try:
            await means.on_change()  # others may have gone for it
        except trio.Cancelled:
            file.close()
            raise
        return chunks

    def _make_room(self, file: PartFile, size: int, spare: Collection[ModelDigest]) -> set[int]:
        """Raises ModelError where there is none."""
        folder, reserve = self._means.folder, self._means.reserve
        self._means.shelf.make_room(size, spare)
        folder.mkdir(parents=True, exist_ok=True)
        left = shutil.disk_usage(folder).free - file.lacks()
        if left < reserve:
            raise ModelError(
                f"no room for a model of {file.bundle.size / 2**20:.1f} MB: {reserve // 2**20} MB of disk are kept "
                "free (limits.disk_reserve_mb)"
            )
        return file.open()

    # ---- what is told ------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        news = self._news()
        if news != self.news:
            self.news = news
            self._means.moved(news)

    def _news(self) -> FetchMoved:
        chunks = self._chunks
        got, size = (chunks.got, chunks.vouched.bundle.size) if chunks is not None else (0, 0)
        if self._drawing:
            return FetchMoved(self.model, got, size, tuple(self._drawing))
        refusals = [source.refused for source in self._sources.values() if source.refused]
        untried = any(not source.refused and not source.failures for source in self._sources.values())
        if refusals and (self.news.refused or not untried):  # until somebody brings it after all
            return FetchMoved(self.model, got, size, (), refusals[0], refused=True)
        return FetchMoved(self.model, got, size, (), self._trouble)

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(function, *args, limiter=self._means.threads)

    def _stir(self) -> None:
        self._stirred.set()

    async def _stir_or(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._stirred.wait()
        self._stirred = trio.Event()


def _alike(one: Bundle, other: Bundle) -> bool:
    return (one.file, one.size, one.sidecar, one.chunks) == (other.file, other.size, other.sidecar, other.chunks)
