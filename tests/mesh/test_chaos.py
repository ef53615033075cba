"""A short course of what scripts/chaos does at random: a peer is killed, one frozen, a link silenced, real processes.

The results must be those of a plain loop over the same files, box for box, at whichever peer they are collected.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from meshinfer.demo import footage
from meshinfer.detect.shelf import EMBEDDED
from meshinfer.model.job import Detect
from tests.chaos.compare import compare
from tests.chaos.crowd import Crowd, overlapping
from tests.chaos.links import How, Unavailable
from tests.chaos.netns import NetnsLinks
from tests.chaos.proxy import ProxyLinks
from tests.chaos.watch import Watch
from tests.story.peers import eventually
from tests.story.plain import detect_all

pytestmark = pytest.mark.timeout(600)  # for a machine that is busy with other things: the course takes half a minute

DETECT = Detect(min_score=0.4)
SPEC: dict[str, Any] = {"model": "yard-demo", "on": {"kind": "video"}, "detect": {"min_score": DETECT.min_score}}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return footage(tmp_path_factory.mktemp("drawn"), 1, 2, 40.0)


@pytest.fixture
def crowd(videos: list[Path], tmp_path: Path) -> Iterator[Crowd]:
    """peer0 holds both videos, peer1 and peer2 one each, peer3 none."""
    with Crowd(tmp_path, overlapping(videos, 4), ProxyLinks) as crowd:
        yield crowd


def test_nothing_is_lost_and_nothing_is_there_twice(crowd: Crowd, videos: list[Path]) -> None:
    """One is killed at work and stays away until the others have done its part, one is frozen, one link is silent."""
    jobs: dict[str, dict[str, Any]] = {}

    def publish(name: str, **more: Any) -> str:
        job = crowd.peers[name].publish(**SPEC, **more)
        jobs[job] = more
        return job

    def knows(name: str, job: str) -> bool:
        return any(view["job"] == job for view in crowd.peers[name].ask("jobs")["jobs"])

    def goes_on(name: str, job: str) -> bool:
        return any(view["job"] == job and view["analysed"] for view in crowd.peers[name].ask("jobs")["jobs"])

    once = publish("peer3", scope="once")
    victim = eventually("a peer is at work", lambda: crowd.watch.busy(("peer0", "peer1", "peer2")))
    crowd.kill(victim)
    rest = [name for name in ("peer0", "peer1", "peer2") if name != victim]
    crowd.wait_done(rest[0], once)

    cold, warm = rest
    every = publish("peer3", scope="every", sample={"every": 2})
    eventually("they are at it", lambda: goes_on(cold, every))
    crowd.freeze(cold)
    crowd.cut("peer3", warm, "reset")
    later = publish("peer3", scope="once", sample={"every": 3})
    crowd.thaw(cold)
    eventually("the news takes another way", lambda: knows(warm, later))
    crowd.revive(victim)
    crowd.cut(victim, warm, "silent")
    last = publish(victim, scope="once", sample={"every": 5})
    eventually("it is heard of beyond the silent link", lambda: knows(warm, last))
    crowd.heal(victim, warm)
    crowd.heal("peer3", warm)

    holders = Counter(v.name for held in crowd.held.values() for v in held)
    for number, (job, more) in enumerate(jobs.items()):
        for name in crowd.peers:
            crowd.wait_done(name, job)
        stride = more.get("sample", {}).get("every", 1)
        plain = {v.name: detect_all(EMBEDDED, v, DETECT, stride) for v in videos}
        collector = sorted(crowd.peers)[(number + 3) % 4]
        found = eventually("all who took part can be asked", lambda c=collector, j=job: crowd.results(c, j))  # type: ignore[misc]  # bound now
        assert compare(found, plain, holders if more["scope"] == "every" else None) == ([], []), (job, more)


def test_the_comparison_bites() -> None:
    plain = {"a": {0: [("person", 0.9, [1, 2, 3, 4])], 2: [("person", 0.8, [1, 2, 3, 4])]}}

    def event(frame: int, score: float, peer: str = "p", entry: str = "a") -> dict[str, Any]:
        box = {"label": "person", "score": score, "box": [1, 2, 3, 4]}
        return {"entry": entry, "frame": frame, "peer": peer, "peer_name": peer, "detections": [box]}

    good = [event(0, 0.9), event(2, 0.8)]
    assert compare(good, plain) == ([], [])
    assert compare(good[:1], plain).missing == ["a: 1 of 2 frames, the first is 2"]
    assert compare([], plain).missing == ["a: 0 of 1 results"]
    assert compare([*good, good[0]], plain).wrong == ["a, frame 0: twice (p)"]
    assert compare([*good, event(0, 0.9, peer="q")], plain).wrong == ["a, frame 0: twice (q)"]
    assert compare([event(0, 0.9), event(2, 0.7)], plain).wrong[0].startswith("a, frame 2: ")
    assert compare([*good, event(1, 0.9)], plain).wrong == ["a, frame 1: not in the plain loop"]
    both = [*good, event(0, 0.9, "q"), event(2, 0.8, "q")]
    assert compare(both, plain, {"a": 2}) == ([], [])
    assert compare(good, plain, {"a": 2}).missing == ["a: 1 of 2 results"]
    assert compare(both, plain, {"a": 1}).wrong == ["a: 2 results, 1 were wanted"]


def test_a_takeover_is_timed_from_the_kill_and_only_while_the_peer_is_away() -> None:
    watch = Watch()
    watch.heard("alice", "t1", 0, 10.0)
    watch.heard("alice", "old", 0, 1.0)
    watch.heard("alice", "shared", 0, 10.0)
    watch.heard("bob", "shared", 1, 10.0)
    assert watch.killed("alice", 10.5) == {"t1"}, "what it told of long ago, or another was at too, it had not in hand"
    watch.heard("bob", "t1", 0, 15.5)
    watch.heard("bob", "t1", 1, 16.0)
    assert [(t.lost, t.by, t.seconds) for t in watch.takeovers] == [("alice", "bob", 5.0)]
    assert watch.repeated == 1
    watch.heard("bob", "t2", 0, 20.0)
    assert watch.busy(("alice", "bob")) == "bob"
    watch.killed("bob", 20.1)
    watch.back("bob")
    watch.heard("carol", "t2", 1, 30.0)
    assert len(watch.takeovers) == 1


ECHO = """
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(100):
            self.request.sendall(data)
