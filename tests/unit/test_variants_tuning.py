"""Where a model runs: compared with the CPU, remembered while the machine is the same, and left when it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from meshinfer.detect import onnx
from meshinfer.detect.detector import load_detector
from meshinfer.detect.onnx import Session
from meshinfer.detect.providers import CPU, Provider, usable
from meshinfer.detect.variants.aside import quiet
from meshinfer.detect.variants.opening import Opener
from meshinfer.detect.variants.trial import Question, Run, Timing, answer, save_frames
from meshinfer.detect.variants.tuning import Book, Machine, Tuned, choose, objection, pick, this_machine, tune
from meshinfer.detect.variants.wrapped import Wrapped
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection
from meshinfer.model.ids import ModelDigest
from meshinfer.model.job import Detect
from meshinfer.node.tuner import Tuner
from tests.unit.shelves import a_shelf
from tests.vision.tiny_onnx import brightness_model

CUDA, ROCM = "CUDAExecutionProvider", "ROCMExecutionProvider"
MACHINE = Machine("1.31", ("CPUExecutionProvider", CUDA, ROCM), "x86_64; a card", 4)
DIGEST = ModelDigest("a" * 64)
SEEN = ((Detection("person", 0.8, (0.0, 0.0, 10.0, 10.0)),),)


def timing(provider: str, fps: float = 100.0, *, score: float = 0.8, error: str = "") -> Timing:
    found = ((Detection("person", score, (0.0, 0.0, 10.0, 10.0)),),)
    return Timing(Run("m", provider), error=error, fps=fps, found=found)


class Device(Wrapped):
    """A device as the runtime's, which adds `off` to every number and may break."""

    def __init__(self, model: bytes, off: float = 0.0) -> None:
        super().__init__(Session(model))
        self.off, self.runs, self.broken = off, 0, False

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.runs += 1
        if self.broken:
            raise ModelError("failed while running: out of memory")
        return [output + np.float32(self.off) for output in super().run(feeds)]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "tuned", MACHINE)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(brightness_model())
    return path


def test_only_known_local_providers_are_used_and_the_cpu_comes_last() -> None:
    offered = ["AzureExecutionProvider", "CPUExecutionProvider", "FutureExecutionProvider", CUDA]
    assert [p.short for p in usable(offered)] == ["cuda", "cpu"]
    assert usable([]) == (CPU,)
    assert usable(onnx.providers())[-1] == CPU


def test_a_provider_that_the_runtime_lacks_is_an_error_and_no_silent_cpu(model: Path) -> None:
    with pytest.raises(ModelError, match="has no cuda"):
        Session(model.read_bytes(), Provider("cuda", CUDA))


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (timing("cuda", 500), ""),
        (timing("cuda", 500, score=0.805), ""),
        (timing("cuda", 500, score=0.7), "finds other things"),
        (replace(timing("cuda", 500), found=((),)), "finds other things"),
        (timing("cuda", 105), "not faster than the CPU: 105.0 frames/s against 100.0"),
        (timing("cuda", error="no driver"), "no driver"),
    ],
)
def test_what_speaks_against_a_device(there: Timing, why: str) -> None:
    said = objection(timing("cpu"), there)
    assert why in said
    assert bool(said) == bool(why)


def test_the_largest_gain_wins() -> None:
    """Gains, not frames/s: while cuda was tried the machine was busy."""
    pairs = {
        "cuda": (timing("cpu", 10), timing("cuda", 100)),
        "rocm": (timing("cpu", 100), timing("rocm", 200)),
        "openvino": (timing("cpu", 10), timing("openvino", 1000, score=0.1)),
    }
    tuned = choose(MACHINE, pairs)
    assert (tuned.provider, tuned.fps, set(tuned.refused)) == ("cuda", 100, {"openvino"})
    assert pick(MACHINE, {"cpu": timing("cpu", 42)}) == Tuned(MACHINE, "cpu", 42, tried=True)


