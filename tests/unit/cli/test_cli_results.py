"""What `meshinfer results` writes: everything once, sorted, whole or not at all, and never outside its folder."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.cli.export import Export, safe_name
from meshinfer.cli.spool import Owners, in_order, key_of, read_row
from meshinfer.errors import ConfigError, ProtocolError
from tests.unit.cli.conftest import ALICE, BOB, NOBODY, ScriptedNode, event, job_view

Cli = Callable[..., Result]


def task(peer: str, name: str = "a" * 32, **changes: Any) -> dict[str, Any]:
    made = {"task": name, "peer": peer, "source": "dock", "entry": "a.mp4", "content": "c" * 32, "state": "done"}
    return made | {"frames": 10, "detections": 2, "error": None} | changes


def ended(**changes: Any) -> dict[str, Any]:
    end = {"job": job_view(), "partial": False, "missing": [], "pixels_refused": [], "digest": "d" * 32}
    return {"end": end | changes}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_for_each_peer_and_all_of_it_merged(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    at_bob = {"peer": BOB, "peer_name": "rotterdam", "task": "b" * 32, "source": "gate", "entry": "g.mp4"}
    at_bob["content"] = "e" * 32
    node.script["results"] = [
        {"data": {"task": task(ALICE)}},
        {"data": {"event": event(frame=1)}},
        {"data": {"event": event(frame=2)}},
        {"data": {"event": event(frame=2)}},
        {"data": {"task": task(BOB, "b" * 32)}},
        {"data": {"event": event(**at_bob, frame=0, wall=1_790_000_000.0)}},
        {"data": {"picture": {"peer": ALICE, "source": "dock", "entry": "../a.mp4", "frame": 2, "jpeg_base64": JPEG}}},
        {
            "data": {
                "picture": {"peer": ALICE, "source": "dock", "entry": "b", "frame": 2, "jpeg_base64": "bm8ganBlZw=="}
            }
        },
        ended(pixels_refused=[{"peer": BOB, "name": "rotterdam"}]),
    ]
    out = tmp_path / "out"
    result = cli("results", "people", "-d", out, "--annotate", "4")
    assert result.exit_code == 0, result.output
    assert "rotterdam lets no pixels leave" in result.stdout
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "annotated/hamburg-1-dock-_a.mp4-000002.jpg",
        "coco.json",
        "detections.jsonl",
        "hamburg-1/detections.jsonl",
        "rotterdam/detections.jsonl",
        "summary.json",
    ]
    merged = lines(out / "detections.jsonl")
    assert [(e["peer_name"], e["frame"]) for e in merged] == [("rotterdam", 0), ("hamburg-1", 1), ("hamburg-1", 2)]
    assert merged[2] == event(frame=2) | {"detections": merged[2]["detections"]}
    coco = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [
        "gate/g.mp4",
        "dock/yard-night.mp4",
        "dock/yard-night.mp4",
    ]
    assert coco["categories"] == [{"id": 1, "name": "person"}]
    first = coco["annotations"][0]
    assert (first["image_id"], first["category_id"], first["bbox"], first["area"]) == (1, 1, [10, 20, 20, 40], 800)
    assert len({a["id"] for a in coco["annotations"]}) == 6
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["frames"], summary["detections"], summary["pictures"]) == (3, 6, 1)
    assert list(tmp_path.glob(".out*")) == [], "nothing is left beside it"


JPEG = base64.b64encode(b"\xff\xd8\xff\xe0 a picture").decode()


def test_a_task_that_two_did_counts_once(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    at_bob = {"peer": BOB, "peer_name": "rotterdam"}
    node.script["results"] = [
        {"data": {"task": task(ALICE, state="failed", frames=1)}},
        {"data": {"event": event(frame=1)}},
        {"data": {"task": task(BOB)}},
        *({"data": {"event": event(**at_bob, frame=n)}} for n in (1, 2)),
        ended(),
    ]
    assert cli("results", "people", "-d", tmp_path / "out").exit_code == 0
    assert [(e["peer"], e["frame"]) for e in lines(tmp_path / "out/detections.jsonl")] == [(BOB, 1), (BOB, 2)]
    assert len(lines(tmp_path / "out/hamburg-1/detections.jsonl")) == 1, "what a peer found stays in its folder"


def test_parts_of_a_file_make_one_file(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    """Spans of one content from two peers, which have it under different names; and another file of that name."""
    at_alice = {"source": "yard", "entry": "copy.mp4", "content": "c" * 32, "wall": None}
    at_bob = {"peer": BOB, "peer_name": "rotterdam", "source": "dock", "entry": "2026.mp4", "content": "c" * 32}
    other = event(source="dock", entry="2026.mp4", content="f" * 32, task="9" * 32, frame=3, t=0.3, wall=None)
    a, b = "a" * 24 + "00000000", "a" * 24 + "00000001"
    node.script["results"] = [
        {"data": {"task": task(ALICE, a)}},
        {"data": {"event": other}},
        *({"data": {"event": event(**at_alice, task=a, frame=n, t=n / 10)}} for n in (1, 2)),
        {"data": {"task": task(BOB, b)}},
        *({"data": {"event": event(**at_bob, task=b, frame=n, t=n / 10, wall=100 + n / 10)}} for n in (12, 15)),
        ended(),
    ]
    assert cli("results", "people", "-d", tmp_path / "out").exit_code == 0
    merged = lines(tmp_path / "out/detections.jsonl")
    assert [(e["frame"], e["entry"], e["wall"], e["peer"]) for e in merged] == [
        (1, "2026.mp4", 100.1, ALICE),
        (2, "2026.mp4", 100.2, ALICE),
        (12, "2026.mp4", 101.2, BOB),
        (15, "2026.mp4", 101.5, BOB),
        (3, "2026.mp4", None, ALICE),
    ]
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert {image["file_name"] for image in images} == {"dock/2026.mp4"}
    assert lines(tmp_path / "out/hamburg-1/detections.jsonl")[1]["entry"] == "copy.mp4", "its own name in its folder"


def test_partial_is_said_with_names(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    missing = [{"peer": BOB, "name": "rotterdam", "reason": "not connected"}]
    node.script["results"] = [{"data": {"event": event()}}, ended(partial=True, missing=missing)]
    result = cli("results", "people", "-d", tmp_path / "out")
    assert result.exit_code == 4
    assert "PARTIAL: not heard from rotterdam" in result.stderr
    assert json.loads((tmp_path / "out/summary.json").read_text())["partial"] is True
    result = cli("results", "people", "-d", tmp_path / "out", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["missing"] == missing


def test_what_a_cancelled_job_left_is_partial(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    tasks = {"total": 3, "done": 1, "failed": 1, "cancelled": 1}
    node.script["results"] = [{"data": {"event": event()}}, ended(job=job_view(state="cancelled", tasks=tasks))]
    result = cli("results", "people", "-d", tmp_path / "out")
    assert result.exit_code == 4
    assert result.stderr == "PARTIAL: 1 of 3 tasks not done (it was cancelled)\n"


def test_a_peer_that_is_away_with_work_to_do_is_named(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    view = job_view(state="running", tasks={"total": 4, "done": 3, "running": 1})
    view["peers"][1] |= {"connected": False, "done": 1}
    node.script["results"] = [{"data": {"event": event()}}, ended(job=view, partial=True)]
    result = cli("results", "people", "-d", tmp_path / "out")
    assert result.exit_code == 4
    assert result.stderr.startswith("PARTIAL: not heard from rotterdam; 1 of 4 tasks not done; run it again")


def test_nothing_to_collect_is_explained(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    node.script["results"] = [ended(job=job_view(**NOBODY))]
    node.script["job"] = [{"end": job_view(**NOBODY)}]
    result = cli("results", "people", "-d", tmp_path / "out")
    assert result.exit_code == 1
    assert "has no model yolox_nano" in result.stderr
    assert json.loads((tmp_path / "out/coco.json").read_text())["images"] == []


def test_what_others_put_there_is_safe(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    node.script["results"] = [{"data": {"event": event()}}, ended()]
    refused = cli("results", "people", "-d", out)
    assert refused.exit_code == 2
    assert "holds other things" in refused.stderr
    assert node.asked == [], "nobody is asked for what cannot be written"
    assert cli("results", "people", "-d", out, "--force").exit_code == 0
    node.script["results"] = [{"data": {"event": event(peer=BOB, peer_name="rotterdam")}}, ended()]
    assert cli("results", "people", "-d", out).exit_code == 0, "its own folder is written again without --force"
    assert sorted(p.name for p in out.iterdir()) == [
        "coco.json",
        "detections.jsonl",
        "mine.txt",
        "rotterdam",
        "summary.json",
    ]


def test_an_answer_that_breaks_off_leaves_the_old_one(node: ScriptedNode, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    node.script["results"] = [{"data": {"event": event()}}, ended()]
    cli("results", "people", "-d", out)
    before = (out / "detections.jsonl").read_bytes()
    node.script["results"] = [{"data": {"event": event(frame=5)}}]
    assert cli("results", "people", "-d", out).exit_code == 1
    assert (out / "detections.jsonl").read_bytes() == before
    assert list(tmp_path.glob(".out*")) == []


def test_peers_cannot_name_their_way_out(tmp_path: Path) -> None:
    out = tmp_path / "a/b/out"
    names = ["../../evil", "annotated", "coco.json", "", "..", "x" * 300, "x" * 300]
    with Export(out) as export:
        for i, name in enumerate(names):
            export.event(event(peer=f"{ALICE[:-1]}{i + 1}", peer_name=name))
        export.finish({})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    folders = [p for p in out.iterdir() if p.is_dir()]
    assert len(folders) == len(names)
    assert all(safe_name(p.name) == p.name for p in folders)


def test_pictures_are_of_all_peers(tmp_path: Path) -> None:
    with Export(tmp_path / "out", pictures=3) as export:
        for peer, name in ((ALICE, "hamburg-1"), (BOB, "rotterdam")):
            export.event(event(peer=peer, peer_name=name))
            for frame in range(5):
                export.picture({"peer": peer, "source": "s", "entry": "e", "frame": frame, "jpeg_base64": JPEG})
        export.finish({})
        assert export.pictures == 3
    kept = sorted(p.name for p in (tmp_path / "out/annotated").iterdir())
    assert kept == ["hamburg-1-s-e-000000.jpg", "hamburg-1-s-e-000001.jpg", "rotterdam-s-e-000000.jpg"]


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="is a file"):
        Export(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be written"), Export(tmp_path / "file/below"):
        pass


@pytest.mark.parametrize("bad", [{}, event(frame="x"), event(detections=[{"label": "a"}]), "event", None])
def test_events_that_are_none(bad: object) -> None:
    with pytest.raises(ProtocolError):
        read_row(bad)


_rows = st.lists(
    st.builds(
        lambda peer, task, frame, wall: event(peer=peer, task=task * 32, entry=f"{task}.mp4", frame=frame, wall=wall),
        st.sampled_from([ALICE, BOB]),
        st.sampled_from("abc"),
        st.integers(0, 6),
        st.sampled_from([None, 1.0, 2.0]),
    ),
    max_size=40,
)


@given(
    _rows,
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([ALICE, BOB])),
    st.integers(1, 7),
    st.randoms(use_true_random=False),
)
def test_merged_is_the_sorted_union_without_duplicates(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[dict[str, Any]],
    done: dict[str, str],
    run: int,
    shuffle: random.Random,
) -> None:
    """Whatever the order and the size of the runs: each frame of a task once, from the peer whose answer counts."""
    # A frame of a file has one time: of events that disagree on it, one alone can be real.
    events = list({(e["peer"], e["task"], e["frame"]): e for e in events}.values()) * 2
    shuffle.shuffle(events)
    owners, rows, folder = Owners(), [], tmp_path_factory.mktemp("runs")
    first: dict[str, str] = {}
    for e in events:
        owners.event(row := read_row(e))
        rows.append(row)
        first.setdefault(e["task"], e["peer"])
    for name, peer in done.items():
        owners.task(task(peer, name * 32))
    owner = first | {name * 32: peer for name, peer in done.items()}
    expected = {(e["task"], e["frame"]): read_row(e) for e in events if e["peer"] == owner[e["task"]]}
    assert list(owners.unique(in_order(rows, folder, run=run))) == sorted(expected.values(), key=key_of)
