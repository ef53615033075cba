"""Work in a process of its own, which may crash, hang or eat memory without harm: a question in, an answer out.

The question is one JSON line on the child's standard input, which then stays open: the child ends when it closes, so it
never outlives its parent, however that ends. On standard output come JSON lines: progress, and last the answer. What
libraries print there goes to standard error, of which the last line explains a crash.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

import meshinfer
from meshinfer.detect.process import signal_name
from meshinfer.errors import MeshInferError, ModelError

T = TypeVar("T")
Tell = Callable[[str, float], None]
"""Is told of a step, and of the part of the whole that is done."""

_MAX_SAID = 4096


class _Line(msgspec.Struct, omit_defaults=True):
    answer: Any = None
    error: str = ""
    step: str = ""
    done: float = 0.0


def quiet(step: str, done: float) -> None:
    """Tells nobody."""


def ask(module: str, question: object, answer: type[T], *, timeout: float, memory_mb: int = 0, tell: Tell = quiet) -> T:
    """What `python -m module` answers; blocks. The child is gone when this returns or raises.

    `memory_mb` bounds the child's own memory where the system can (Linux); 0: no bound. Raises ModelError for what the
    child reports, for its death, and after `timeout` seconds.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is the parent's to hear
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout, stop)
        timer.start()
        try:
            line = _talk(process, msgspec.json.encode(question) + b"\n", tell)
        finally:
            timer.cancel()
            process.kill()
            process.communicate()  # closes the pipes, and waits
        if line is not None and line.answer is not None:
            return msgspec.convert(line.answer, answer)
        if line is not None:
            raise ModelError(line.error)
        why = f"took longer than {timeout:.0f} s" if late.is_set() else _last_words(process.returncode, said)
    raise ModelError(why)


def _talk(process: subprocess.Popen[bytes], question: bytes, tell: Tell) -> _Line | None:
    """The last line; None where the child died before it."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(question)
        process.stdin.flush()
    except BrokenPipeError:
        return None
    for text in process.stdout:
        if not text.endswith(b"\n"):
            break  # killed in the middle of it
        line = msgspec.json.decode(text, type=_Line)
        if not line.step:
            return line
        tell(line.step, line.done)
    process.wait()
    return None


def _last_words(code: int, said: IO[bytes]) -> str:
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _MAX_SAID))
    words = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    ended = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    return f"the process that tried it {ended}" + (f": {words[-1].strip()[:200]}" if words else "")


def _environment() -> dict[str, str]:
    """This very meshinfer, from wherever it was imported."""
    root = str(Path(meshinfer.__file__).parent.parent)
    path = os.environ.get("PYTHONPATH", "")
    return os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def serve(kind: type[T], work: Callable[[T, Tell], object]) -> None:
    """The child's main: answer one question and end."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(line: _Line) -> None:
        out.write(msgspec.json.encode(line) + b"\n")
        out.flush()

    if megabytes := int(sys.argv[1]):
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 2**20,) * 2)
    question = msgspec.json.decode(sys.stdin.buffer.readline(), type=kind)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        answer = work(question, lambda step, done: send(_Line(step=step, done=done)))
    except MeshInferError as e:
        send(_Line(error=str(e)))
    except MemoryError:
        send(_Line(error=f"needs more than the {megabytes} MB of memory it may use"))
    else:
        send(_Line(answer=answer))


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)
