"""How things end: by Ctrl-C, by SIGTERM, by SIGKILL, by the clock. Real processes, kept at work by their footage."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from meshinfer.home import socket_path
from tests.story.command import AT_ONCE, Command, Host, hosts, refused
from tests.story.peers import eventually
from tests.unit.footage import write_image
from tests.vision.tiny_onnx import brightness_model

FRAMES = 6000
"""Many seconds of work for the embedded detector, a few hundred kilobytes of video."""

WORKING: dict[str, Any] = {"model": "yard-demo", "on": {"kind": "video"}}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long video, and an image."""
    folder = tmp_path_factory.mktemp("footage")
    writer = cv2.VideoWriter(str(folder / "long.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 192))
    frame = np.full((192, 320, 3), 90, np.uint8)
    for _ in range(FRAMES):
        writer.write(frame)
    writer.release()
    write_image(folder / "bright.png")
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path) as start:
        yield start


def analysed(peer: Host, job: str) -> int:
    return int(peer.job(job)["analysed"])


def seconds_to_stop(peer: Host, how: signal.Signals) -> float:
    began = time.monotonic()
    assert peer.kill(how) == 0, peer.log.read_text()
    return time.monotonic() - began


def test_a_peer_at_work_stops_and_goes_on(start: Callable[..., Host], footage: Path) -> None:
    """Ctrl-C, SIGTERM and SIGKILL: what was stored stays, the rest is done at the next start, which is at once."""
    peer = start("peer", "--source", f"yard={footage}", "--workers", "1", before=AT_ONCE)
    assert seconds_to_stop(peer, signal.SIGINT) < 5, "idle"
    peer.start()
    peer.wait_entries(2)
    job = peer.publish(**WORKING)
    before = 0
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        eventually("it gets on", lambda least=before: peer.ask("status")["running"] and analysed(peer, job) > least)  # type: ignore[misc]  # bound now
        before = analysed(peer, job)
        if how is signal.SIGKILL:
            peer.kill(how)
            assert socket_path(peer.home).exists(), "nobody was there to take it away"
        else:
            assert seconds_to_stop(peer, how) < 5
            assert not socket_path(peer.home).exists()
        peer.start()
        first = eventually("it goes on", lambda: analysed(peer, job))
        assert first >= before, f"what was done before {how.name} counts"
    log = peer.log.read_text()
    assert log.count("stopping") == 3
    assert "Traceback" not in log
    eventually("it gets on", lambda: analysed(peer, job) > before)
    peer.cli("cancel", job)


def test_who_follows_or_listens_can_leave(start: Callable[..., Host], footage: Path, tmp_path: Path) -> None:
    """Ctrl-C and --timeout leave the job alone; a node that stops is told from a job that is done."""
    peer = start("peer", "--source", f"yard={footage}", "--workers", "1", before=AT_ONCE)
    (tmp_path / "grey.onnx").write_bytes(brightness_model())
    peer.cli("models", "add", str(tmp_path / "grey.onnx"))
    peer.wait_entries(2)
    peer.wait_done(peer.publish(model="grey", on={"kind": "image"}), total=1)
    (tmp_path / "job.yaml").write_text("{name: long, model: yard-demo, on: {kind: video}}")

    follower = Command(peer.home, "publish", str(tmp_path / "job.yaml"), "--follow")
    follower.wait_line("tasks")
    ended = follower.end(signal.SIGINT, within=10)
    (job,) = (j["job"] for j in peer.ask("jobs")["jobs"] if j["name"] == "long")
    assert (ended.returncode, ended.stderr) == (130, f"detached; the job goes on: meshinfer jobs {job}\n")
    assert peer.job(job)["state"] == "running"

    timed = peer.cli("run", "yard-demo", "--follow", "--timeout", "0.5", check=None)
    refused(timed, 5, "not done after 0.5 s; the job goes on: meshinfer jobs ")

    listener = Command(peer.home, "subscribe", "--since", "1h")
    assert "yard/bright.png" in listener.wait_line()
    ended = listener.end(signal.SIGINT, within=10)
    assert (ended.returncode, ended.stderr.strip()) == (130, "")

    left = Command(peer.home, "subscribe", "--since", "1h")
    left.wait_line("yard/bright.png")
    assert seconds_to_stop(peer, signal.SIGTERM) < 5
    refused(left.end(), 1, "the node closed the connection before `subscribe` was done: it was stopped, or it crashed")


def test_results_without_a_holder_are_partial(start: Callable[..., Host], footage: Path, tmp_path: Path) -> None:
    """A peer that is killed at work: what the others have is given, and it is named."""
    (tmp_path / "few").mkdir()
    write_image(tmp_path / "few" / "bright.png", 220)
    alice = start("alice", "--source", f"few={tmp_path / 'few'}", before=AT_ONCE)
    bob = start("bob", "--source", f"yard={footage}", "--workers", "1", "--bootstrap", alice.address, before=AT_ONCE)
    alice.wait_connected(1)
    alice.wait_entries(1)
    bob.wait_entries(2)
    job = alice.publish(model="yard-demo")
    eventually("alice hears of bob's part", lambda: alice.job(job)["tasks"]["total"] == 10 and analysed(alice, job) > 2)
    bob.kill()
    eventually("alice notices", lambda: alice.ask("status")["connected"] == 0)
    done = alice.cli("results", job, "-d", str(tmp_path / "out"), check=4)
    assert done.stderr.startswith("PARTIAL: not heard from bob; ")
    assert "of 10 tasks not done" in done.stderr
    assert (tmp_path / "out" / "summary.json").exists()
    eventually("bob is missed", lambda: "not heard from: bob" in alice.cli("jobs", job, check=None).stdout)
