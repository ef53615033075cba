"""A model in a process of its own, seen from outside: it may crash, hang or want too much, and only it ends."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
from numpy.typing import NDArray

from meshinfer.detect import lane
from meshinfer.detect.budget import budget_for
from meshinfer.detect.card import ModelCard
from meshinfer.errors import ModelError
from meshinfer.model.detection import Detection
from meshinfer.model.job import Detect
from meshinfer.model.series import SeriesInput

START_SECONDS = 60.0
"""For Python and the libraries, before the model's own time counts: 0.3 s where nothing else runs."""
LOOK_SECONDS = 40.0
"""For one picture: the process ends a run itself after 30 s, with a better message."""
_KEPT = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
"""Of the environment: what a hostile model must not read in the memory of its process is not there."""


_NONSENSE = "its process said something it should not, and was stopped: it is hostile"


class _Lane(NamedTuple):
    sock: socket.socket
    memory: mmap.mmap


class ModelProcess:
    """A running child with the model loaded. `look` may be called from many threads; `lanes` of them get on at once."""

    def __init__(self, path: Path, *, name: str | None = None, version: str = "", lanes: int = 0) -> None:
        """Blocks until the model is loaded. Raises ModelError: refused, or it crashed, or took too long or too much."""
        self._file = path.name
        try:
            size = path.stat().st_size
        except OSError as e:
            raise ModelError(f"{path.name}: cannot be read: {e.strerror}") from None
        self._ended = threading.Lock()
        self._why = ""
        """Why we ended it; empty: it ended by itself, or has not."""
        self._lanes: SimpleQueue[_Lane | None] = SimpleQueue()
        """Those that are free; None once the process is over."""
        self._start(path, name, version, size, lanes)
        self._over = weakref.finalize(self, _end, self._process, self._control, self._lanes)
        try:
            self.card, self.series = self._load(budget_for(size, lanes).seconds)
        except ModelError:
            self.close()
            raise

    def __enter__(self) -> ModelProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._over.alive and self._process.poll() is None

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._over()

    def look(self, image: NDArray[Any], detect: Detect, most: int) -> tuple[Detection, ...]:
        """What the model sees in a frame. Raises ModelError; after one that ended the process, for all who wait."""
        if image.nbytes > lane.MAX_BYTES:
            raise ModelError(f"{image.nbytes} bytes in one frame are too many for a model in a process of its own")
        kind: Any = image.dtype.str
        if (mine := self._lanes.get()) is None:
            self._lanes.put(None)  # for the next that waits
            raise self._lost("was stopped")
        try:
            lane.array_in(mine.memory, image.shape, kind)[:] = image
            answer = self._ask(mine.sock, lane.Look(image.shape, kind, detect, most), LOOK_SECONDS, "for one picture")
        finally:
            self._lanes.put(mine)
            if not self._over.alive:
                _put_away(self._lanes)
        match answer:
            case lane.Found(detections):
                return detections
            case lane.Refused(message):
                raise ModelError(message)
        raise self._lost(_NONSENSE)

    def _start(self, path: Path, name: str | None, version: str, size: int, lanes: int) -> None:
        with contextlib.ExitStack() as theirs:
            self._control, control = socket.socketpair()
            theirs.enter_context(control)
            numbers = []
            for _ in range(lanes):
                ours, sock = socket.socketpair()
                theirs.enter_context(sock)
                memory = lane.shared_memory()
                theirs.callback(os.close, memory)
                self._lanes.put(_Lane(ours, mmap.mmap(memory, lane.MAX_BYTES)))
                numbers.append((sock.fileno(), memory))
            errand = {
                "path": str(path.absolute()),
                "name": name,
                "version": version,
                "size": size,
                "control": control.fileno(),
                "lanes": numbers,
            }
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-s", "-m", "meshinfer.detect.child", msgspec.json.encode(errand).decode()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[control.fileno(), *(number for pair in numbers for number in pair)],
                    cwd="/",  # the runtime looks for the files that a model names in the working folder
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C is for the peer, which ends it
                )
            except OSError as e:
                raise ModelError(f"{self._file}: no process could be started for it: {e.strerror}") from None

    def _load(self, seconds: float) -> tuple[ModelCard, SeriesInput | None]:
        if not isinstance(self._ask(self._control, None, START_SECONDS, "to start a process for"), lane.Ready):
            raise self._lost("could not be given a process of its own")
        match self._ask(self._control, None, seconds, "to load and for a first picture"):
            case lane.Loaded(card, series):
                return card, series
            case lane.Refused(message):
                raise ModelError(message)
        raise self._lost(_NONSENSE)

    def _ask(self, sock: socket.socket, question: lane.Message | None, seconds: float, what: str) -> lane.Message:
        try:
            if question is not None:
                sock.settimeout(seconds)
                lane.send(sock, question)
            answer = lane.receive(sock, seconds)
        except TimeoutError:
            raise self._lost(f"took longer than {seconds:.1f} s {what}") from None
        except (OSError, msgspec.MsgspecError):
            answer = None
        if answer is None:
            raise self._lost("")
        return answer

    def _lost(self, why: str) -> ModelError:
        """End the process; what ended it first is the reason for everyone who waits for an answer."""
        with self._ended:
            if not self._why:
                if not why:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(1)
                self._why = why or _cause(self._process.poll())
            self.close()
        return ModelError(f"{self._file}: {self._why}")


def _cause(code: int | None) -> str:
    """What ended a process that ended by itself."""
    if code is None or code >= 0:
        return f"its process ended (status {code}): it is damaged or hostile; export it anew"
    if -code == signal.SIGALRM:
        return "took too long to load: it is hostile, or too large for this machine"
    why = "it is damaged, hostile, or wants more memory than it may; export it anew"
    return f"crashed the runtime ({signal_name(-code)}): {why}"


def signal_name(number: int) -> str:
    """Some have none: those for real time."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: subprocess.Popen[bytes], control: socket.socket, lanes: SimpleQueue[_Lane | None]) -> None:
    process.kill()
    control.close()
    process.wait()
    _put_away(lanes)


def _put_away(lanes: SimpleQueue[_Lane | None]) -> None:
    """Close the lanes that are free; whoever waits for one gets None."""
    with contextlib.suppress(Empty):
        while True:
            if (free := lanes.get_nowait()) is not None:
                free.sock.close()
                free.memory.close()
    lanes.put(None)


def _environment() -> dict[str, str]:
    paths = [p for p in sys.path if p and Path(p).is_absolute()]
    return {
        **{key: os.environ[key] for key in _KEPT if key in os.environ},
        "PYTHONPATH": os.pathsep.join(paths),
        # Threads and arenas that nobody uses would count as the model's memory.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }
