"""A model in a process of its own, seen from inside: `python -m meshinfer.detect.child`, started by `process`.

Everything that can be had beforehand is (libraries, threads, memory, sockets), then the limits come down, and only then
is the model read.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
import threading
from pathlib import Path

import msgspec

from meshinfer.detect import lane
from meshinfer.detect.budget import budget_for, enforce, finished_loading
from meshinfer.detect.detector import Detector, Worker, load_detector
from meshinfer.detect.onnx import make_ready
from meshinfer.errors import ModelError
from meshinfer.model.job import Detect

_WORKERS_KEPT = 4
_MAX_MESSAGE = 4000


class Errand(msgspec.Struct, frozen=True):
    """What the process is for: its only argument, as JSON. Numbers are of open files."""

    path: str
    name: str | None
    version: str
    size: int
    control: int
    lanes: tuple[tuple[int, int], ...]
    """Socket and memory of each."""


def main(argument: str) -> None:
    errand = msgspec.json.decode(argument, type=Errand)
    control = socket.socket(fileno=errand.control)
    make_ready()
    loaded: list[Detector] = []
    gate = threading.Event()
    for sock, memory in errand.lanes:
        mapped = mmap.mmap(memory, lane.MAX_BYTES, prot=mmap.PROT_READ)
        threading.Thread(target=_serve, args=(socket.socket(fileno=sock), mapped, gate, loaded), daemon=True).start()
    files = (2, errand.control, *(number for pair in errand.lanes for number in pair))
    enforce(budget_for(errand.size, len(errand.lanes)), max(files))
    lane.send(control, lane.Ready())
    try:
        loaded.append(load_detector(Path(errand.path), name=errand.name, version=errand.version))
    except ModelError as e:
        lane.send(control, lane.Refused(str(e)[:_MAX_MESSAGE]))
        return
    except MemoryError:
        lane.send(control, lane.Refused(f"{Path(errand.path).name}: wants more memory than a model of its size may"))
        return
    finished_loading()
    lane.send(control, lane.Loaded(loaded[0].card, loaded[0].series))
    gate.set()
    control.recv(1)  # nothing comes: it returns when the peer lets go, or is gone


def _serve(sock: socket.socket, memory: mmap.mmap, gate: threading.Event, loaded: list[Detector]) -> None:
    gate.wait()
    workers: dict[tuple[Detect, int], Worker] = {}
    while isinstance(look := lane.receive(sock), lane.Look):
        try:
            key = (look.detect, look.most)
            if key not in workers:
                if len(workers) == _WORKERS_KEPT:
                    del workers[next(iter(workers))]
                workers[key] = loaded[0].worker(*key)
            answer: lane.Message = lane.Found(workers[key](lane.array_in(memory, look.shape, look.dtype)))
        except ModelError as e:
            answer = lane.Refused(str(e)[:_MAX_MESSAGE])
        except MemoryError:
            answer = lane.Refused("wants more memory than a model of its size may")
        lane.send(sock, answer)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    finally:
        # At once: threads may be inside the runtime, which aborts when the interpreter ends under them.
        os._exit(0)