def test_every_provider_is_tried_aside_and_a_crash_is_its_own(book: Book, model: Path) -> None:
    asked: list[Question] = []

    def try_(question: Question) -> tuple[Timing, ...]:
        asked.append(question)
        if question.runs[1].provider == "rocm":
            raise ModelError("the process that tried it was ended by SIGSEGV")
        return timing("cpu", 100), timing("cuda", 300)

    tuned = tune(model, model, MACHINE, 4, try_)
    assert [q.runs[1].provider for q in asked] == ["cuda", "rocm"]
    assert all(q.runs[0].provider == "cpu" and q.runs[0].threads == 4 for q in asked)
    assert tuned == Tuned(MACHINE, "cuda", 300, {"rocm": "the process that tried it was ended by SIGSEGV"}, tried=True)


def test_a_trial_compares_what_is_found(model: Path, tmp_path: Path) -> None:
    """The child's work, with a device in place of the runtime's: real decoder, real clock."""
    frames = tmp_path / "frames.npz"
    save_frames(frames, [np.full((48, 64, 3), 150, np.uint8), np.full((64, 64, 3), 90, np.uint8)])
    offs = {"cpu": 0.0, "cuda": 0.001, "rocm": 20.0}

    def create(data: bytes, provider: Provider) -> Session:
        if provider.short == "openvino":
            raise ModelError("openvino does not start here")
        return Device(data, offs[provider.short])

    runs = tuple(Run(str(model), short, threads=2) for short in (*offs, "openvino"))
    cpu, cuda, rocm, openvino = answer(Question(runs, str(frames), 0.01, rounds=2, min_score=0.01), quiet, create)
    assert len(cpu.found) == 2
    assert cpu.fps > 0
    assert cpu.run_ms > 0
    assert "finds other" not in objection(cpu, replace(cuda, fps=cpu.fps * 2))
    assert "finds other" in objection(cpu, replace(rocm, fps=cpu.fps * 2))
    assert objection(cpu, openvino) == "m.onnx: openvino does not start here"


@pytest.mark.parametrize(
    "change", [{"runtime": "1.32"}, {"offered": (CUDA,)}, {"device": "x86_64; another card"}, {"cores": 8}]
)
def test_what_was_found_out_holds_while_the_machine_is_the_same(book: Book, change: dict[str, Any]) -> None:
    assert book.get(DIGEST) is None
    book.put(DIGEST, tuned := Tuned(MACHINE, "cuda", 300, tried=True))
    folder = book._folder
    assert Book(folder, MACHINE).get(DIGEST) == tuned
    assert Book(folder, MACHINE).get(ModelDigest("b" * 64)) is None
    assert Book(folder, replace(MACHINE, **change)).get(DIGEST) is None


@pytest.mark.parametrize("damage", [b"", b"{", b'{"machine": 3}', b"\xff"])
def test_a_damaged_page_is_a_missing_one(book: Book, damage: bytes) -> None:
    book.put(DIGEST, Tuned(MACHINE, "cuda"))
    next(book._folder.iterdir()).write_bytes(damage)
    assert book.get(DIGEST) is None
    book.note_fps(DIGEST, 30.0)
    assert book.get(DIGEST) == Tuned(MACHINE, fps=30.0)


def test_this_machine_is_the_same_twice() -> None:
    assert this_machine() == this_machine()
    assert this_machine().runtime == onnx.version()


@pytest.fixture
def opened(book: Book) -> tuple[Opener, list[tuple[str, Device]], list[str]]:
    devices: list[tuple[str, Device]] = []
    notices: list[str] = []

    def create(model: bytes, provider: Provider) -> Session:
        devices.append((provider.short, Device(model)))
        return devices[-1][1]

    return Opener(book, notices.append, create), devices, notices


Opened = tuple[Opener, list[tuple[str, Device]], list[str]]


