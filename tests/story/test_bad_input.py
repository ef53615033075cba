"""What a clumsy or hostile user and host bring: each gets one clear line, the right exit code, and harms nothing else.

Real processes. One mesh of two peers serves most tests; every test leaves it as usable as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from meshinfer.detect.layouts import LAYOUTS
from meshinfer.home import socket_path
from meshinfer.mesh.memory import MemoryNetwork
from meshinfer.model.ids import PeerId
from meshinfer.node.driver import Driver
from meshinfer.node.health import Health
from meshinfer.schedule.state import ScheduleState
from tests.story.command import AT_ONCE, WITHOUT_RIGHTS, Command, Done, Host, hosts, meshinfer, refused
from tests.story.peers import eventually
from tests.unit.footage import write_image, write_video
from tests.vision.tiny_onnx import brightness_model, constant_model

FRAMES = 20
NOBODY = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWFSu1Y7Kq81GoPK33UmSPfvhEWq84RQ65hdFnCkdos2Wo"


class Place(NamedTuple):
    alice: Host
    """Holds footage, good and bad, and the model `grey`; her sources are looked at once."""
    bob: Host
    """Holds nothing but what every peer has."""
    lonely: Command
    """A guest that nobody answers; started early, as it takes a while to give up."""
    gone: Path
    """A video that was there when alice looked."""


def fill(folder: Path) -> Path:
    """Two good videos and what may lie beside them; the second of the good ones."""
    write_video(folder / "good.avi", FRAMES)
    gone = write_video(folder / "gone.avi", FRAMES // 2)
    whole = write_video(folder / "whole.mp4", 200, codec="mp4v")
    (folder / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()
    picture = write_image(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes(picture.read_bytes()[:-10])
    picture.unlink()
    (folder / "empty.mp4").touch()
    (folder / "garbage.mp4").write_bytes(np.random.default_rng(1).bytes(50_000))
    (folder / "out.mp4").symlink_to("/etc/hosts")
    shutil.copy(folder / "good.avi", folder / "locked.avi")
    (folder / "locked.avi").chmod(0)
    (folder / "notes.txt").write_text("no footage, and not said to be")
    return gone


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("bad")
    lonely = Command(folder / "lonely", "subscribe", "--bootstrap", NOBODY)
    footage = folder / "footage"
    footage.mkdir()
    gone = fill(footage)
    (folder / "alice").mkdir(mode=0o700)
    (folder / "alice" / "config.toml").write_text("[limits]\nsettle = 0\nrescan = 3600\n")
    (folder / "grey.onnx").write_bytes(brightness_model())
    refused(meshinfer(folder / "alice", "jobs"), 3, "no node runs in", "meshinfer up")
    done = meshinfer(folder / "alice", "models", "add", str(folder / "grey.onnx"))
    assert done.returncode == 0, done.stderr
    with hosts(folder) as start:
        alice = start("alice", "--source", f"dock={footage}", before=WITHOUT_RIGHTS)
        bob = start("bob", "--bootstrap", alice.address)
        alice.wait_entries(2)
        bob.wait_model("grey", 1)
        yield Place(alice, bob, lonely, gone)


# ---- footage ---------------------------------------------------------------------------------------------------------


def test_bad_files_are_listed_with_their_reason(place: Place) -> None:
    listed = {
        line["unreadable"]["name"]: line["unreadable"]["reason"]
        for line in map(json.loads, place.alice.cli("catalog", "--json").stdout.splitlines())
        if "unreadable" in line
    }
    locked = {"locked.avi": "Permission denied"} if WITHOUT_RIGHTS or os.geteuid() else {}
    expected = {
        "cut.jpg": "cut off",
        "cut.mp4": "cut off before its index",
        "empty.mp4": "is empty",
        "garbage.mp4": "no video of a known format",
        "out.mp4": "leads out of the source",
        **locked,
    }
    assert listed.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in listed[name], (name, listed[name])
    shown = place.alice.cli("catalog").stdout
    assert "…" in place.alice.cli("peers").stdout
    assert "?" in meshinfer(place.alice.home, "peers", before=["env", "PYTHONIOENCODING=ascii"]).stdout
    assert "dock/empty.mp4" in shown
    assert "unreadable: is empty" in shown
    assert shown.splitlines()[-1].startswith("2 files, ")
    assert f"{len(expected)} files not readable" in shown


def test_a_file_that_fails_costs_its_own_task_only(place: Place, tmp_path: Path) -> None:
    """A video that goes away between the look at it and its turn: the other one is done, and the error is shown."""
    place.gone.unlink()
    job_file = tmp_path / "job.yaml"
    job_file.write_text("{name: half, model: grey, on: {kind: video}}")
    done = place.bob.cli("publish", str(job_file), "--follow", check=1)
    assert "1 of 2 tasks done, 1 failed" in done.stdout
    error = "alice failed on dock/gone.avi: gone.avi is gone: it was moved, changed or removed"
    assert error in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert error in place.bob.cli("jobs", "half").stdout
    assert {e["entry"] for e in place.bob.results("half", tmp_path / "out", check=1)} == {"good.avi"}


@pytest.mark.skipif(not WITHOUT_RIGHTS and os.geteuid() == 0, reason="root reads everything, and there is no setpriv")
def test_sources_and_homes_without_permission(tmp_path: Path) -> None:
    closed, home = tmp_path / "closed", tmp_path / "home"
    closed.mkdir(mode=0)
    home.mkdir(mode=0o500)
    try:
        up = meshinfer(tmp_path / "h", "up", "--source", f"dock={closed}", before=WITHOUT_RIGHTS)
        refused(up, 2, "source dock", "cannot be read", "permissions")
        refused(meshinfer(home, "up", before=WITHOUT_RIGHTS), 2, f"{home}: cannot be written", "--home")
    finally:
        closed.chmod(0o700)
    refused(meshinfer(tmp_path / "h", "up", "--source", "dock=nowhere"), 2, "nowhere does not exist", "check the path")


# ---- models and jobs -------------------------------------------------------------------------------------------------


def test_models_that_are_none(place: Place, tmp_path: Path) -> None:
    garbage, odd = tmp_path / "garbage.onnx", tmp_path / "odd.onnx"
    garbage.write_bytes(np.random.default_rng(1).bytes(1000))
    odd.write_bytes(constant_model(np.zeros((1, 7, 11), np.float32)))
    for home in (place.alice.home, tmp_path / "no-node"):
        refused(meshinfer(home, "models", "add", str(garbage)), 1, "garbage.onnx: no ONNX file")
    refused(place.alice.cli("models", "add", str(tmp_path), check=None), 2, "is a folder")
    done = place.alice.cli("models", "add", str(odd), check=None)
    seen = ("odd.onnx: unknown layout", "[1, 7, 11]", '.toml, e.g. layout = "yolov8"', "fastestdet")
    refused(done, 1, *seen, lines=2 + len(LAYOUTS))
    assert "odd" not in place.alice.cli("models", "ls").stdout


def test_models_without_a_node(tmp_path: Path) -> None:
    """The shelf is the home's: it can be filled before the first `up`."""
    (tmp_path / "grey.onnx").write_bytes(brightness_model())
    added = meshinfer(tmp_path / "h", "models", "add", str(tmp_path / "grey.onnx"), "--json")
    assert json.loads(added.stdout)["model"]["classes"] == ["grey"]
    listed = meshinfer(tmp_path / "h", "models", "ls", "--json")
    assert "grey" in [m["name"] for m in json.loads(listed.stdout)["models"]]


