"""The models a peer holds: a folder of files named by their sha256, each with its card beside it."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import msgspec

from meshinfer.detect.card import ModelCard
from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.onnx import Session
from meshinfer.detect.sidecar import sidecar_path
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest

EMBEDDED = Path(__file__).parent.parent / "demo" / "yard-demo.onnx"
"""The drawn world's detector, which comes with the package: on every shelf."""

Open = Callable[[ModelDigest, bytes], Session]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9._+-]{0,32}")
_HEX = re.compile(r"[0-9a-f]{8,64}")
_decode_card = msgspec.json.Decoder(ModelCard).decode


def on_cpu(digest: ModelDigest, model: bytes) -> Session:
    return Session(model)


class Shelf:
    """Safe to use from several threads. Every method may read files; `add` and `get` also load a model."""

    def __init__(self, folder: Path, opener: Open = on_cpu) -> None:
        """`folder` is made at the first `add`. `opener` decides what models run on."""
        self._folder, self._open = folder, opener
        self._loaded: dict[ModelDigest, Detector] = {}
        self._cards: dict[ModelDigest, ModelCard] | None = None
        self._lock = threading.RLock()

    def add(self, file: Path, name: str | None = None, version: str | None = None) -> ModelCard:
        """Try a model, then copy it and its sidecar in. Adding one that is there renames it.

        Raises ModelError: a file that is no runnable detector, a bad name, a name that another model has.
        """
        name = file.stem.lower() if name is None else name
        version = version or ""
        if not _NAME.fullmatch(name):
            raise ModelError(f"{name!r} cannot name a model: use a-z, 0-9 and . _ - (at most 64), e.g. --name yard-v2")
        if not _VERSION.fullmatch(version):
            raise ModelError(f"{version!r} cannot be a version: use letters, digits and . _ + - (at most 32)")
        with self._lock:
            detector = load_detector(file, name=name, version=version)
            card = detector.card
            for other in self.list():
                if other.reference == card.reference and other.digest != card.digest:
                    raise ModelError(
                        f"{card.reference} is another model here (sha256:{other.digest[:12]}): give --name or --version"
                    )
            self._copy_in(file, card)
            self._known()[card.digest] = card
            # A new sidecar may read the same bytes in another way.
            self._loaded[card.digest] = detector
            return card

    def list(self) -> tuple[ModelCard, ...]:
        """By name and version. Reads cards; loads no model, but for one whose card is missing or damaged."""
        with self._lock:
            return tuple(sorted(self._known().values(), key=lambda c: (c.name, c.version, c.digest)))

    def find(self, reference: str) -> ModelCard:
        """The model called `name`, `name@version`, `sha256:hex` or at least 8 hex digits. Raises ModelError."""
        cards = self.list()
        if exact := [c for c in cards if c.reference == reference]:
            return exact[0]
        matches = [c for c in cards if c.name == reference]
        digits = reference.removeprefix("sha256:")
        if not matches and _HEX.fullmatch(digits):
            matches = [c for c in cards if c.digest.startswith(digits)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            which = ", ".join(f"{c.reference} (sha256:{c.digest[:12]})" for c in matches)
            raise ModelError(f"{reference!r} is several models here: {which}: say which")
        known = [c.reference for c in cards]
        close = get_close_matches(reference, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        here = (
            f"Here are: {', '.join(known)}" if known else "This peer holds none: `meshinfer models add FILE` adds one"
        )
        raise ModelError(f"no model {reference!r}.{hint} {here}")

    def get(self, digest: ModelDigest) -> Detector:
        """The loaded model: loaded at the first call, then shared. Raises ModelError."""
        with self._lock:
            if digest not in self._loaded:
                card = self._known().get(digest)
                if card is None:
                    raise ModelError(f"no model sha256:{digest[:12]} here")
                detector = load_detector(
                    self.path(digest),
                    name=card.name,
                    version=card.version,
                    open_session=partial(self._open, digest),
                )
                if detector.card.digest != digest:
                    raise ModelError(f"{card.reference}: its file has changed on disk: add it again")
                self._loaded[digest] = detector
            return self._loaded[digest]

    def unload(self, digest: ModelDigest) -> None:
        """The next `get` loads it anew; who has it keeps it."""
        with self._lock:
            self._loaded.pop(digest, None)

    def path(self, digest: ModelDigest) -> Path:
        """Of the file of a model that is here."""
        path = self._folder / f"{digest}.onnx"
        return path if path.exists() else EMBEDDED

    def _known(self) -> dict[ModelDigest, ModelCard]:
        if self._cards is None:
            self._cards = {}
            for path in sorted(self._folder.glob("*.onnx")):
                digest = ModelDigest(path.stem)
                if card := self._read_card(digest) or self._probe(path, path.stem[:12]):
                    self._cards[card.digest] = card
            if EMBEDDED.is_file():
                digest = ModelDigest(_sha256(EMBEDDED))
                if digest not in self._cards and (
                    card := self._read_card(digest) or self._probe(EMBEDDED, EMBEDDED.stem)
                ):
                    self._cards[digest] = card
        return self._cards

    def _read_card(self, digest: ModelDigest) -> ModelCard | None:
        try:
            card = _decode_card((self._folder / f"{digest}.json").read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None
        return card if card.digest == digest else None

    def _probe(self, path: Path, name: str) -> ModelCard | None:
        """The card of a model whose card is missing; None where the model itself is damaged."""
        try:
            card = load_detector(path, name=name).card
        except ModelError:
            return None
        if path is not EMBEDDED and path.stem != card.digest:
            return None
        self._write(self._folder / f"{card.digest}.json", msgspec.json.encode(card))
        return card

    def _copy_in(self, file: Path, card: ModelCard) -> None:
        """The model last: what has no model is not there."""
        sidecar = sidecar_path(file)
        target = self._folder / f"{card.digest}.onnx"
        if file.resolve() == target.resolve():
            return self._write(self._folder / f"{card.digest}.json", msgspec.json.encode(card))
        try:
            if sidecar.is_file():
                self._write(sidecar_path(target), sidecar.read_bytes())
            else:
                sidecar_path(target).unlink(missing_ok=True)
            self._write(self._folder / f"{card.digest}.json", msgspec.json.encode(card))
            data = file.read_bytes()
        except OSError as e:
            raise ModelError(f"{file.name}: cannot be copied: {e.strerror}") from None
        if hashlib.sha256(data).hexdigest() != card.digest:
            raise ModelError(f"{file.name}: was changed while it was added: add it again")
        return self._write(target, data)

    def _write(self, path: Path, data: bytes) -> None:
        """All of `data` or nothing."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                try:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(path)
                except OSError:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as e:
            raise ModelError(f"{path}: cannot be written: {e.strerror}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
