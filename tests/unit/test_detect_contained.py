"""Models that pass the pre-scan and mean harm all the same: alone in a process, they are stopped, and nothing else is.

1. A trial ends every one of them, within seconds and 512 MB, with a ModelError that says why.
2. A real model passes its trial.
3. An isolated detector finds what one in this process finds; when its process dies, a picture is lost, not the next.
4. No process stays behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshinfer.detect import budget, lane
from meshinfer.detect.detector import load_detector
from meshinfer.detect.guard import Watch
from meshinfer.detect.isolated import Isolated
from meshinfer.detect.onnx import Session, _runtime
from meshinfer.detect.process import ModelProcess
from meshinfer.detect.shelf import EMBEDDED
from meshinfer.detect.trial import try_model
from meshinfer.errors import ModelError
from meshinfer.model.job import Detect
from tests.vision.hostile_onnx import GOOD, folded_bomb, memory_bomb, slow_model, time_bomb
from tests.vision.tiny_onnx import brightness_model

ALL = Detect(min_score=0.0)
GREY = np.full((48, 64, 3), 128, np.uint8)

TRIALS = """
import json, resource, sys
from pathlib import Path
from meshinfer.detect.trial import try_model
from meshinfer.errors import ModelError
said = {}
for path in map(Path, sys.argv[1:]):
    try:
        try_model(path)
        said[path.stem] = ""
    except ModelError as e:
        said[path.stem] = str(e)
