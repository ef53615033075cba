"""The files of a shelf, each named by the model's digest.

    DIGEST.onnx    the model; what has none is not there
    DIGEST.toml    its sidecar, where it has one
    DIGEST.seals   msgpack [sealed bundle, ...]: who vouches for it
    DIGEST.json    a note: the card, where it came from, whether it is pinned

Each is replaced whole or not at all, the model last.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from meshinfer.detect.card import ModelCard
from meshinfer.detect.sidecar import sidecar_path
from meshinfer.errors import ModelError, ProtocolError
from meshinfer.home import sync_folder, write_durably
from meshinfer.model.bundle import Vouched
from meshinfer.model.ids import ModelDigest
from meshinfer.wire.bundles import MAX_BUNDLE, unseal_bundle

MAX_SEALS = 8
"""Signers kept of one model."""

STAGE = ".new-"
STALE = 86400.0
"""Seconds after which nobody tries a model any more."""

Origin = Literal["embedded", "added", "fetched"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_Seals = Annotated[tuple[Annotated[bytes, Meta(max_length=MAX_BUNDLE)], ...], Meta(max_length=MAX_SEALS)]
_read_seals = msgspec.msgpack.Decoder(_Seals).decode
_NOTE_LIMIT = 4 * 1024 * 1024
"""Bytes: ten thousand class names take 650 KB."""


class Held(Struct, frozen=True):
    """A model on the shelf."""

    card: ModelCard
    vouched: tuple[Vouched, ...] = ()
    """Genuine seals over just this model; whether one of them counts here is the shelf's to say."""
    origin: Origin = "added"
    """Came with the package, was put here by the owner, or came from another peer."""
    pinned: bool = False
    """Stays, though it was fetched."""


class Note(Struct, frozen=True):
    """`DIGEST.json`. The card apart, so that one of another version costs a look at the model and not its pin."""

    card: msgspec.Raw
    origin: Origin = "added"
    pinned: bool = False


class Folder:
    """Made at the first write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def onnx(self, digest: ModelDigest) -> Path:
        return self.path / f"{digest}.onnx"

    def note_path(self, digest: ModelDigest) -> Path:
        return self.path / f"{digest}.json"

    def seals_path(self, digest: ModelDigest) -> Path:
        return self.path / f"{digest}.seals"

    def digests(self) -> tuple[ModelDigest, ...]:
        return tuple(ModelDigest(p.stem) for p in sorted(self.path.glob("*.onnx")) if _DIGEST.fullmatch(p.stem))

    def note(self, digest: ModelDigest) -> Note | None:
        try:
            with self.note_path(digest).open("rb") as file:
                return msgspec.json.decode(file.read(_NOTE_LIMIT), type=Note)
        except (OSError, msgspec.MsgspecError):
            return None

    def seals(self, digest: ModelDigest) -> tuple[Vouched, ...]:
        """Those that are genuine and speak of this model."""
        read = map(_unsealed, self._sealed(digest) or ())
        return tuple(v for v in read if v is not None and v.bundle.digest == digest)

    def unsound(self, digest: ModelDigest) -> int:
        """How many of its seals are not; a file of seals that cannot be read counts as one."""
        sealed = self._sealed(digest)
        return 1 if sealed is None else len(sealed) - len(self.seals(digest))

    def _sealed(self, digest: ModelDigest) -> tuple[bytes, ...] | None:
        try:
            with self.seals_path(digest).open("rb") as file:
                return _read_seals(file.read(MAX_SEALS * (MAX_BUNDLE + 8)))
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError):
            return None

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder beside the models, on the same disk, for a model that is being tried. Raises ModelError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            stage = tempfile.TemporaryDirectory(dir=self.path, prefix=STAGE, ignore_cleanup_errors=True)
        except OSError as e:
            raise ModelError(f"{self.path}: cannot be written: {e.strerror}") from None
        with stage as folder:
            yield Path(folder)

    def sweep(self) -> None:
        """Remove what was being tried when a process was killed: anything younger may still be."""
        for stage in self.path.glob(f"{STAGE}*"):
            with suppress(OSError):  # it stays until the next start
                if time.time() - stage.stat().st_mtime > STALE:
                    shutil.rmtree(stage)

    def install(self, staged: Path, held: Held) -> None:
        """A tried model and the sidecar beside it become part of the shelf. Raises ModelError."""
        target = self.onnx(held.card.digest)
        try:
            if sidecar_path(staged).is_file():
                write_durably(sidecar_path(target), sidecar_path(staged).read_bytes())
            self._write(held)
            with staged.open("rb") as file:
                os.fsync(file.fileno())
            staged.replace(target)
            sync_folder(self.path)
        except OSError as e:
            raise unwritten(target, e) from None

    def write(self, held: Held) -> None:
        """What is known of a model that is there. Raises ModelError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write(held)
        except OSError as e:
            raise unwritten(self.path, e) from None

    def _write(self, held: Held) -> None:
        digest = held.card.digest
        if held.vouched:
            write_durably(self.seals_path(digest), msgspec.msgpack.encode([v.sealed for v in held.vouched]))
        note = Note(msgspec.Raw(msgspec.json.encode(held.card)), held.origin, held.pinned)
        write_durably(self.note_path(digest), msgspec.json.encode(note))

    def last_used(self, digest: ModelDigest) -> int:
        """Nanoseconds; 0 where it is not here."""
        try:
            return self.onnx(digest).stat().st_mtime_ns
        except OSError:
            return 0

    def remove(self, digest: ModelDigest) -> None:
        """The model first: what has none is not there. Raises ModelError."""
        model = self.onnx(digest)
        try:
            for path in (model, sidecar_path(model), self.seals_path(digest), self.note_path(digest)):
                path.unlink(missing_ok=True)
        except OSError as e:
            raise ModelError(f"{model}: cannot be removed: {e.strerror}") from None


def put(source: Path, target: Path) -> None:
    """`source` under another name; a link where the disk has them. Raises ModelError."""
    try:
        try:
            os.link(source, target)
        except OSError as e:
            if e.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            shutil.copyfile(source, target)
    except OSError as e:
        raise unwritten(target, e) from None


def unwritten(path: Path, error: OSError) -> ModelError:
    if error.errno == errno.ENOSPC:
        return ModelError(f"{path.parent}: the disk is full: free some space, and try again")
    return ModelError(f"{path}: cannot be written: {error.strerror}")


def _unsealed(sealed: bytes) -> Vouched | None:
    try:
        return unseal_bundle(sealed)
    except ProtocolError:
        return None