server = socketserver.ThreadingTCPServer((sys.argv[1], 0), Echo)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
"""


DIAL = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as up:
    up.sendall(b"1")
    sys.exit(up.recv(1) != b"1")
"""


@contextmanager
def echo(host: str, *before: str) -> Iterator[tuple[int, int]]:
    """A process and its port."""
    with subprocess.Popen([*before, sys.executable, "-c", ECHO, host], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.kill()


@pytest.fixture
def alice() -> Iterator[int]:
    """The process of somebody who listens and says everything again."""
    with echo("127.0.0.1") as (pid, _):
        yield pid


def test_a_link_is_silenced_broken_and_healed(alice: int) -> None:
    """This process is bob."""
    links = ProxyLinks({"alice": alice, "bob": os.getpid()}.get)
    ports = {name: int(links.place(name).flags[-1].rpartition("/")[2]) for name in ("alice", "bob")}

    def dial() -> socket.socket:
        return socket.create_connection(("127.0.0.1", ports["alice"]), timeout=60)

    def is_ended(connection: socket.socket) -> bool:
        with suppress(ConnectionError):
            return connection.recv(1) == b""
        return True

    try:
        with dial() as up:
            up.sendall(b"1")
            assert up.recv(1) == b"1"
            for how in ("silent", "one way"):
                links.cut("bob", "alice", how)
                up.sendall(b"2")
                up.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    up.recv(1)
                up.settimeout(60)
                links.heal("bob", "alice")
                assert up.recv(1) == b"2", "what was on its way arrives, as TCP has it"
            links.cut("alice", "bob", "one way")
            links.cut("alice", "bob", "reset")
            assert is_ended(up)
        with dial() as refused:
            assert is_ended(refused)
        links.heal("bob", "alice")
        with dial() as again:
            again.sendall(b"3")
            assert again.recv(1) == b"3"
    finally:
        links.close()


def test_a_namespace_is_silenced_and_healed() -> None:
    try:
        links = NetnsLinks()
    except Unavailable as e:
        pytest.skip(f"{e}; proxies are used in their place")  # a machine's right, not a fault of ours
    try:
        places = {name: links.place(name) for name in ("alice", "bob")}
        host = places["alice"].flags[1].split("/")[2]
        with echo(host, *places["alice"].before) as (_, port):

            def reaches(seconds: float) -> bool:
                dial = [*places["bob"].before, sys.executable, "-c", DIAL, host, str(port), str(seconds)]
                return subprocess.run(dial, stderr=subprocess.DEVNULL, check=False).returncode == 0

            assert reaches(60)
            ways: tuple[tuple[str, str, How], ...] = (
                ("bob", "alice", "one way"), ("alice", "bob", "one way"), ("alice", "bob", "silent"),
            )  # fmt: skip
            for a, b, how in ways:
                links.cut(a, b, how)
                assert not reaches(0.2), (a, b, how)
                links.heal("bob", "alice")
                assert reaches(60)
    finally:
        links.close()
