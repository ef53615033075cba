"""The only importer of onnxruntime: sessions, and its errors as ModelError. (variants/quantise.py uses its tools.)

The runtime is imported at the first use: it takes a quarter of a second, which `meshinfer --help` should not.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meshinfer.detect.guard import Watch, cap_memory
from meshinfer.detect.prescan import prescan
from meshinfer.detect.providers import CPU, Provider
from meshinfer.errors import ModelError

DTYPES: Mapping[str, type[np.float32] | type[np.float16]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}


_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "Available memory of")
"""How the runtime says it: the system's limit, the allocator's, the arena's (`guard.cap_memory`)."""


class Input(NamedTuple):
    name: str
    shape: tuple[int | None, ...]
    """None where the file leaves a dimension open."""
    type: str
    """As the runtime writes it: `tensor(float)`."""


class Session:
    """A loaded model. `run` may be called from many threads at once: it holds no state between calls."""

    def __init__(self, model: bytes, provider: Provider = CPU) -> None:
        """Raises ModelError for bytes that are no model, hold what is refused, or that the runtime cannot run there."""
        prescan(model)
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        # Parallelism is across frames (docs/adr/0004): a frame is computed by the thread that asks for it.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.use_env_allocators", "1")  # `cap_memory`
        options.add_session_config_entry("session.load_model_format", "ONNX")  # what was scanned, and nothing else
        if provider.name not in providers():
            raise ModelError(f"the runtime that is installed here has no {provider.short}")
        if provider.serial:
            options.enable_mem_pattern = False  # DirectML demands it
        # What a device cannot run of a model, the CPU runs.
        wanted = [(provider.name, dict(provider.options)), *([CPU.name] if provider != CPU else [])]
        try:
            self._session = runtime.InferenceSession(model, options, providers=wanted)
        except _failures() as e:
            raise ModelError(f"the runtime refuses it: {_first_line(e)}") from None
        if self._session.get_providers()[0] != provider.name:  # it goes on without one that does not start
            raise ModelError(f"{provider.short} does not start: a driver or a library of it is missing here")
        self._turn = threading.Lock() if provider.serial else nullcontext()
        meta = self._session.get_modelmeta()
        self.metadata: dict[str, str] = {str(k): str(v) for k, v in meta.custom_metadata_map.items()}
        self.inputs = tuple(
            Input(i.name, tuple(d if isinstance(d, int) and d > 0 else None for d in i.shape), i.type)
            for i in self._session.get_inputs()
        )
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs, for inputs by name. Raises ModelError, also where it takes longer than `guard.RUN_SECONDS`."""
        try:
            with self._turn, _watch().run() as options:
                outputs: list[NDArray[Any]] = self._session.run(None, dict(feeds), options)
        except _failures() as e:
            raise ModelError(f"failed while running: {_first_line(e)}") from None
        return outputs


def make_ready() -> None:
    """Import the runtime and start what it needs: for a process that may start no thread later."""
    _watch()


def providers() -> tuple[str, ...]:
    """What the installed runtime could run on, best first, e.g. `CPUExecutionProvider`."""
    return tuple(_runtime().get_available_providers())


def version() -> str:
    """Of the runtime."""
    return str(_runtime().__version__)


@functools.cache
def _runtime() -> ModuleType:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # it reports every device it does not find
    cap_memory(onnxruntime)
    module: ModuleType = onnxruntime
    return module


@functools.cache
def _watch() -> Watch:
    return Watch(_runtime().RunOptions)


@functools.cache
def _failures() -> tuple[type[Exception], ...]:
    """What the runtime raises: classes of its own without a common base, and those pybind11 maps C++ exceptions to."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*own, RuntimeError, ValueError, MemoryError)


def _first_line(error: Exception) -> str:
    """Printable: the runtime quotes names out of the model."""
    text = str(error).strip()
    if isinstance(error, MemoryError) or any(sign in text for sign in _NO_MEMORY):
        return "it wants more memory than a model may take here; it is hostile, or too large for this machine"
    line = "".join(c if c.isprintable() else "�" for c in text.splitlines()[0][:300]) if text else ""
    return line or type(error).__name__
