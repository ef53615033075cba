"""`models bench` and `models optimize` end to end, with a small network of convolutions: real children, real tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from meshinfer.cli import app
from meshinfer.cli.models.footage import Footage, read_truth, sample
from meshinfer.config import load
from meshinfer.detect.detector import load_detector
from meshinfer.detect.providers import CPU
from meshinfer.detect.variants import ladder, optimize
from meshinfer.detect.variants.ladder import Variant
from meshinfer.detect.variants.precision import Truth
from meshinfer.detect.variants.tuning import open_book
from meshinfer.errors import ConfigError
from meshinfer.home import IDENTITY
from meshinfer.mesh.identity import load_or_create
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect
from meshinfer.node.app import open_shelf
from tests.unit.footage import write_image, write_video
from tests.vision.tiny_onnx import brightness_model, declared, field, model, node, tensor

Cli = Callable[..., Result]


def conv_model(layers: int = 4, width: int = 8) -> bytes:
    """YOLOv8's layout, one class `grey`: convolutions that smooth, and a box whose score is the mean of the last."""
    kernel = field(5, field(1, "pads") + b"".join(field(8, 1) for _ in range(4)) + field(20, 7))
    place, weight = np.zeros((1, 5, 84), np.float32), np.zeros((1, 5, 84), np.float32)
    place[0, :4, 0] = (32, 32, 16, 16)
    weight[0, 4, 0] = 1
    graph, last = b"", "images"
    for i in range(layers):
        channels = 3 if i == 0 else width
        values = np.full((width, channels, 3, 3), 1 / (9 * channels), np.float32)
        graph += field(1, node("Conv", (last, f"w{i}"), (f"c{i}",), field(3, f"conv{i}") + kernel))
        graph += field(1, node("Relu", (f"c{i}",), (f"r{i}",))) + field(5, tensor(f"w{i}", values))
        last = f"r{i}"
    mean = field(5, field(1, "keepdims") + field(3, 0) + field(20, 2))
    graph += field(1, node("ReduceMean", (last,), ("mean",), mean)) + field(1, node("Mul", ("weight", "mean"), ("s",)))
    graph += field(1, node("Add", ("place", "s"), ("out",))) + field(2, "convolutions")
    graph += field(5, tensor("place", place)) + field(5, tensor("weight", weight))
    graph += field(11, declared("images", (1, 3, 64, 64))) + field(12, declared("out", (1, 5, 84)))
    return model(graph, {"names": "{0: 'grey'}", "task": "detect"})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def cli(home: Path) -> Cli:
    return lambda *args: CliRunner().invoke(app, ["models", *map(str, args), "--home", str(home)])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(8):
        write_image(folder / f"{i}.png", 120 + 15 * i)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "yard.onnx"
    path.write_bytes(conv_model())
    return path


