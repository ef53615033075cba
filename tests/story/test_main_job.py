"""The story of the README, with real processes, models and footage."""

from __future__ import annotations

import shutil
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshinfer.model.job import Detect
from tests.story.peers import PeerProcess, Subscriber, eventually, mesh
from tests.story.plain import as_found, detect_all

CARS, PEOPLE = "car-detection.mp4", "one-by-one-person.mp4"
PERSON = Detect(classes=("person",))
SPEC: dict[str, Any] = {"model": "fastestdet", "on": {"kind": "video"}, "detect": {"classes": ["person"]}}


@pytest.fixture
def model(assets: Path) -> Path:
    return assets / "models" / "fastestdet.onnx"


@pytest.fixture
def footage(assets: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with a video each."""
    folders = tmp_path / "footage-a", tmp_path / "footage-b"
    for folder, name in zip(folders, (CARS, PEOPLE), strict=True):
        folder.mkdir()
        shutil.copy(assets / "media" / name, folder / name)
    return folders


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Callable[..., PeerProcess]]:
    with mesh(tmp_path) as start:
        yield start


def trio_of_peers(
    peer: Callable[..., PeerProcess], footage: tuple[Path, Path], model: Path
) -> tuple[PeerProcess, PeerProcess, PeerProcess]:
    alice = peer("alice", "--source", f"dock={footage[0]}", "--label", "site=hamburg")
    bob = peer("bob", "--source", f"gate={footage[1]}", "--label", "site=rotterdam", "--bootstrap", alice.address)
    carol = peer("carol", "--bootstrap", alice.address)
    for one in (alice, bob):
        one.add_model(model)
        one.wait_entries(1)
    carol.wait_connected(2)
    carol.wait_model("fastestdet", 2)
    return alice, bob, carol


def by_entry(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        out[event["entry"]].append(event)
    return out


def test_the_story(peer: Callable[..., PeerProcess], footage: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    """The job runs where the footage lies; the third peer hears it live; the results are those of a plain loop."""
    alice, bob, carol = trio_of_peers(peer, footage, model)
    heard: list[dict[str, Any]] = []
    subscriber = Subscriber(carol, "--label", "person")
    listener = threading.Thread(target=lambda: heard.extend(subscriber.events()), daemon=True)
    listener.start()
    sent_before = [p.ask("status")["bytes_out"] for p in (alice, bob)]

    job = carol.publish(**SPEC, name="people")
    view = carol.wait_done(job, total=6)
    assert {p["name"]: p["tasks"] for p in view["peers"] if p["tasks"]} == {"alice": 1, "bob": 5}, (
        "spans of bob's video"
    )
    events = carol.results(job, tmp_path / "out")

    expected = {
        CARS: detect_all(model, footage[0] / CARS, PERSON),
        PEOPLE: detect_all(model, footage[1] / PEOPLE, PERSON),
    }
    assert {name: as_found(found) for name, found in by_entry(events).items()} == expected
    eventually("the subscriber has heard it all", lambda: len(heard) >= len(events))
    subscriber.stop()
    listener.join(10)
    subscriber.close()
    assert sorted((e["task"], e["frame"]) for e in heard) == sorted((e["task"], e["frame"]) for e in events)

    # No footage crosses the wire: events, twice gossiped and once fetched, are a fraction of it.
    held = sum(path.stat().st_size for folder in footage for path in folder.iterdir())
    sent = [p.ask("status")["bytes_out"] - before for p, before in zip((alice, bob), sent_before, strict=True)]
    assert sum(sent) < held / 4

    declined = next(p for p in carol.ask("job", job=job)["peers"] if p["name"] == "carol")
    assert (declined["verdict"], declined["reason"]) == ("declines", "holds no footage")


def test_killed_in_the_middle(
    peer: Callable[..., PeerProcess], footage: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    """SIGKILL while it works, start again: it finishes its part, nothing is missing and nothing is there twice."""
    _, bob, carol = trio_of_peers(peer, footage, model)
    subscriber = Subscriber(carol, "--source", "gate")
    events = subscriber.events()
    job = carol.publish(**SPEC)
    heard = [next(events) for _ in range(50)]
    bob.kill()
    assert carol.job(job)["state"] != "done"
    bob.start()
    carol.wait_done(job, total=6)
    found = [e for e in carol.results(job, tmp_path / "out") if e["entry"] == PEOPLE]
    assert as_found(found) == detect_all(model, footage[1] / PEOPLE, PERSON)
    while len(heard) < len(found):
        heard.append(next(events))
    subscriber.stop()
    heard += list(events)
    subscriber.close()
    assert as_found(heard) == as_found(found), "the subscriber heard each frame once, across the restart"


def test_the_publisher_dies(
    peer: Callable[..., PeerProcess], footage: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    """Killing the peer that published changes nothing for the others."""
    alice, bob, carol = trio_of_peers(peer, footage, model)
    job = carol.publish(**SPEC, sample={"every": 4})
    eventually("bob has heard of the job", lambda: any(j["job"] == job for j in bob.ask("jobs")["jobs"]))
    carol.kill()
    alice.wait_done(job, total=6)
    found = by_entry(alice.results(job, tmp_path / "out"))
    assert as_found(found[PEOPLE]) == detect_all(model, footage[1] / PEOPLE, PERSON, every=4)


def test_a_late_joiner_runs_the_job(
    peer: Callable[..., PeerProcess], footage: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    """A peer that joins when the others are done already still does its part."""
    alice = peer("alice", "--source", f"dock={footage[0]}")
    alice.add_model(model)
    alice.wait_entries(1)
    job = alice.publish(**SPEC, sample={"every": 10})
    alice.wait_done(job, total=1)
    bob = peer("bob", "--source", f"gate={footage[1]}", "--bootstrap", alice.address)
    bob.add_model(model)
    alice.wait_done(job, total=3)
    found = by_entry(alice.results(job, tmp_path / "out"))
    assert as_found(found[PEOPLE]) == detect_all(model, footage[1] / PEOPLE, PERSON, every=10)


def test_the_bootstrap_peer_is_gone_for_good(
    peer: Callable[..., PeerProcess], footage: tuple[Path, Path], model: Path
) -> None:
    """Peers that once met find each other again without the peer that introduced them."""
    alice = peer("alice")
    bob = peer("bob", "--source", f"dock={footage[0]}", "--bootstrap", alice.address)
    carol = peer("carol", "--bootstrap", alice.address)
    for one in (bob, carol):
        one.wait_connected(2)
    bob.add_model(model)
    alice.kill()
    bob.kill(signal.SIGTERM)
    carol.kill(signal.SIGTERM)
    for one in (bob, carol):
        # Port 0 gives other ports than before; bob keeps his, as a peer with a configured port does.
        one.flags = (*one.flags, "--listen", bob.address.rpartition("/p2p/")[0]) if one is bob else one.flags
        one.start()
    carol.wait_connected(1)
    carol.wait_model("fastestdet", 1)
    bob.wait_entries(1)
    job = carol.publish(**SPEC, sample={"every": 25})
    carol.wait_done(job, total=1)


def test_copies_are_run_once(peer: Callable[..., PeerProcess], footage: tuple[Path, Path], model: Path) -> None:
    """`scope: once`: of two peers that hold the same file one runs it. `scope: every`: both do."""
    alice = peer("alice", "--source", f"dock={footage[0]}")
    bob = peer("bob", "--source", f"mirror={footage[0]}", "--bootstrap", alice.address)
    for one in (alice, bob):
        one.add_model(model)
        one.wait_entries(1)
    alice.wait_model("fastestdet", 2)
    eventually(
        "alice knows what bob holds",
        lambda: any(s["entries"] for p in alice.ask("peers")["peers"] if not p["me"] for s in p["sources"]),
    )
    once = alice.publish(**SPEC, sample={"every": 20})
    view = alice.wait_done(once, total=1)
    assert sum(p["done"] for p in view["peers"]) == 1
    every = bob.publish(**SPEC, sample={"every": 20}, scope="every")
    view = bob.wait_done(every, total=2)
    assert {p["name"]: p["done"] for p in view["peers"]} == {"alice": 1, "bob": 1}


def test_what_is_done_is_not_done_again(
    peer: Callable[..., PeerProcess], footage: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    """An equal job finds everything done, and has all of the first one's results and events; a fresh one its own."""
    alice = peer("alice", "--source", f"dock={footage[1]}")
    alice.add_model(model)
    alice.wait_entries(1)
    jobs = []
    for more, reused in (({}, 0), ({"name": "again"}, 1), ({"fresh": True}, 0)):
        jobs.append(alice.publish(**{**SPEC, "sample": {"every": 25}, **more}))
        view = alice.wait_done(jobs[-1], total=1)
        assert view["tasks"]["reused"] == reused
    found = [alice.results(job, tmp_path / job) for job in jobs]
    assert found[0]
    assert as_found(found[0]) == as_found(found[1]) == as_found(found[2])
    assert [{event["job"] for event in events} for events in found] == [{job} for job in jobs]
    assert [event["cursor"] for event in found[0]] == [event["cursor"] for event in found[1]]
    assert alice.ask("status")["events"] == 2 * len(found[0]), "nothing was recorded twice but for the fresh job"
    subscriber = Subscriber(alice, "--job", jobs[1], "--since", "1h")
    events = subscriber.events()
    assert [next(events)["cursor"] for _ in found[1]] == [event["cursor"] for event in found[0]]
    subscriber.close()
