"""The demo's own parts: its reckoning, its folders, and that no process outlives it. The story is in tests/mesh."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshinfer.cli import showcase_peers
from meshinfer.cli.showcase_digest import digest, digest_of_sites
from meshinfer.cli.showcase_peers import Crew, end_all, environment
from meshinfer.cli.showcase_place import Place, cache_folder
from meshinfer.cli.showcase_reckoning import Facts, Site, reckon
from meshinfer.cli.spool import Found, Row
from meshinfer.demo import Truth
from meshinfer.errors import ConfigError, MeshError

BOX = (10.0, 10.0, 50.0, 90.0)
PERSON = Truth("person", BOX)


def row(peer: str, frame: int, *found: Found) -> Row:
    return Row(
        peer=f"id-{peer}",
        peer_name=peer,
        source=peer,
        entry="1.mp4",
        frame=frame,
        t=frame / 10,
        wall=None,
        width=640,
        height=360,
        detections=list(found),
        content="c",
        task=f"task-{peer}",
        job="j",
        cursor="",
    )


def facts() -> Facts:
    """Two peers, a file of three frames each: a person, a person, nothing; both persons were found."""
    plain = digest(("1.mp4", frame, [("person", 0.9, BOX)]) for frame in (0, 1))
    site = Site({"1.mp4": [[PERSON], [PERSON], []]}, bytes=5000, plain=plain)
    rows = [row(peer, frame, Found("person", 0.9, BOX)) for peer in ("a", "b") for frame in (0, 1)]
    peers: list[dict[str, Any]] = [
        {"name": p, "done": 1, "analysed": 3, "fps": 30.0, "detections": 2, "errors": []} for p in ("a", "b")
    ]
    return Facts(
        sites={"a": site, "b": site},
        held={"a": ["a"], "b": ["b"], "office": []},
        job={"state": "done", "tasks": {"total": 2, "done": 2}, "peers": peers},
        rows=rows,
        live=[(r.task, r.frame) for r in rows],
        told={(r.task, r.frame): r.peer_name for r in rows},
        sent={"a": 400, "b": 500, "office": 100},
        picture_bytes=50,
        pictures=1,
        seconds=2.0,
    )


def test_a_good_run_adds_up_and_has_no_problems() -> None:
    r = reckon(facts())
    assert r.problems == []
    assert (r.entries, r.frames, r.detections, r.live_frames, r.fps) == (2, 6, 4, 4, 3.0)
    assert (r.recall, r.precision, r.wasted_frames) == (1.0, 1.0, 0)
    assert r.digest == r.plain_digest == digest_of_sites({name: site.plain for name, site in facts().sites.items()})
    assert (r.footage_bytes, r.mesh_bytes, r.ratio) == (10_000, 1000, 10.0)
    office = r.peers[2]
    assert (office.name, office.frames, office.recall, office.footage_bytes, office.sent_bytes) == (
        "office",
        0,
        None,
        0,
        100,
    )


def test_detections_count_for_the_peer_that_holds_the_footage() -> None:
    good = facts()
    r = reckon(msgspec.structs.replace(good, rows=[r for r in good.rows if r.peer_name == "a"]))
    assert [line.recall for line in r.peers] == [1.0, 0.0, None]
    assert r.recall == 0.5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: {"job": {**f.job, "state": "running", "tasks": {"total": 2, "done": 1}}}, "running: 1 of 2 tasks"),
        (lambda f: {"live": [*f.live, f.live[0]]}, "was told 1 frames twice"),
        (lambda f: {"live": f.live[1:]}, "missed 1 of 4 frames"),
        (
            lambda f: {"rows": [*f.rows[:-1], msgspec.structs.replace(f.rows[-1], peer_name="office")]},
            "office reported",
        ),
        (lambda f: {"job": {**f.job, "peers": f.job["peers"][:1]}}, "3 frames were analysed, and the footage has 6"),
        (lambda f: {"sites": {**f.sites, "b": msgspec.structs.replace(f.sites["b"], plain="other")}}, "of b ("),
        (lambda f: {"missing": ["b"]}, "not heard from when the results were collected: b"),
        (lambda f: {"pictures": 0}, "no annotated frame"),
    ],
)
def test_what_is_wrong_is_said(change: Callable[[Facts], dict[str, Any]], complaint: str) -> None:
    good = facts()
    problems = reckon(msgspec.structs.replace(good, **change(good))).problems
    assert len(problems) == 1
    assert complaint in problems[0]


def test_a_failed_file_is_named() -> None:
    good = facts()
    failed = {**good.job["peers"][1], "done": 0, "errors": [{"entry": "1.mp4", "message": "no frame could be read"}]}
    job = {**good.job, "tasks": {"total": 2, "done": 1}, "peers": [good.job["peers"][0], failed]}
    problems = reckon(msgspec.structs.replace(good, job=job)).problems
    assert problems == ["the job is done: 1 of 2 tasks are done", "b failed on 1.mp4: no frame could be read"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows[1:], "recall is 0.750"),
        (lambda rows: [row(r.peer_name, r.frame, *r.detections, *r.detections) for r in rows], "precision is 0.500"),
        (lambda rows: [*rows, rows[0]], "the results tell 1 frames twice"),
    ],
)
def test_other_detections_have_another_digest(change: Callable[[list[Row]], list[Row]], complaint: str) -> None:
    good = facts()
    problems = " ".join(reckon(msgspec.structs.replace(good, rows=change(list(good.rows)))).problems)
    assert "is not what a plain loop finds" in problems
    assert complaint in problems


def test_the_digest_does_not_depend_on_the_order_or_on_who_found_it() -> None:
    found = [("b", 0, [("person", 0.5, BOX)]), ("a", 7, [("person", 0.9, BOX)]), ("a", 11, [("vehicle", 0.9, BOX)])]
    assert digest(found) == digest(reversed(found))
    assert len({digest(found), digest(found[1:]), digest([("c", *found[0][1:]), *found[1:]])}) == 3
    assert digest_of_sites({"x": "1", "y": "2"}) == digest_of_sites({"y": "2", "x": "1"})
    assert digest_of_sites({"x": "1", "y": "2"}) != digest_of_sites({"x": "2", "y": "1"})


def test_work_that_was_taken_over_is_right_wherever_the_footage_lies_and_what_was_done_twice_is_counted() -> None:
    good = facts()
    moved = [msgspec.structs.replace(r, peer_name="b", peer="id-b") for r in good.rows]
    held = {"a": ["a", "b"], "b": ["a", "b"], "office": []}
    r = reckon(msgspec.structs.replace(good, rows=moved, held=held, killed=["a", "office"]))
    assert r.problems == []
    assert r.wasted_frames == 2, "the subscriber had heard of them from the peer that was killed"
    assert [line.recall for line in r.peers] == [None, None, None], "it says nothing about one peer"
    assert [line.recall for line in r.sites] == [1.0, 1.0]
    assert [line.detections for line in r.peers] == [0, 4, 0]


def test_footage_is_cached_where_xdg_says_and_nowhere_if_that_cannot_be_written(tmp_path: Path) -> None:
    named = cache_folder({"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": "/nowhere"})
    assert named is not None
    assert named.is_relative_to(tmp_path / "cache" / "meshinfer")
    assert cache_folder({"HOME": str(tmp_path)}) == tmp_path / ".cache" / "meshinfer" / named.name
    file = tmp_path / "file"
    file.write_text("")
    assert cache_folder({"HOME": str(file)}) is None
    assert cache_folder({}) is None
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) is None


def test_a_kept_place_gets_a_new_run_each_time_and_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for expected in ("run-1", "run-2"):
        with Place(tmp_path) as place:
            (place.folder / "peers").mkdir()
        assert place.folder == tmp_path / expected
        assert (place.folder / "peers").is_dir()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_temporary_place_keeps_what_is_worth_a_look() -> None:
    with Place(None) as place:
        (place.folder / "peers").mkdir()
        (place.folder / "contact-sheet.png").write_bytes(b"png")
    assert [path.name for path in place.folder.iterdir()] == ["contact-sheet.png"]
    (place.folder / "contact-sheet.png").unlink()
    place.folder.rmdir()


def test_sigterm_unwinds_and_takes_a_temporary_place_away() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, Place(None) as place:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143
    assert not place.folder.exists()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_place_that_cannot_be_made_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file.*--keep DIR"), Place(tmp_path / "file"):
        pass


def test_peers_do_not_see_the_users_own_settings() -> None:
    assert "MESHINFER_MESH_BOOTSTRAP" not in environment({"MESHINFER_MESH_BOOTSTRAP": "/ip4/10.0.0.5/tcp/4001"})
    assert environment({"PATH": "/bin"})["PATH"] == "/bin"


def spawn(code: str) -> subprocess.Popen[bytes]:
    """A process that has said that it is ready."""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_process_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showcase_peers, "GRACE", 0.2)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    willing = "import time; print('ready', flush=True); time.sleep(60)"
    processes = [spawn(deaf), spawn(willing)]
    end_all(processes)
    assert [process.returncode for process in processes] == [-signal.SIGKILL, -signal.SIGTERM]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()


def test_a_process_with_a_lifeline_ends_when_its_stdin_closes() -> None:
    code = (
        "import time; from meshinfer.cli.lifeline import end_with_stdin; end_with_stdin();"
        "print('ready', flush=True); time.sleep(60)"
    )
    with spawn(code) as process:
        assert process.stdin is not None
        process.stdin.write(b"what is said does not matter")
        process.stdin.close()
        assert process.wait(10) == -signal.SIGTERM


def test_a_peer_that_ends_by_itself_is_named_and_its_last_words_are_there(tmp_path: Path) -> None:
    with Crew(tmp_path) as crew:
        peer = crew.start("hamburg", "--source", f"yard={tmp_path / 'nowhere'}")
        with pytest.raises(MeshError, match=r"hamburg has ended \(exit code 2\)"):
            crew.wait("it comes up", peer.is_up)
        assert "does not exist" in peer.last_lines()[-1]
