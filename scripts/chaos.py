"""Chaos with real processes; run by scripts/chaos.

Peers with overlapping footage run jobs of both scopes while random ones of them are killed (SIGKILL), stopped in the
usual way (SIGTERM), frozen (SIGSTOP), and links between them are cut, silenced one way or slowed, and healed again. At
the end every peer must name every job done, and the merged results must equal those of a plain loop, box for box:
nothing missing, nothing twice. Exit code 1 where they do not, with the seed and what differs.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from meshinfer.demo import footage
from meshinfer.detect.shelf import EMBEDDED
from meshinfer.errors import MeshInferError
from meshinfer.model.job import Detect
from tests.chaos.compare import Difference, compare
from tests.chaos.crowd import SETTLE, Crowd, overlapping
from tests.chaos.links import Unavailable, make_links
from tests.chaos.watch import percentile
from tests.story.plain import detect_all

DETECT = Detect(min_score=0.4)
AT_A_TIME = 2
"""Jobs that are kept going."""

DOWN = (0.2, 1.0, 4.0, 14.0, 14.0)
"""Seconds that a killed peer stays away: an instant, a restart, and long enough for others to take its work."""

LAST_ASKED_OF_ALL = 2
"""Of so many jobs, the last ones, every peer must collect all results; of the others one peer, drawn for each."""


class Chaos:
    def __init__(self, crowd: Crowd, videos: list[Path], rng: random.Random) -> None:
        self.crowd, self.videos, self.rng = crowd, videos, rng
        self.jobs: dict[str, dict[str, Any]] = {}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        """What ends the trouble of now, and when."""
        self._number = itertools.count()
        self._plain: dict[int, dict[str, Any]] = {}

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.rng.uniform(0.2, 1.5))
            self._end_what_is_due()
            self.crowd.check()
            if self.crowd.answering:
                self._keep_busy(self.rng.choice(self.crowd.answering))
            self._trouble()
        while self._agenda:
            heapq.heappop(self._agenda)[2]()

    def check(self) -> bool:
        """Whether all is as in the plain loop; what differs is printed."""
        last = list(self.jobs)[-LAST_ASKED_OF_ALL:]
        frames = 0
        is_good = True
        for job, spec in self.jobs.items():
            views = [self.crowd.wait_done(name, job) for name in self.crowd.peers]
            for name in self.crowd.peers if job in last else [self.rng.choice(sorted(self.crowd.peers))]:
                missing, wrong = self._differs(name, job, spec)
                for line in [*wrong, *(f"missing: {text}" for text in missing)][:20]:
                    print(f"  DIFFERS: job {job} as {name} collects it: {line}")
                is_good = is_good and not missing and not wrong
            frames += views[0]["analysed"]
        wasted = self.crowd.watch.repeated
        print(f"{len(self.jobs)} jobs, {frames:,} frames; {wasted:,} were run twice ({wasted / max(1, frames):.1%})")
        return is_good

    def _differs(self, name: str, job: str, spec: dict[str, Any]) -> Difference:
        """What is missing may be on its way for a while."""
        every = int(spec["sample"]["every"])
        if every not in self._plain:
            self._plain[every] = {v.name: detect_all(EMBEDDED, v, DETECT, every) for v in self.videos}
        holders = Counter(v.name for held in self.crowd.held.values() for v in held)
        until = time.monotonic() + SETTLE
        while True:
            found = self.crowd.results(name, job)
            differs = compare(found or (), self._plain[every], holders if spec["scope"] == "every" else None)
            if differs.wrong or not differs.missing or time.monotonic() > until:
                return differs
            time.sleep(1)

    def _keep_busy(self, name: str) -> None:
        try:
            known = {view["job"]: view["state"] for view in self.crowd.peers[name].ask("jobs")["jobs"]}
            if sum(known.get(job) != "done" for job in self.jobs) < AT_A_TIME:
                spec = self._spec()
                self.jobs[self.crowd.peers[name].publish(**spec)] = spec
        except MeshInferError as e:
            print(f"  {name} was asked in vain: {e}")

    def _spec(self) -> dict[str, Any]:
        """Now and then the last one again, whose results count; else with a limit that changes nothing but its id."""
        if self.jobs and self.rng.random() < 0.15:
            return list(self.jobs.values())[-1]
        return {
            "model": "yard-demo",
            "on": {"kind": "video"},
            "scope": self.rng.choice(["once", "once", "every"]),
            "sample": {"every": self.rng.choice([1, 1, 2])},
            "detect": {"min_score": DETECT.min_score},
            "limits": {"detections": 300 - len(self.jobs) % 200},
        }

    def _trouble(self) -> None:
        crowd, rng = self.crowd, self.rng
        dice, here = rng.random(), crowd.answering
        if len(here) < 2:
            return
        name = rng.choice(here)
        if dice < 0.25:
            if rng.random() < 0.5:
                name = crowd.watch.busy(here) or name
            in_hand = crowd.kill(name)
            crowd.counts["tasks in hand when killed"] += len(in_hand)
            self._later(rng.choice(DOWN), lambda: crowd.revive(name))
        elif dice < 0.35:
            crowd.kill(name, signal.SIGTERM)
            self._later(rng.choice(DOWN[:3]), lambda: crowd.revive(name))
        elif dice < 0.45:
            crowd.freeze(name)
            self._later(rng.uniform(1, 8), lambda: crowd.thaw(name))
        elif dice < 0.75:
            a, b = rng.sample(sorted(crowd.peers), 2)
            if frozenset((a, b)) not in crowd.cuts:
                crowd.cut(a, b, rng.choice(crowd.links.ways))
                self._later(rng.uniform(1, 15), lambda: crowd.heal(a, b))
        elif dice < 0.8:
            how, others = rng.choice(crowd.links.ways), sorted(crowd.peers.keys() - {name})
            others = [other for other in others if frozenset((name, other)) not in crowd.cuts]
            for other in others:
                crowd.cut(name, other, how)
            crowd.counts["cut off from all"] += 1
            self._later(rng.uniform(4, 15), lambda: self._heal_all(name, others))
        elif dice < 0.85 and crowd.links.can_slow:
            crowd.links.slow(name, rng.uniform(0.02, 0.2))
            crowd.counts["slowed"] += 1
            self._later(rng.uniform(4, 15), lambda: crowd.links.slow(name, 0.0))

    def _heal_all(self, name: str, others: list[str]) -> None:
        for other in others:
            self.crowd.heal(name, other)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._number), action))

    def _end_what_is_due(self) -> None:
        while self._agenda and self._agenda[0][0] <= time.monotonic():
            heapq.heappop(self._agenda)[2]()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of chaos; checking comes after [60]")
    parser.add_argument("--seed", type=int, default=1, help="what happens when [1]; the machine has its own say")
    parser.add_argument("--peers", type=int, default=4, help="the last one holds no footage [4]")
    parser.add_argument(
        "--links", choices=["auto", "netns", "proxy"], default="auto", help="what they are made of [auto]"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the peers' folders there; it must not exist")
    args = parser.parse_args()
    if args.peers < 3:
        parser.error("--peers: three or more, so that footage overlaps and one peer holds none")
    with ExitStack() as stack:
        base = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        base.mkdir(exist_ok=not args.keep)
        rng = random.Random(args.seed)
        videos = [
            video.rename(base / f"{i}-{video.name}") for i in (1, 2) for video in footage(base / f"{i}", i, 2, 60.0)
        ]
        try:
            with Crowd(base, overlapping(videos, args.peers), lambda pid: make_links(args.links, pid, print)) as crowd:
                chaos = Chaos(crowd, videos, rng)
                chaos.run(args.seconds)
                print(f"seed {args.seed}, {args.seconds:.0f} s, {args.peers} peers: {dict(crowd.counts)}", flush=True)
                is_good = chaos.check()
                taken = [t.seconds for t in crowd.watch.takeovers]
        except Unavailable as e:
            parser.error(str(e))
        except AssertionError as e:
            print(f"FAILED with --seed {args.seed}: {e}")
            return 1
    if taken:
        shares = ", ".join(f"{name} {percentile(taken, share):.1f} s" for name, share in (("p50", 0.5), ("p99", 0.99)))
        print(f"work of killed peers that others went on with: {len(taken)} tasks; {shares} after the kill")
    print("nothing lost, nothing twice" if is_good else f"RESULTS DIFFER from a plain loop, with --seed {args.seed}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
