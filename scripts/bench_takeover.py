"""How soon the work of a peer that was killed goes on elsewhere: real processes, SIGKILL, everyone holds everything.

Timed from the kill to the first event of the new holder for that task: deciding, opening the file, reading on and
inferring included. The bound is the lease: nobody decides before it ends. What a user would do instead is a supervisor
that starts the peer again: that, timed in the same run, is how soon the killed peer itself answers again.

    scripts/bench takeover [--rounds N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from meshinfer.demo import footage
from meshinfer.errors import MeshInferError
from meshinfer.schedule.lease import LEASE, RENEW
from tests.chaos.crowd import Crowd
from tests.chaos.links import make_links
from tests.chaos.watch import percentile
from tests.story.peers import eventually

NAMES = ("peer0", "peer1", "peer2")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="kills [10]")
    args = parser.parse_args()
    again: list[float] = []
    with tempfile.TemporaryDirectory(prefix="takeover-") as folder:
        videos = footage(Path(folder) / "v", 1, 3, 60.0)
        held = dict.fromkeys(NAMES, videos)
        with Crowd(Path(folder), held, lambda pid: make_links("proxy", pid, print)) as crowd:
            again += [one_round(crowd, number) for number in range(args.rounds)]
            taken = [takeover.seconds for takeover in crowd.watch.takeovers]
    said = ", ".join(f"{name} {percentile(taken, share):.1f} s" for name, share in (("p50", 0.5), ("p99", 0.99)))
    print(f"work goes on elsewhere after a kill: {said} ({len(taken)} tasks of {args.rounds} killed peers)")
    print(f"bound: the lease ends {LEASE - RENEW:.1f} to {LEASE:.1f} s after the kill")
    print(f"instead: a killed peer that is started again at once answers after {percentile(again, 0.5):.1f} s (p50)")
    return 0 if taken else 1


def one_round(crowd: Crowd, number: int) -> float:
    """Publish, kill whoever is at work, wait until its work goes on, start it again. How long that took."""
    publisher = crowd.peers[NAMES[number % 3]]
    job = publisher.publish(model="yard-demo", on={"kind": "video"}, fresh=True)
    victim = eventually("a peer is at work", lambda: crowd.watch.at_work(NAMES))
    known = len(crowd.watch.takeovers)
    if crowd.kill(victim):
        eventually("its work goes on", lambda: len(crowd.watch.takeovers) > known)
    began = time.monotonic()
    crowd.revive(victim)
    took = time.monotonic() - began
    for name in NAMES:
        try:
            crowd.peers[name].ask("cancel", job=job, why="the next round")
            break
        except MeshInferError:
            continue
    eventually("all is quiet", lambda: all(not crowd.peers[name].ask("status")["running"] for name in NAMES))
    time.sleep(0.5)
    return took


if __name__ == "__main__":
    sys.exit(main())