print(json.dumps([said, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


def written(folder: Path, name: str, data: bytes) -> Path:
    (folder / f"{name}.onnx").write_bytes(data)
    return folder / f"{name}.onnx"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts private memory against RLIMIT_DATA")
def test_what_wants_too_much_memory_is_refused_below_512_mb(tmp_path: Path) -> None:
    files = [
        written(tmp_path, "good", brightness_model()),
        written(tmp_path, "gigabyte", memory_bomb((1, 1, 150, 150))),
        written(tmp_path, "folded", folded_bomb(8192)),
    ]
    # In a process of its own, whose children are these alone.
    run = subprocess.run(
        [sys.executable, "-c", TRIALS, *map(str, files)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    said, peak = json.loads(run.stdout)
    assert said.pop("good") == ""
    for name, message in said.items():
        assert message.startswith(f"{name}.onnx: "), said
        assert "more memory than a model may take here" in message, said
    assert peak < 512 * 1024


def test_what_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "SECONDS", 0.3)
    for name, data in (("load", time_bomb()), ("run", slow_model())):
        with pytest.raises(ModelError, match=rf"{name}.onnx: took longer than 0.3 s to load and for a first picture"):
            try_model(written(tmp_path, name, data))


def test_the_kernel_ends_a_load_that_nobody_stops(tmp_path: Path) -> None:
    """The peer is gone, and the runtime holds the interpreter: the alarm does not need either."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from meshinfer.detect.budget import Budget, enforce\nenforce(Budget(-0.9, 1 << 30), 2)\nwhile True: pass",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert child.wait(60) == -signal.SIGALRM


def test_what_is_refused_is_refused_with_the_same_words(tmp_path: Path) -> None:
    path = written(tmp_path, "m", GOOD[:200])
    with pytest.raises(ModelError) as here:
        load_detector(path)
    with pytest.raises(ModelError) as there:
        try_model(path)
    assert str(there.value) == str(here.value)
    with pytest.raises(ModelError, match=r"gone\.onnx: cannot be read: No such file"):
        try_model(tmp_path / "gone.onnx")


@pytest.fixture(scope="module")
def isolated() -> Iterator[Isolated]:
    model = Isolated(EMBEDDED, name="yard", version="1")
    yield model
    model.close()


def test_it_finds_what_a_detector_in_this_process_finds(isolated: Isolated) -> None:
    detector = load_detector(EMBEDDED, name="yard", version="1")
    assert isolated.card == detector.card
    here, there = detector.worker(ALL, 20), isolated.worker(ALL, 20)
    pictures = np.random.default_rng(0).integers(0, 255, (3, 90, 160, 3), np.uint8)
    for picture in (*pictures, pictures[0, ::2, ::2], pictures[0][:, ::-1]):
        assert there(picture) == here(picture)
    with pytest.raises(ModelError, match="knows no class 'cow'"):
        isolated.worker(Detect(classes=("cow",)))


def test_threads_share_it(isolated: Isolated) -> None:
    expected = isolated.worker(ALL, 5)(GREY)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.extend(isolated.worker(ALL, 5)(GREY) == expected for _ in range(5)))
        for _ in range(3 * (os.cpu_count() or 1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 5 * len(threads)


def test_a_process_that_dies_costs_one_picture(tmp_path: Path) -> None:
    isolated = Isolated(written(tmp_path, "m", brightness_model()))
    before = isolated.worker(ALL)(GREY)
    process = isolated._process
    os.kill(process._process.pid, signal.SIGSEGV)
    process._process.wait(60)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"m\.onnx: crashed the runtime .SIGSEGV."):
            process.look(GREY, ALL, 300)
    assert isolated.worker(ALL)(GREY) == before
    assert isolated._process is not process
    written(tmp_path, "m", brightness_model((20, 20, 8, 8)))
    isolated.close()
    with pytest.raises(ModelError, match="has changed on disk"):
        isolated.worker(ALL)(GREY)


def test_a_process_that_does_not_answer_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelProcess(written(tmp_path, "m", brightness_model()), lanes=1) as process:
        monkeypatch.setattr("meshinfer.detect.process.LOOK_SECONDS", 0.2)
        os.kill(process._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process._process.pid, os.WSTOPPED | os.WNOWAIT)
        waiting: list[str] = []

        def wait() -> None:
            with pytest.raises(ModelError) as e:
                process.look(GREY, ALL, 5)
            waiting.append(str(e.value))

        others = [threading.Thread(target=wait) for _ in range(3)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join(60)
        assert waiting == ["m.onnx: took longer than 0.2 s for one picture"] * 3
        assert not process.is_alive


def test_one_that_answers_byte_by_byte_is_not_waited_for() -> None:
    """Each byte comes in time, and the message never."""
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def drip() -> None:
        with theirs, contextlib.suppress(OSError):
            theirs.sendall((1 << 20).to_bytes(4, "big"))
            for _ in range(100):
                theirs.sendall(b"x")
                if over.wait(0.05):
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        with ours, pytest.raises(TimeoutError):
            lane.receive(ours, 0.2)
    finally:
        over.set()
        thread.join()


def test_it_ends_with_the_peer() -> None:
    """However that ends: the child waits for the end of a socket, which the kernel closes."""
    code = (
        "import os\nfrom meshinfer.detect.shelf import EMBEDDED\nfrom meshinfer.detect.process import ModelProcess\n"
        "model = ModelProcess(EMBEDDED, lanes=1)\nprint(model._process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    pid = int(run.stdout)
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}/cmdline").exists() and b"child" in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < until, "the child outlived its peer"
        time.sleep(0.02)


def test_a_picture_too_large_for_the_lane(isolated: Isolated) -> None:
    huge = np.broadcast_to(np.uint8(0), (lane.MAX_BYTES // 3 + 1, 1, 3))
    with pytest.raises(ModelError, match="too many for a model in a process"):
        isolated.worker(ALL)(huge)


def test_a_run_that_takes_too_long_is_stopped_here_too(tmp_path: Path) -> None:
    session = Session(slow_model())
    with (
        pytest.raises(ModelError, match=r"took longer than 0\.1 s for one picture"),
        Watch(_runtime().RunOptions, 0.1).run() as options,
    ):
        session._session.run(None, {"images": np.ones((1, 3, 64, 64), np.float32)}, options)
    # What goes wrong in time is no matter of the watch.
    with pytest.raises(KeyError), Watch(_runtime().RunOptions, 60).run():
        raise KeyError


def test_this_process_gives_a_model_half_of_its_memory_at_most() -> None:
    with pytest.raises(ModelError, match="more memory than a model may take here"):
        Session(memory_bomb((1, 1, 20_000, 20_000))).run({"images": np.ones((1, 3, 64, 64), np.float32)})
