"""The examples of docs/PYTHON.md, as they stand there, and pictures that are looked at by another peer."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import meshinfer
from meshinfer import Detector, Job, Peer
from meshinfer.errors import ConfigError, MediaError, MeshInferError, ModelError
from tests.story.command import meshinfer as command
from tests.story.peers import eventually

PAGE = Path(__file__).parents[2] / "docs" / "PYTHON.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def folder(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the page: a model, a picture, and footage of 40 frames."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHINFER_MESH_LISTEN", "/ip4/127.0.0.1/tcp/0")
    monkeypatch.setenv("MESHINFER_LIMITS_SETTLE", "0")
    shutil.copy(assets / "models" / "yolox_nano.onnx", tmp_path)
    shutil.copy(assets / "coco" / "images" / "000000000025.jpg", tmp_path / "street.jpg")
    (tmp_path / "footage").mkdir()
    picture = cv2.imread(str(tmp_path / "street.jpg"))
    height, width = picture.shape[:2]
    video = cv2.VideoWriter(str(tmp_path / "walk.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (width, height))
    for i in range(40):
        video.write(np.roll(picture, i, axis=1))
    video.release()
    shutil.copy(tmp_path / "walk.mp4", tmp_path / "footage")
    return tmp_path


def test_the_examples_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    *alone, last = EXAMPLES
    for example in alone:
        exec(compile(example, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "giraffe" in printed
    assert "/p2p/12D3Koo" in printed
    assert "\ndone\n" in printed
    assert re.search(r"walk\.mp4 3\.0 \['giraffe'", printed)
    assert names["drawn"].shape == cv2.imread("street.jpg").shape
    with Peer("alice", name="alice") as alice:  # the last example has a peer to talk to
        exec(compile(last, str(PAGE), "exec"), names | {"alice_addresses": alice.addresses})
    assert "giraffe" in capsys.readouterr().out


def refused(error: type[Exception], match: str, act: Callable[[], object]) -> None:
    with pytest.raises(error, match=match):
        act()


def test_a_picture_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Detector("yolox_nano.onnx", min_score=0.5)("street.jpg")
    with Peer("alice", name="alice") as alice, Peer("bob", name="bob", bootstrap=alice.addresses) as bob:
        alice.add_model("yolox_nano.onnx")
        eventually("they know each other", lambda: {p["name"] for p in bob.peers()} >= {"alice", "bob"})
        assert bob.infer("yolox_nano", "street.jpg", on="alice", min_score=0.5) == [expected]
        # The command line asks the node that runs in its home, and draws what comes back.
        done = command(folder / "bob", "infer", "yolox_nano", "street.jpg", "--on", "alice", "--draw", "out")
        assert (done.returncode, done.stderr) == (0, "")
        assert "giraffe" in done.stdout
        assert cv2.imread("out/street.jpg") is not None
        cv2.imwrite("plain.bmp", cv2.imread("street.jpg"))  # of a format that is not sent as it is
        assert [d.label for d in bob.infer("yolox_nano", "plain.bmp", on="alice")[0]] == ["giraffe"]
        refused(ModelError, "no model 'nothing'", lambda: bob.infer("nothing", "street.jpg", on="alice"))
        refused(
            ModelError,
            "knows no class 'girafe'",
            lambda: bob.infer("yolox_nano", "street.jpg", on="alice", classes=["girafe"]),
        )
        refused(ConfigError, "no peer 'carol'", lambda: bob.infer("yolox_nano", "street.jpg", on="carol"))
        refused(MediaError, "cannot be read", lambda: bob.infer("yolox_nano", "none.jpg", on="alice"))
        (folder / "half.jpg").write_bytes((folder / "street.jpg").read_bytes()[:5000])
        refused(MeshInferError, "end is missing", lambda: bob.infer("yolox_nano", "half.jpg", on="alice"))
        monkeypatch.setenv("MESHINFER_POLICY_INFER", "false")
        with Peer("carol", name="carol", bootstrap=alice.addresses):
            eventually("carol is known", lambda: "carol" in {p["name"] for p in bob.peers()})
            refused(ModelError, "infer = false", lambda: bob.infer("yard-demo", "street.jpg", on="carol"))


def test_events_as_they_are_made(folder: Path) -> None:
    with Peer("alice", source={"yard": "footage"}) as alice:
        alice.add_model("yolox_nano.onnx", name="nano", version="1")
        eventually("the footage is there", lambda: alice.peers()[0]["sources"])
        events = alice.events(since="1h", label=["giraffe"])
        job = alice.publish(Job("nano@1", sample={"every": 10}, expires="1h"))
        first = next(events)
        assert first.job == job.id
        assert first.peer == alice.id
        assert first.detections[0].label == "giraffe"
        summary = job.wait(timeout=60)
        assert (summary["state"], summary["analysed"]) == ("done", 4)
        found = list(job.results())
        assert first in found
        assert [event.frame for event in found] == sorted(event.frame for event in found)
        events.close()


def test_what_is_wrong_is_said(folder: Path) -> None:
    refused(ConfigError, "modle", lambda: Job("x", modle="y"))
    refused(ConfigError, "min_score", lambda: Detector("yolox_nano.onnx", min_score=2))
    refused(ModelError, "no class", lambda: Detector("yolox_nano.onnx", classes=["persn"]))
    refused(ModelError, "no model 'nothing'", lambda: Detector("nothing"))
    refused(MediaError, "uint8", lambda: Detector("yard-demo", home=folder)(np.zeros((4, 4), np.uint8)))
    refused(ConfigError, "inside", lambda: Peer("alice").status())
    refused(ConfigError, "does not exist", lambda: Peer("alice", source={"yard": "nowhere"}).__enter__())
    with Peer("alice"):
        refused(ConfigError, "runs in .* already", lambda: Peer("alice", name="other").__enter__())
        with Peer("alice") as again:
            assert again.status()["home"] == str(folder / "alice")
    refused(AttributeError, "nothing", lambda: meshinfer.nothing)


def test_a_model_of_series_has_windows(folder: Path) -> None:
    detector = Detector(Path(__file__).parents[2] / "configs" / "examples" / "turbine" / "gearbox.onnx")
    time = np.arange(40_000) / 4096
    (folder / "calm.csv").write_text("\n".join(f"{x:.4f}" for x in np.sin(2 * np.pi * 30 * time)))
    windows = list(detector.frames("calm.csv", rate=4096))
    assert windows
    assert [w.frame for w in windows[:2]] == [0, windows[1].frame]
    refused(ModelError, "looks at series", lambda: detector("street.jpg"))