def test_models_that_a_node_holds(place: Place) -> None:
    """Who else has one is known to the node alone; what others may not run is theirs to say."""
    told = json.loads(place.bob.cli("models", "describe", "yard-demo", "--json").stdout)["model"]
    assert [peer["name"] for peer in told["held_by"]] == ["alice"]
    place.alice.cli("models", "verify", "grey")
    refused(place.alice.cli("models", "rm", "yard-demo", check=None), 1, "comes with meshinfer")


def test_names_that_nobody_knows(place: Place, tmp_path: Path) -> None:
    """Wrong classes, of a model of one's own and of one that only another peer holds; wrong models and jobs."""
    for peer in (place.alice, place.bob):
        refused(
            peer.cli("run", "grey", "--classes", "gray", check=None), 2, "$.detect.classes", "'gray'", "knows: grey"
        )
        refused(peer.cli("run", "gery", check=None), 1, "no model 'gery'", "grey", "yard-demo")
    for args in (["jobs", "x"], ["results", "x", "-d", str(tmp_path / "out")], ["cancel", "x"]):
        refused(place.bob.cli(*args, check=None), 2, "no job 'x' is known here", "meshinfer jobs")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_things_is_left_alone(place: Place, tmp_path: Path) -> None:
    job = place.alice.publish(model="grey", on={"name": "good*"})
    place.alice.wait_done(job, total=1)
    (tmp_path / "mine.txt").write_text("mine")
    refused(place.alice.cli("results", job, "-d", str(tmp_path), check=None), 2, "holds other things", "--force")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: grey\nsample: {fsp: 2}", "job.yaml: $.sample.fsp: unknown key; did you mean `fps`?"),
        ("model: [", "job.yaml:1:"),
        ("model: grey\n" + "#" * 70_000, "too big for a job file"),
    ],
    ids=["typo", "no YAML", "too big"],
)
def test_bad_job_files(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    refused(meshinfer(tmp_path / "h", "publish", str(tmp_path / "job.yaml")), 2, said)


# ---- the host --------------------------------------------------------------------------------------------------------


def test_what_keeps_a_peer_from_starting(place: Place, tmp_path: Path) -> None:
    port = place.alice.address.rpartition("/p2p/")[0]
    refused(meshinfer(place.alice.home, "up"), 2, "a node is running here already", str(place.alice.pid))
    refused(meshinfer(tmp_path / "h", "up", "--listen", port), 1, f"cannot listen on {port}: it is already in use")
    refused(meshinfer(tmp_path / "h", "up", "--listen", "/ip4/0.0.0.0"), 2, "--listen: bad address '/ip4/0.0.0.0'")
    refused(meshinfer(tmp_path / "h", "up", "--bootstrap", port), 2, "doesn't say which peer lives there", "/p2p/")
    assert place.alice.ask("status")["connected"] == 1


def test_garbage_at_both_doors(place: Place) -> None:
    """Bytes that are no libp2p, and requests that are none: the node answers or hangs up, and goes on."""
    junk = np.random.default_rng(1).bytes(10_000)
    port = int(place.alice.address.split("/")[4])
    for data in (b"", junk, b"GET / HTTP/1.1\r\n\r\n", b"\x13/multistream/1.0.0\n" + junk):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(data)
    answers = [_answer(place.alice, text) for text in BAD_REQUESTS]
    assert [text for text, answer in zip(BAD_REQUESTS, answers, strict=True) if "error" not in answer] == []
    assert _answer(place.alice, {"call": "nothing"})["error"]["exit"] == 2
    assert place.alice.ask("status")["connected"] == 1
    assert "Traceback" not in place.alice.log.read_text()


BAD_REQUESTS: list[Any] = [
    b"\n",
    b"\xff\xfe\n",
    b"[" * 100_000 + b"\n",
    b"x" * 2_000_000,
    {"call": "status", "unknown": 1},
    {"call": "publish", "args": {"spec": 3}},
    {"call": "publish", "args": {"spec": {"model": 3}}},
    {"call": "subscribe", "args": {"min_score": "x"}},
    {"call": "model_add", "args": {"file": 7, "name": []}},
    {"call": "cancel", "args": {"job": [], "why": {}}},
    {"call": "results", "args": {"job": None}},
    {"call": "follow"},
]


def _answer(peer: Host, request: Any) -> dict[str, Any]:
    """The first line that comes back, or `{"error": ...}` where the node hung up on what it did not even read."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(socket_path(peer.home)))
        try:
            connection.sendall(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline()
        except (BrokenPipeError, ConnectionResetError) as e:
            return {"error": str(e)}
    answer = json.loads(line)
    assert isinstance(answer, dict)
    return answer


# ---- guests ----------------------------------------------------------------------------------------------------------


def test_guests(place: Place, tmp_path: Path) -> None:
    """Without a node in the home, `run` and `subscribe` join for one call, and leave nothing behind."""
    home = tmp_path / "h"
    job = ["run", "grey", "--on", "name=good*", "--name", "guests", "--follow"]
    refused(meshinfer(home, *job), 3, "no node runs in", "or join for this one call with --bootstrap")
    done = meshinfer(home, *job, "--bootstrap", place.bob.address)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 task done" in done.stdout
    subscriber = Command(home, "subscribe", "--since", "1h", "--job", "guests", "--bootstrap", place.alice.address)
    assert "dock/good.avi" in subscriber.wait_line()
    ended = subscriber.end(signal.SIGINT, within=10)
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr
    assert not home.exists()


def test_a_guest_that_nobody_answers(place: Place) -> None:
    done = place.lonely.end()
    refused(_without_notes(done), 1, "no bootstrap peer could be reached in 15 s", "/tcp/9/", "is one of them up")


def _without_notes(done: Done) -> Done:
    lines = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith("no node runs here")]
    return Done(done.args, done.returncode, done.stdout, "".join(lines))


# ---- who may join, and a bootstrap peer that is away -----------------------------------------------------------------


def test_a_closed_mesh_and_a_bootstrap_peer_that_is_away(tmp_path: Path) -> None:
    """The right key joins, as soon as the bootstrap peer is up; another key and none do not, and say what may be it."""
    made = json.loads(meshinfer(tmp_path / "host", "init", "--swarm-key", "--json").stdout)
    meshinfer(tmp_path / "wrong", "init", "--swarm-key")
    key = tmp_path / "host" / "swarm.key"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"/ip4/127.0.0.1/tcp/{free.getsockname()[1]}"
    bootstrap = ("--bootstrap", f"{listen}/p2p/{made['peer']}")
    with hosts(tmp_path) as start:
        right = start("right", "--swarm-key", str(key), *bootstrap)
        assert "not reached for" in right.cli("status").stdout
        start("host", listen=listen)
        wrong = start("wrong", *bootstrap)
        without = start("without", *bootstrap)
        right.wait_connected(1)
        for peer in (wrong, without):
            eventually(f"{peer.home.name} says why", lambda p=peer: "swarm key? trying on" in p.log.read_text())  # type: ignore[misc]  # bound now
            status = peer.ask("status")
            assert status["connected"] == 0
            assert "not reached for" in peer.cli("status").stdout
    key.write_text("my key\n")
    refused(meshinfer(tmp_path / "h", "up", "--swarm-key", str(key)), 2, f"{key}: a swarm key has 3 lines")


async def test_what_is_said_of_bootstrap_peers(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Once a minute of one that is away, once when it is there; and of one that is there and in another mesh."""
    network, said = MemoryNetwork(), list[str]()
    alice, bob = PeerId("alice"), PeerId("bob")
    bootstrap = (f"/memory/bob/p2p/{bob}",)
    async with network.mesh(alice, bootstrap=bootstrap) as mesh:
        health = Health(tmp_path, 0, bootstrap, Driver(ScheduleState(alice), lambda effect: None), mesh, said.append)

        async def look(times: int) -> None:
            for _ in range(times):
                await trio.sleep(5)
                health.check_peers()

        await look(20)
        assert len(said) == 2
        assert all(text.startswith("bootstrap peer bob: ") and "is it up" in text for text in said)
        async with network.mesh(bob, listen=("bob",)):
            await look(8)
        assert said[2:] == [
            "bootstrap peer bob: connected",
            "bootstrap peer bob says nothing of this mesh: is it in one of another name?",
        ]


# ---- a full disk -----------------------------------------------------------------------------------------------------

NAMESPACE = [
    "unshare",
    "-m" if os.geteuid() == 0 else "-rm",
    "sh",
    "-c",
    'mount -t tmpfs -o size=64m t "$0" && exec "$@"',
]


def _can_mount(folder: Path) -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NAMESPACE, str(folder), "true"], capture_output=True, check=False).returncode == 0
    )