@pytest.mark.parametrize(("tuned", "on"), [(None, "cpu"), (Tuned(MACHINE), "cpu"), (Tuned(MACHINE, "cuda"), "cuda")])
def test_a_model_is_opened_where_it_was_found_to_run_best(
    book: Book, opened: Opened, model: Path, tuned: Tuned | None, on: str
) -> None:
    opener, devices, notices = opened
    if tuned is not None:
        book.put(DIGEST, tuned)
    opener(DIGEST, model.read_bytes())
    assert [short for short, _ in devices] == [on]
    assert notices == []


def test_a_device_that_fails_at_work_loses_no_frame_and_is_not_asked_again(
    book: Book, opened: Opened, model: Path
) -> None:
    opener, devices, notices = opened
    book.put(DIGEST, Tuned(MACHINE, "cuda", 300.0))
    detector = load_detector(model, open_session=lambda data: opener(DIGEST, data))
    frame = np.full((64, 64, 3), 200, np.uint8)
    before = detector.worker(Detect())(frame)
    devices[0][1].broken = True
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(detector.worker(Detect())(frame))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [before] * 4
    assert [short for short, _ in devices] == ["cuda", "cpu"], "one spare for all threads"
    assert len(notices) == 1
    assert "goes on with the CPU: cuda failed while running: out of memory" in notices[0]
    kept = book.get(DIGEST)
    assert kept is not None
    assert (kept.provider, list(kept.refused)) == ("cpu", ["cuda"])


def test_a_model_that_fails_on_the_cpu_too_is_to_blame(book: Book, opened: Opened, model: Path) -> None:
    opener, devices, _ = opened
    book.put(DIGEST, Tuned(MACHINE, "cuda"))
    session = opener(DIGEST, model.read_bytes())
    devices[0][1].broken = True
    blob = np.zeros((1, 3, 64, 64), np.float32)
    session.run({"images": blob})
    devices[1][1].broken = True
    with pytest.raises(ModelError, match="out of memory"):
        session.run({"images": blob})


def test_a_device_that_is_gone_is_left_at_once(book: Book, model: Path) -> None:
    def create(data: bytes, provider: Provider) -> Session:
        if provider != CPU:
            raise ModelError("cuda does not start here")
        return Session(data)

    notices: list[str] = []
    book.put(DIGEST, Tuned(MACHINE, "cuda"))
    opener = Opener(book, notices.append, create)
    opener(DIGEST, model.read_bytes())
    opener(DIGEST, model.read_bytes())
    assert len(notices) == 1


def test_the_node_tries_each_model_once_and_uses_it_from_then_on(
    book: Book, opened: Opened, model: Path, tmp_path: Path
) -> None:
    opener, devices, _ = opened
    shelf = a_shelf(tmp_path / "models", opener=opener)
    card = shelf.add(model)
    asked: list[Question] = []
    said: list[str] = []

    def try_(question: Question) -> tuple[Timing, ...]:
        asked.append(question)
        with np.load(question.frames) as kept:
            assert len(kept.files) == 1
        return timing("cpu"), timing(question.runs[1].provider, 400)

    picture = np.zeros((9, 9, 3), np.uint8)
    tune_one: Callable[..., Tuned | None] = Tuner(book, shelf, 4, said.append, try_, lambda: picture)._tune
    book.note_fps(card.digest, 100.0)  # measured at work, before any other device was tried
    tuned = tune_one(card)
    assert tuned is not None
    assert tuned.provider == "cuda"
    assert tune_one(card) is None
    assert len(asked) == 2
    shelf.get(card.digest)
    assert [short for short, _ in devices] == ["cuda"]
    newer = Book(book._folder, replace(MACHINE, runtime="1.32"))
    again: Callable[..., Tuned | None] = Tuner(newer, shelf, 4, said.append, try_, lambda: picture)._tune
    assert again(card) is not None, "another runtime: done again"
