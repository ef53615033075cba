"""A peer in JavaScript, made after docs/WIRE.md alone, in a mesh of real `meshinfer up` processes.

Its packages come from npm, once, into the user's cache; without Node, npm or a network the tests are skipped.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshinfer.demo import footage
from meshinfer.detect.shelf import EMBEDDED
from tests.interop.javascript import HERE, INSTALL_PATIENCE, JsPeer, Unavailable, packages
from tests.story.peers import PeerProcess, eventually, mesh

ROOT = HERE.parents[1]
GOLDEN = ROOT / "tests" / "golden"
SPEC = {
    "model": "yard-demo",
    "name": "from javascript",
    "sample": {"fps": 5},  # an integer where a float is wanted, and below a default that is stated: both may be
    "detect": {"min_score": 0.4, "iou": 0.6},
}
OPAQUE = 64
"""Records of 40 kB."""

# The first run installs the packages.
pytestmark = pytest.mark.timeout(INSTALL_PATIENCE + 120)


@pytest.fixture(scope="module")
def node_modules() -> Path:
    try:
        return packages()
    except Unavailable as why:
        pytest.skip(str(why))


@pytest.fixture
def javascript(node_modules: Path, tmp_path: Path) -> Iterator[Callable[..., JsPeer]]:
    """Starts the peer: modules are looked up beside the scripts, so these are copied to where the packages are."""
    folder = tmp_path / "javascript"
    folder.mkdir()
    (folder / "node_modules").symlink_to(node_modules)
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder)
    started: list[JsPeer] = []

    def start(address: str) -> JsPeer:
        config = {
            "address": address,
            "mesh": "default",
            "model": hashlib.sha256(EMBEDDED.read_bytes()).hexdigest(),
            "spec": SPEC,
            "wire": str(ROOT / "docs" / "WIRE.md"),
            "golden": str(GOLDEN),
        }
        started.append(JsPeer(folder / "peer.mjs", config, tmp_path / "javascript.log"))
        return started[-1]

    yield start
    for peer in started:
        peer.close()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Callable[..., PeerProcess]]:
    with mesh(tmp_path) as start:
        yield start


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(events, key=lambda event: (event["entry"], event["frame"]))


def test_a_javascript_peer(peer: Callable[..., PeerProcess], javascript: Callable[..., JsPeer], tmp_path: Path) -> None:
    """It is connected to bob, who holds nothing: what alice finds reaches it through him."""
    footage(tmp_path / "footage", seed=2, clips=2, seconds=4.0)
    alice = peer("alice", "--source", f"yard={tmp_path / 'footage'}")
    bob = peer("bob", "--bootstrap", alice.address)
    ids = {one.ask("status")["peer"]: one.home.name for one in (alice, bob)}
    bob.wait_connected(1)
    alice.wait_entries(2)

    # The golden vectors, read and written by its own code.
    js = javascript(bob.address)
    golden = {kind: json.loads((GOLDEN / f"{kind}.json").read_text()) for kind in ("records", "messages")}
    read = {"records": len(golden["records"]["records"]), "messages": len(golden["messages"])}
    assert js.wait("golden") == [{**read, "refused": 5 * read["records"] + read["messages"]}]

    connected = js.wait("connected")[0]
    me = connected["me"]
    assert ids[connected["peer"]] == "bob"
    assert (connected["encryption"], connected["muxer"]) == ("/noise", "/yamux/1.0.0")

    # Its job is run, and what it heard live is what the results say. It checks signatures and task ids itself.
    job = js.wait("published")[0]["job"]
    eventually("bob knows the job", lambda: any(known["job"] == job for known in bob.ask("jobs")["jobs"]))
    view = bob.wait_done(job, total=2)
    assert (view["name"], view["publisher"]) == (SPEC["name"], me)
    results = bob.results(job, tmp_path / "results")
    assert len(results) > 20
    live = js.wait("event", lambda events: len(events) >= len(results))
    assert {ids[event["peer"]] for event in live} == {"alice"}
    assert in_order(live) == in_order([{k: v for k, v in row.items() if k != "peer_name"} for row in results])

    # Records: those that bob gives when asked, and what is new at once, unasked.
    given = js.sync("new")["records"]
    said_by_alice = {(kind, "alice") for kind in ("peer", "source", "manifest", "claim", "result")}
    others = {(record["kind"], ids[record["origin"]]) for record in given if record["origin"] != me}
    assert others == {("peer", "bob"), *said_by_alice}
    assert all(record["understood"] for record in given)
    other = bob.publish(model="yard-demo", on={"kind": "image"})
    js.wait("answered", lambda syncs: any(record["key"] == other for sync in syncs for record in sync["records"]))

    # Records of a kind that nobody knows are kept, and come back as they were: more of them than a stream's window.
    js.sync("new", opaque=OPAQUE)
    everything = js.sync("all")
    assert everything["returned"] == 1 + OPAQUE  # with its job
    assert {n for origin, _, n, *_ in everything["vector"] if origin == me} == {1 + OPAQUE}

    # Alice dials it as soon as a record says where it is.
    assert {ids[opened["by"]] for opened in js.said["opened"]} == {"bob"}
    js.tell(reachable=True)
    js.wait("opened", lambda links: any(ids[link["by"]] == "alice" and link["inbound"] for link in links))
    assert me in {known["peer"] for known in alice.ask("peers")["peers"] if known["name"] == "javascript"}

    refused = re.compile("dropped|refused|broken|malformed|failed|crashed|: ")
    for one in (alice, bob):
        counters = one.ask("status")["counters"]
        assert not [name for name in counters if refused.search(name)], counters
    assert js.stop() == 0