def test_bench_measures_and_keeps_it_in_mind(cli: Cli, home: Path, file: Path, pictures: Path) -> None:
    digest = json.loads(cli("add", file, "--json").stdout)["model"]["digest"]
    done = cli("bench", "yard", "--images", pictures, "--threads", "1", "--seconds", "0.1", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    (run,) = answer["runs"]
    assert (run["provider"], run["threads"], run["error"]) == (CPU.short, 1, "")
    assert min(run[key] for key in ("fps", "run_ms", "prepare_ms", "decode_ms", "load_ms")) > 0
    assert answer["frames"] == 8
    assert answer["media_decode_ms"] > 0
    kept = open_book(home).get(digest)
    if answer["workers"] == 1:
        assert kept is not None
        assert kept.fps == run["fps"]
    else:
        assert kept is None, "what the mesh is told is measured with all workers"


def test_optimize_adds_a_variant_that_holds(
    cli: Cli, home: Path, file: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx", reason="the quantisation tools need it: it comes with the extra `dev`")
    monkeypatch.setattr(optimize, "LADDER", (Variant("int8", "int8", head=1),))
    monkeypatch.setattr(ladder, "FASTER", 0.0)  # so small a network may be no faster: not what is tested
    file.with_suffix(".toml").write_text('licence = "MIT"\n')
    cli("add", file, "--version", "2")
    done = cli("optimize", "yard@2", "--images", pictures, "--seconds", "0.1", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["added"]["name"] == "yard"
    assert answer["added"]["version"] == "2-int8"
    (tried,) = answer["variants"]
    assert tried["agreement"]["share"] == 1.0
    assert tried["agreement"]["boxes"] == 4, "half of the frames"
    shelf = open_shelf(load(home), load_or_create(home / IDENTITY), print)
    card, made = shelf.find("yard@2"), shelf.find("yard@2-int8")
    assert (made.layout, made.classes, made.width) == (card.layout, card.classes, card.width)
    assert made.licence == "MIT"
    graph = onnx.load(shelf.path(made.digest))
    assert {p.key: p.value for p in graph.metadata_props}["meshinfer.made_from"] == f"sha256:{card.digest}"
    by_name = {n.name: n for n in graph.graph.node}
    assert by_name["conv0"].input[1] != "w0", "quantised"
    assert by_name["conv3"].input[1] == "w3", "left float"
    image = cv2.imread(str(pictures / "3.png"))
    (here,), (there,) = (shelf.get(d).worker(Detect())(image) for d in (card.digest, made.digest))
    assert there.box == here.box
    assert there.score == pytest.approx(here.score, abs=0.02)
    again = cli("optimize", "yard@2-int8", "--images", pictures, "--seconds", "0.1")
    assert again.exit_code == 1
    assert "yard@2-int8: is quantised already" in again.stderr
    assert again.stdout == "", "said once, and not of each variant"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["bench", "nothing"], 1, "no model 'nothing'"),
        (["bench", "yard-demo", "--threads", "0"], 2, "--threads 0: expected numbers from 1 to 256"),
        (["bench", "yard-demo", "--threads", "a"], 2, "--threads a: expected numbers"),
        (["bench", "yard-demo", "--footage", "absent"], 2, "absent: does not exist"),
        (["optimize", "yard-demo"], 2, "--footage PATH is needed"),
        (["optimize", "yard-demo", "--footage", ".", "--max-ap-loss", "0.1"], 2, "--max-ap-loss needs --labels"),
    ],
)
def test_bad_input(
    cli: Cli, args: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("meshinfer.detect.variants.quantise.check_tools", lambda: None)
    done = cli(*args)
    assert done.exit_code == code
    assert said in done.stderr


def test_without_the_tools_it_says_how_to_get_them(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = cli("optimize", "yard-demo", "--footage", ".")
    assert done.exit_code == 1
    assert 'pip install "meshinfer[optimize]"' in done.stderr


def levels(footage: Footage) -> list[int]:
    return [int(shot.image[0, 0, 0]) for shot in footage.shots]


def test_frames_are_spread_over_all_footage(pictures: Path, tmp_path: Path) -> None:
    assert levels(sample(pictures, 4)) == [120, 150, 180, 210]
    assert len(sample(pictures, 100).shots) == 8
    write_video(pictures / "a.avi", 60)
    (pictures / "broken.mp4").write_text("no video")
    (pictures / "notes.txt").write_text("no footage")
    mixed = sample(pictures, 8)
    assert mixed.unreadable == 1
    assert [shot.file.name for shot in mixed.shots if shot.file][4:] == ["a.avi"] * 2
    assert len(sample(pictures, 8, pictures_only=True).shots) == 8
    (alone,) = sample(pictures / "a.avi", 1).shots
    assert alone.image.shape == (64, 64, 3)
    assert sample(pictures, 2, longest=32).shots[0].image.shape == (32, 32, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no videos or pictures in it"):
        sample(tmp_path / "empty", 4)


def test_labels_are_read_as_yolo_writes_them(pictures: Path, tmp_path: Path) -> None:
    shots = sample(pictures, 2).shots
    (tmp_path / "0.txt").write_text("1 0.5 0.5 0.25 0.5\n\n")
    assert read_truth(tmp_path, shots, ("a", "b")) == [[Truth("b", (24.0, 16.0, 40.0, 48.0))], []]
    for text in ("2 0.5 0.5 0.25 0.5", "-1 0 0 0 0", "a b c", "0 0.5"):
        (tmp_path / "0.txt").write_text(text)
        with pytest.raises(ConfigError, match="class x y width height"):
            read_truth(tmp_path, shots, ("a", "b"))
    (tmp_path / "0.txt").unlink()
    with pytest.raises(ConfigError, match="holds no labels"):
        read_truth(tmp_path, shots, ("a", "b"))


def test_the_model_of_this_test_sees_brightness(file: Path) -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    (found,) = load_detector(file).worker(Detect())(image)
    assert isinstance(found, Detection)
    assert 0.6 < found.score < 200 / 255


def test_any_model_file_can_be_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "loose.onnx").write_bytes(brightness_model())
    done = cli("bench", tmp_path / "loose.onnx", "--threads", "1", "--footage", tmp_path / "absent")
    assert "absent: does not exist" in done.stderr, "the model was found, the footage was not"
