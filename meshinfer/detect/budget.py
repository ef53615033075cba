"""What a model may take of this machine in a process of its own, and how the kernel is told."""

from __future__ import annotations

import contextlib
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_MIB = 1024 * 1024
SECONDS = 5.0
SECONDS_PER_MIB = 0.25
"""A file of 270 MiB, YOLOv8x, has 72 s: loading and one picture take 15 s on one slow core."""
MEMORY = 256 * _MIB
"""Beyond what the process takes before it sees the model. YOLOv8n at 640x640 needs 60 MiB for its first picture."""
MEMORY_PER_BYTE = 6
"""The file, the runtime's copy, its weights, and those once more in the order that its kernels want."""
_FILES = 4
"""That may be opened at a time: the model, its sidecar, and what Python itself looks up."""


@dataclass(frozen=True, slots=True)
class Budget:
    seconds: float
    """Wall time for loading and the first picture."""
    memory: int
    """Bytes of private memory."""


def budget_for(size: int, pictures: int = 1) -> Budget:
    """For a file of `size` bytes that looks at so many pictures at a time."""
    return Budget(SECONDS + SECONDS_PER_MIB * size / _MIB, MEMORY * max(1, pictures) + MEMORY_PER_BYTE * size)


def enforce(budget: Budget, last_file: int) -> None:
    """From now on the kernel holds this process to it. Its files are open already, the last with number `last_file`.

    `finished_loading` takes the limit of time away again. Only Linux counts private memory (RLIMIT_DATA); elsewhere
    the runtime's own cap is what is left.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes nothing: sockets are no files
    resource.setrlimit(resource.RLIMIT_NOFILE, (last_file + 1 + _FILES,) * 2)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # no process, and no thread; root is exempt
    if held := _private_memory():
        resource.setrlimit(resource.RLIMIT_DATA, (held + budget.memory,) * 2)
    # The kernel's own clock: a runtime that hangs may hold the interpreter, so that no thread of ours would wake.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, budget.seconds + 1)


def finished_loading() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _private_memory() -> int:
    """What RLIMIT_DATA counts, in bytes; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0
