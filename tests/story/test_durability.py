"""What happens to a peer's memory: kills in the middle of writing, a file full of garbage, damage while it runs.

Real processes. The model and the footage are the tests' own, and quick, so that most of the work is writing.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from meshinfer.errors import MeshInferError
from meshinfer.home import socket_path
from meshinfer.mesh.identity import load_or_create
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Detection, FrameResult
from meshinfer.model.ids import ContentId, JobId, TaskId
from meshinfer.model.job import Detect
from meshinfer.node.client import call
from meshinfer.store import Database, TaskTable
from meshinfer.store.db import suspicion
from tests.story.command import AT_ONCE, Host, hosts, meshinfer, refused
from tests.story.peers import eventually
from tests.story.plain import as_found, detect_all
from tests.unit.footage import write_video
from tests.vision.tiny_onnx import brightness_model

LONG, SHORT = 4000, 300
SPANS = 13
"""Of the long one, at ten frames a second."""

JOB: dict[str, Any] = {"model": "grey", "on": {"kind": "video"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and three folders with a video each."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "grey.onnx").write_bytes(brightness_model())
    for name, frames in (("long", LONG), ("a", SHORT), ("b", SHORT // 2)):
        (folder / name).mkdir()
        write_video(folder / name / f"{name}.avi", frames)
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with hosts(tmp_path) as start:
        yield start


def up(start: Callable[..., Host], place: Path, name: str, source: str, *flags: str) -> Host:
    peer = start(name, "--source", f"yard={place / source}", "--workers", "1", *flags, before=AT_ONCE)
    peer.add_model(place / "grey.onnx")
    peer.wait_entries(1)
    return peer


def plain(place: Path, *names: str) -> dict[str, Any]:
    return {f"{n}.avi": detect_all(place / "grey.onnx", place / n / f"{n}.avi", Detect()) for n in names}


def collected(peer: Host, job: str, folder: Path) -> dict[str, Any]:
    events = peer.results(job, folder)
    return {name: as_found([e for e in events if e["entry"] == name]) for name in {e["entry"] for e in events}}


def database(peer: Host) -> Path:
    return peer.home / "meshinfer.db"


def test_killed_again_and_again_while_it_writes(start: Callable[..., Host], place: Path, tmp_path: Path) -> None:
    peer = up(start, place, "peer", "long")
    job = peer.publish(**JOB)
    before = 0
    for _ in range(3):
        eventually("it gets on", lambda least=before: peer.job(job)["analysed"] > least or peer.job(job)["state"])  # type: ignore[misc]  # bound now
        before = peer.job(job)["analysed"]
        peer.kill(signal.SIGKILL)
        with closing(Database.open(database(peer))) as db, db.reading() as c:
            assert c.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        peer.start()
        assert peer.ask("status")["notices"] == []
    peer.wait_done(job, total=SPANS)
    assert collected(peer, job, tmp_path / "out") == plain(place, "long")


def test_a_database_full_of_garbage(start: Callable[..., Host], place: Path, tmp_path: Path) -> None:
    """Between two runs: the peer comes back, says what happened, is told of the job and does its part again."""
    alice = up(start, place, "alice", "a")
    bob = up(start, place, "bob", "b", "--bootstrap", alice.address)
    alice.wait_connected(1)
    job = alice.publish(**JOB)
    alice.wait_done(job, total=2)
    eventually("bob has heard of it all", lambda: bob.job(job)["state"] == "done")
    alice.kill(signal.SIGKILL)
    garbage = random.Random(1).randbytes(100_000)
    database(alice).write_bytes(garbage)
    database(alice).with_name("meshinfer.db-wal").write_bytes(garbage)

    alice.flags = (*alice.flags, "--bootstrap", bob.address)  # whom she met she has forgotten too
    alice.start()
    (notice,) = alice.ask("status")["notices"]
    assert "the store meshinfer.db was damaged (" in notice
    assert "moved aside as meshinfer.db.damaged-1" in notice
    assert notice in alice.log.read_text()
    assert "moved aside as meshinfer.db.damaged-1" in alice.cli("doctor", check=None).stdout
    eventually("she is told of the job", lambda: job in [known["job"] for known in alice.ask("jobs")["jobs"]])
    for peer in (alice, bob):
        peer.wait_done(job, total=2)
        assert collected(peer, job, tmp_path / peer.home.name / "out") == plain(place, "a", "b")


def test_what_can_be_read_is_kept(start: Callable[..., Host], place: Path, tmp_path: Path) -> None:
    """A peer alone in its mesh, whom nobody can tell anything: its job and results come out of the damaged file."""
    peer = up(start, place, "peer", "a")
    job = peer.publish(**JOB)
    peer.wait_done(job, total=1)
    peer.kill(signal.SIGKILL)
    suspicion(database(peer)).write_text("found while it ran")
    peer.start()
    (notice,) = peer.ask("status")["notices"]
    assert "damaged (found while it ran)" in notice
    assert "1 finished tasks" in notice
    peer.wait_done(job, total=1)
    assert collected(peer, job, tmp_path / "out") == plain(place, "a")


def test_damage_while_it_runs(start: Callable[..., Host], tmp_path: Path) -> None:
    """It ends with an exit code of its own and says why; started again, it is healed."""
    home = tmp_path / "peer"
    home.mkdir(mode=0o700)
    write_events(home, 20_000)
    peer = start("peer")
    size = database(peer).stat().st_size
    with database(peer).open("r+b") as file:
        file.seek(size // 8)
        file.write(random.Random(1).randbytes(size - size // 8))
    assert peer.process is not None
    with pytest.raises(MeshInferError), call(socket_path(home), "subscribe", {"since": "1h"}) as lines:
        for _ in lines:
            pass
    assert peer.process.wait(60) == 6
    said = peer.log.read_text()
    assert "meshinfer.db is damaged (" in said
    assert "start `meshinfer up` again" in said
    assert "Traceback" not in said
    peer.start()
    assert "was moved aside as meshinfer.db.damaged-1" in peer.ask("status")["notices"][0]
    assert peer.kill(signal.SIGTERM) == 0


def write_events(home: Path, count: int) -> None:
    """A store with more than SQLite keeps in memory."""
    me = load_or_create(home / "identity.key").peer_id
    entry = Entry(ContentId("c" * 32), "dock", "a.avi", "video", {}, 1000, 64, 48, 100, 10.0, 10.0)
    box = Detection("person", 0.5, (0.0, 0.0, 1.0, 1.0))
    frames = [FrameResult(n, n / 10, 64, 48, (box,) * 8) for n in range(count)]
    with closing(Database.open(home / "meshinfer.db")) as db:
        tasks = TaskTable(db, me)
        row = tasks.begin(TaskId("1" * 32), JobId("a" * 16), entry)
        tasks.commit(row.task, frames, run=row.run, next_frame=count, analysed=count, seconds=1.0)


def test_what_a_start_does_not_mend(tmp_path: Path) -> None:
    """A newer store, and keys that are none: each is said in a line, and left as it is."""
    home = tmp_path / "h"
    home.mkdir(mode=0o700)
    Database.open(home / "meshinfer.db").close()
    good = (home / "meshinfer.db").read_bytes()
    newer = good[:60] + b"\x00\x00\x00\x63" + good[64:]
    (home / "meshinfer.db").write_bytes(newer)
    refused(meshinfer(home, "up"), 2, "meshinfer.db was written by a newer meshinfer", "upgrade")
    assert (home / "meshinfer.db").read_bytes() == newer
    key = (home / "identity.key").read_bytes()
    (home / "identity.key").write_bytes(key[:40])
    refused(meshinfer(home, "up"), 2, "identity.key is no libp2p ed25519 private key", "restore it from a backup")
    assert (home / "identity.key").read_bytes() == key[:40]
