"""Chaos with real processes; run by scripts/chaos.

Peers with overlapping footage run jobs of both scopes while random ones of them are killed (SIGKILL), stopped in the
usual way (SIGTERM) or frozen (SIGSTOP) for a while, and started again. At the end every peer must name every job done,
and the merged results that any of them collects must equal those of a plain loop: nothing missing, nothing twice.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from meshinfer.demo import footage
from meshinfer.detect.shelf import EMBEDDED
from meshinfer.errors import MeshInferError
from meshinfer.model.job import Detect
from tests.story.peers import PeerProcess, eventually, mesh
from tests.story.plain import as_found, detect_all

SETTLE = 180.0
"""Seconds after the chaos in which everything must be done."""

DETECT = Detect(min_score=0.4)


class Chaos:
    def __init__(self, folder: Path, start: Callable[..., PeerProcess], rng: random.Random, count: int) -> None:
        self.folder, self.rng = folder, rng
        self.videos = [*footage(folder / "drawn", 1, 2, 60.0), *footage(folder / "drawn2", 2, 1, 60.0)]
        self.held: dict[str, list[Path]] = {}
        self.peers: dict[str, PeerProcess] = {}
        self.down: dict[str, float] = {}
        self.done: Counter[str] = Counter()
        self.jobs: dict[str, dict[str, Any]] = {}
        for i in range(count):
            name = f"peer{i}"
            # The last one holds nothing; of the others each video has two holders or more.
            self.held[name] = [] if i == count - 1 else [v for k, v in enumerate(self.videos) if (i + k) % 3 != 2]
            source = folder / f"footage{i}"
            source.mkdir()
            for video in self.held[name]:
                shutil.copy(video, source / f"{video.parent.name}-{video.name}")
            join = ("--bootstrap", self.peers["peer0"].address) if i else ()
            self.peers[name] = start(name, "--source", f"cam={source}", *join)
            # Keep the port over restarts, as a peer with a configured port does.
            address = self.peers[name].address.rpartition("/p2p/")[0]
            self.peers[name].flags = (*self.peers[name].flags, "--listen", address)
        for name, peer in self.peers.items():
            peer.wait_connected(count - 1)
            peer.wait_entries(len(self.held[name]))

    def run(self, seconds: float) -> None:
        until, next_job = time.monotonic() + seconds, 0.0
        while time.monotonic() < until:
            if time.monotonic() >= next_job:
                self.publish()
                next_job = time.monotonic() + self.rng.uniform(8, 20)
            time.sleep(self.rng.uniform(0.3, 2))
            self.raise_the_dead()
            name = self.rng.choice(sorted(self.peers))
            if name not in self.down:
                self.hurt(name)
        self.raise_the_dead(all_of_them=True)

    def publish(self) -> None:
        up = sorted(self.peers.keys() - self.down.keys())
        if not up:
            return
        name = self.rng.choice(up)
        spec: dict[str, Any] = {
            "model": "yard-demo",
            "on": {"kind": "video"},
            "scope": self.rng.choice(["once", "every"]),
            "sample": {"every": self.rng.choice([1, 2, 3])},
            "detect": {"min_score": DETECT.min_score},
        }
        try:
            self.jobs[self.peers[name].publish(**spec)] = spec
            self.done["jobs"] += 1
        except MeshInferError as e:
            print(f"  {name} could not publish: {e}")

    def hurt(self, name: str) -> None:
        peer, dice = self.peers[name], self.rng.random()
        assert peer.process is not None
        if dice < 0.45:
            peer.kill()
            self.down[name] = time.monotonic() + self.rng.choice([0.1, 1, 4, 14])
            self.done["killed"] += 1
        elif dice < 0.6:
            peer.kill(signal.SIGTERM)
            self.down[name] = time.monotonic() + self.rng.choice([0.1, 1, 4])
            self.done["stopped"] += 1
        elif dice < 0.75:
            peer.process.send_signal(signal.SIGSTOP)
            time.sleep(self.rng.uniform(1, 8))
            peer.process.send_signal(signal.SIGCONT)
            self.done["frozen"] += 1

    def raise_the_dead(self, *, all_of_them: bool = False) -> None:
        for name in sorted(self.down):
            if all_of_them or time.monotonic() >= self.down[name]:
                del self.down[name]
                self.peers[name].start()

    def check(self) -> None:
        """Raises AssertionError where something is missing or twice."""
        for peer in self.peers.values():
            peer.wait_connected(len(self.peers) - 1)
        plain: dict[int, dict[str, Any]] = {}
        for job, spec in self.jobs.items():
            every = spec["sample"]["every"]
            if every not in plain:
                plain[every] = {
                    f"{v.parent.name}-{v.name}": detect_all(EMBEDDED, v, DETECT, every) for v in self.videos
                }
            once = spec["scope"] == "once"
            total = len(self.videos) if once else sum(map(len, self.held.values()))
            for name, peer in self.peers.items():
                view = self.wait_done(peer, job, total)
                out = self.folder / f"out-{name}-{job}"
                found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
                for event in peer.results(job, out):
                    found[event["entry"], "" if once else event["peer"]].append(event)
                assert len(found) == total, f"{name}, job {job}: {len(found)} of {total} results"
                for (entry, _), events in found.items():
                    assert as_found(events) == plain[every][entry], f"{name}, job {job}, {entry}: other boxes"
            wasted = sum(p["analysed"] for p in view["peers"]) - view["analysed"]
            self.done["frames"] += view["analysed"]
            self.done["wasted frames"] += wasted
            print(f"  job {job} ({spec['scope']}, every {every}): as the plain loop, at every peer; {wasted} run twice")

    def wait_done(self, peer: PeerProcess, job: str, total: int) -> dict[str, Any]:
        def done() -> dict[str, Any] | None:
            view = peer.job(job)
            return view if view["state"] == "done" and view["tasks"]["total"] == total else None

        try:
            return eventually(f"job {job} is done", done, SETTLE)  # type: ignore[no-any-return]  # what `done` returned
        except AssertionError:
            print(json.dumps(peer.ask("job", job=job), indent=1)[:5000])
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of chaos; checking comes after")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", type=int, default=4)
    args = parser.parse_args()
    if args.peers < 3:
        parser.error("--peers: three or more, so that footage overlaps and one peer holds none")
    with tempfile.TemporaryDirectory() as folder, mesh(Path(folder)) as start:
        chaos = Chaos(Path(folder), start, random.Random(args.seed), args.peers)
        chaos.run(args.seconds)
        print(f"seed {args.seed}: {dict(chaos.done)}")
        chaos.check()
        print(f"nothing lost, nothing twice: {dict(chaos.done)}")


if __name__ == "__main__":
    main()
