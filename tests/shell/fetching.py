"""Peers that fetch models: a node's shelf and fetcher on the in-memory mesh, over a model of fifteen chunks."""

from __future__ import annotations

import random
import shutil
from functools import cache
from typing import Any, ClassVar

import numpy as np

from meshinfer.detect.shelf import Shelf
from meshinfer.mesh.api import Stream
from meshinfer.mesh.memory import MemoryMesh
from meshinfer.model.bundle import CHUNK, Vouched
from meshinfer.model.ids import ModelDigest
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec
from meshinfer.node.fetch import Fetcher
from meshinfer.node.fetch_talk import PROTOCOL
from meshinfer.node.portrait import model_refs
from meshinfer.schedule.stimuli import CatalogChanged, Effect, Fetch, Forgo, ModelsChanged
from meshinfer.wire.codec import encode
from meshinfer.wire.messages import ModelSeal, read_want_chunk, read_want_model
from tests.shell.support import Peer, entry, who
from tests.vision.tiny_onnx import constant_model

BUDGET = 8 * 2**20


@cache
def onnx(seed: int = 1) -> bytes:
    """A detector whose every chunk is another."""
    return constant_model(1 + np.random.default_rng(seed).random((1, 84, 8400), dtype=np.float32), (640, 640))


class Fetching(Peer):
    fetches = True
    trusts: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Whose models may run at whom, by name; at all others alice's."""
    reserve: ClassVar[dict[str, int]] = {}
    """Bytes of disk that somebody keeps free."""

    def _wire(self, mesh: MemoryMesh) -> None:
        super()._wire(mesh)
        signers = [who(name).peer_id for name in self.trusts.get(self.name, ("alice",))]
        self.shelf = Shelf(
            self.world.folder / self.name / "models",
            self.id,
            self.identity.sign,
            signers=signers,
            budget=BUDGET,
            embedded=None,
        )
        self.fetcher = Fetcher(
            mesh,
            self.driver,
            self.shelf,
            self.world.folder / self.name / "fetching",
            reserve=self.reserve.get(self.name, 0),
            on_change=self.models_changed,
            dice=random.Random(self.name),
        )
        self.more = (self.fetcher,)
        self._use()

    def _use(self) -> None:
        cards = self.shelf.runnable()
        self.driver.feed(ModelsChanged({card.digest: card.classes for card in cards}, self.shelf.refused()))
        self.neighbours.state_again(models=model_refs(cards, {}))

    async def models_changed(self) -> None:
        self._use()

    def _perform(self, effect: Effect) -> None:
        super()._perform(effect)
        if isinstance(effect, Fetch | Forgo):
            self.fetcher.perform(effect)

    # ---- what tests do -----------------------------------------------------------------------------------------------

    def add(self, seed: int = 1, name: str = "m") -> ModelDigest:
        file = self.world.folder / f"{name}.onnx"
        file.write_bytes(onnx(seed))
        digest = self.shelf.add(file, name).digest
        self._use()
        return digest

    def copy_from(self, other: Fetching, model: ModelDigest) -> None:
        """As if it had been fetched long ago."""
        file = self.world.folder / f"{self.name}.copy"
        shutil.copyfile(other.shelf.path(model), file)
        self.shelf.take_in(file, other.shelf.vouched(model))
        self._use()

    def finds(self, *names: str) -> None:
        self.driver.feed(CatalogChanged(tuple(map(entry, names))))

    def publishes(self, model: ModelDigest, nonce: str = "n", **spec: Any) -> JobOrder:
        packed, salt = pack_spec(JobSpec(**{"model": "m", **spec})), nonce.encode().ljust(8, b"-")
        made = JobOrder(job_id(packed, model, salt), packed, model, salt, 0.0)
        self.records.state(made)
        return made

    def count(self, kind: type[Effect]) -> int:
        return sum(isinstance(effect, kind) for effect in self.performed)

    @property
    def came(self) -> int:
        """Bytes of models."""
        return self.fetcher.counters["model_bytes_in"]


class Liar:
    """Serves a model under its true seal, and other bytes than it has."""

    def __init__(self, mesh: MemoryMesh, vouched: Vouched) -> None:
        self._vouched = vouched
        self.asked = 0
        mesh.serve(PROTOCOL, self._answer)

    async def _answer(self, stream: Stream) -> None:
        read_want_model(await stream.receive() or b"")
        await stream.send(encode(ModelSeal(self._vouched.sealed)))
        while (data := await stream.receive()) is not None:
            read_want_chunk(data)
            self.asked += 1
            await stream.send(bytes(CHUNK))