def test_a_full_disk(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    """On a small disk of its own: no tasks are started and it is said why; the peer serves, and goes on with room."""
    room = tmp_path_factory.mktemp("room")
    if not _can_mount(room):
        pytest.skip("needs a disk of its own: a mount namespace with a tmpfs, which this system does not allow")
    footage = tmp_path_factory.mktemp("footage")
    write_video(footage / "good.avi", FRAMES)
    limits = [*AT_ONCE, "MESHINFER_LIMITS_DISK_RESERVE_MB=32"]
    with hosts(room) as start:
        peer = start("h", "--source", f"d={footage}", before=[*NAMESPACE, str(room), *limits], inside=True)
        peer.cli("models", "add", str(place.alice.home.parent / "grey.onnx"))
        peer.wait_entries(1)
        early = peer.publish(model="grey", name="early")
        peer.wait_done(early, total=1)
        filler = peer.home.parent / "filler"
        filler.write_bytes(bytes(48 << 20))
        eventually("it notices", lambda: peer.ask("status")["notices"])
        job = peer.publish(model="grey")
        done = peer.cli("run", "grey", "--follow", "--timeout", "2", check=5)
        assert "starts no tasks now: 15 MB of disk left, 32 MB are kept free" in done.stdout
        assert "15 MB of disk left" in peer.cli("jobs", job).stdout
        assert "15 MB of disk left" in peer.cli("status").stdout
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        out = str(peer.home.parent / "out")
        refused(peer.cli("results", early, "-d", out, check=None), 1, "out: cannot be written: No space left on device")
        filler.unlink()
        peer.wait_done(job, total=1)
        assert "no tasks are started" in peer.log.read_text()
        eventually("it says so", lambda: "there is room on the disk again" in peer.log.read_text())
