#!/usr/bin/env python3
"""Two peers in two processes over loopback: a model fetched and verified, beside the raw stream between the same two.

scripts/bench_fetch.py [MB]      prints one line a figure; bound: a fetch reaches 60 % of the stream
"""

from __future__ import annotations

import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from meshinfer.mesh.api import MAX_FRAME, Stream
from meshinfer.mesh.identity import Identity, ephemeral
from meshinfer.mesh.libp2p import open_mesh
from meshinfer.model.bundle import CHUNK, Bundle, Vouched
from meshinfer.model.facts import ModelRef, PeerFact
from meshinfer.model.ids import ModelDigest, PeerId
from meshinfer.node.driver import Driver
from meshinfer.node.fetch import Fetcher
from meshinfer.node.fetch_talk import ModelServer
from meshinfer.schedule.state import ScheduleState
from meshinfer.schedule.stimuli import Effect, Fetch
from meshinfer.wire.bundles import seal_bundle

ANY_PORT = ("/ip4/127.0.0.1/tcp/0",)
BOUND = 0.6
ROUNDS = 5
PEER = Identity.from_seed(bytes(32))


class Cupboard:
    """A shelf of one file, whatever is in it: what a runtime takes to load it is no matter of the fetch."""

    def __init__(self, folder: Path, vouched: Vouched | None = None) -> None:
        self._folder, self._vouched = folder, vouched

    def vouched(self, digest: ModelDigest) -> tuple[Vouched, ...]:
        return (self._vouched,) if self._vouched is not None and self._vouched.bundle.digest == digest else ()

    def path(self, digest: ModelDigest) -> Path:
        return self._folder / digest

    def trusts(self, signer: PeerId) -> bool:
        return signer == PEER.peer_id

    def make_room(self, size: int, spare: Collection[ModelDigest] = ()) -> None:
        """There is enough."""

    def take_in(self, file: Path, vouched: tuple[Vouched, ...]) -> object:
        """As the shelf does, the whole file is hashed once more."""
        with file.open("rb") as opened:
            assert hashlib.file_digest(opened, "sha256").hexdigest() == vouched[0].bundle.file
        return file.replace(self._folder / vouched[0].bundle.digest)


def made(folder: Path, size: int) -> Vouched:
    data = random.Random(1).randbytes(size)
    digest = ModelDigest(hashlib.sha256(data).hexdigest())
    (folder / digest).write_bytes(data)
    chunks = tuple(hashlib.sha256(data[i : i + CHUNK]).digest() for i in range(0, size, CHUNK))
    return seal_bundle(Bundle("m", "", digest, size, b"", chunks), PEER.peer_id, PEER.sign)


async def serve(folder: Path, size: int) -> None:
    async def bulk(stream: Stream) -> None:
        for sent in range(0, size, MAX_FRAME):
            await stream.send(bytes(min(MAX_FRAME, size - sent)))

    vouched = made(folder, size)
    async with open_mesh(PEER, listen=ANY_PORT, mesh="bench") as mesh:
        mesh.serve("bulk", bulk)
        ModelServer(mesh, Cupboard(folder, vouched), Counter())
        print(mesh.addresses[0], vouched.bundle.digest, flush=True)
        await trio.sleep_forever()


async def measure(folder: Path, address: str, model: ModelDigest, size: int) -> bool:
    raw, fetched = [], []
    async with open_mesh(ephemeral(), listen=ANY_PORT, mesh="bench", bootstrap=(address,)) as mesh:
        while not mesh.peers:
            await trio.sleep(0.01)
        arrived = trio.Event()

        async def on_change() -> None:
            if (folder / model).exists():
                arrived.set()

        driver = Driver(ScheduleState(mesh.me, fetches=True), _ignored)
        fact = PeerFact("server", {}, (), "1", 1, 1, models=(ModelRef("m", model),))
        driver.state.models.heard(PEER.peer_id, fact)
        shelf = Cupboard(folder)
        fetcher = Fetcher(mesh, driver, shelf, folder, reserve=0, on_change=on_change, dice=random.Random(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetcher.serve)
            for _ in range(ROUNDS):
                began = time.perf_counter()
                async with mesh.open(PEER.peer_id, "bulk") as stream:
                    while await stream.receive() is not None:
                        pass
                raw.append(size / 1e6 / (time.perf_counter() - began))
                arrived = trio.Event()
                began = time.perf_counter()
                fetcher.perform(Fetch(model))
                await arrived.wait()
                fetched.append(size / 1e6 / (time.perf_counter() - began))
                (folder / model).unlink()
            nursery.cancel_scope.cancel()
    ratio = statistics.median(f / r for f, r in zip(fetched, raw, strict=True))
    print(f"raw stream:  {statistics.median(raw):6.1f} MB/s")
    print(f"model fetch: {statistics.median(fetched):6.1f} MB/s, of {size / 2**20:.0f} MiB, verified and on disk")
    print(f"ratio: {ratio:.2f} (bound: at least {BOUND}) {'ok' if ratio >= BOUND else 'MISSED'}")
    return ratio >= BOUND


def _ignored(effect: Effect) -> None:
    """Nothing is scheduled here."""


def main() -> int:
    if sys.argv[1:2] == ["serve"]:
        trio.run(serve, Path(sys.argv[2]), int(sys.argv[3]))
        return 0
    size = int(sys.argv[1] if sys.argv[1:] else 64) * 2**20
    with tempfile.TemporaryDirectory() as there, tempfile.TemporaryDirectory() as here:
        command = [sys.executable, __file__, "serve", there, str(size)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
            try:
                assert server.stdout is not None
                address, model = server.stdout.readline().split()
                good = trio.run(measure, Path(here), address, ModelDigest(model), size)
            finally:
                server.terminate()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
