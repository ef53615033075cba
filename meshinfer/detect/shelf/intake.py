"""A model that comes is tried beside the shelf first: nothing of one that fails stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from meshinfer.detect.card import ModelCard
from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.memory import measured
from meshinfer.detect.process import ModelProcess
from meshinfer.detect.shelf.bundling import bundle_of, check_size
from meshinfer.detect.shelf.folder import Folder, put, unwritten
from meshinfer.detect.sidecar import sidecar_path
from meshinfer.errors import ModelError
from meshinfer.model.bundle import Bundle


class Tried(NamedTuple):
    staged: Path
    """Its file, on the shelf's disk, its sidecar beside it."""
    bundle: Bundle
    card: ModelCard
    loaded: tuple[Detector, int] | None
    """And the bytes it takes; None where this process loads no models."""


class Intake:
    def __init__(self, folder: Folder, trial: Callable[[Path], None], isolate: bool) -> None:
        """`trial` raises ModelError for a file that must not be loaded. `isolate`: none is loaded in this process."""
        self._folder, self._trial, self._isolate = folder, trial, isolate

    @contextmanager
    def copied(self, file: Path, name: str, version: str, sidecar: bytes) -> Iterator[Tried]:
        """An owner's `file`. Never a link: what is written into it later must not change ours. Raises ModelError."""
        with self._folder.staging() as stage:
            staged = stage / file.name
            try:
                with file.open("rb") as opened:
                    check_size(file, os.fstat(opened.fileno()).st_size)
            except OSError as e:
                raise ModelError(f"{file.name}: cannot be read: {e.strerror}") from None
            try:
                shutil.copyfile(file, staged)
            except OSError as e:
                raise unwritten(staged, e) from None
            _put_sidecar(staged, sidecar)
            yield self._tried(staged, bundle_of(staged, name, version))

    @contextmanager
    def claimed(self, file: Path, claim: Bundle) -> Iterator[Tried]:
        """A fetched `file`, which stays where it is. Raises ModelError, before it is loaded where it is another."""
        with self._folder.staging() as stage:
            staged = stage / f"{claim.name}.onnx"
            put(file, staged)
            _put_sidecar(staged, claim.sidecar)
            bundle = bundle_of(staged, claim.name, claim.version)
            if not alike(bundle, claim):
                raise ModelError(f"{claim.reference}: its bytes are not those that its signer vouched for")
            yield self._tried(staged, bundle)

    def _tried(self, staged: Path, bundle: Bundle) -> Tried:
        if self._isolate:
            with ModelProcess(staged, name=bundle.name, version=bundle.version) as aside:
                card = replace(aside.card, name=bundle.name, version=bundle.version, digest=bundle.digest)
            return Tried(staged, bundle, card, None)
        self._trial(staged)
        detector, memory = measured(lambda: load_detector(staged, name=bundle.name, version=bundle.version))
        assert detector.card.digest == bundle.digest
        return Tried(staged, bundle, detector.card, (detector, memory))


def alike(a: Bundle, b: Bundle) -> bool:
    """Whatever the two are called."""
    return (a.file, a.size, a.sidecar, a.chunks) == (b.file, b.size, b.sidecar, b.chunks)


def _put_sidecar(staged: Path, sidecar: bytes) -> None:
    if sidecar:
        try:
            sidecar_path(staged).write_bytes(sidecar)
        except OSError as e:
            raise unwritten(staged, e) from None
