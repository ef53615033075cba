"""A shelf's folder as it is found at the start: read, and mended where that is safe."""

from __future__ import annotations

from pathlib import Path

import msgspec

from meshinfer.detect.card import ModelCard
from meshinfer.detect.detector import load_detector
from meshinfer.detect.shelf.bundling import bundle_of
from meshinfer.detect.shelf.folder import Folder, Held, Note
from meshinfer.detect.shelf.old import adopt
from meshinfer.detect.shelf.trust import Trust
from meshinfer.errors import ModelError
from meshinfer.model.ids import ModelDigest


def read(folder: Folder, digest: ModelDigest, trust: Trust) -> tuple[Held, str]:
    """What lies there, and what should be said about it. Raises ModelError for what cannot be used."""
    note, seals = folder.note(digest), folder.seals(digest)
    if note is not None and (card := _card(note, digest)):
        return Held(card, seals, note.origin, note.pinned), ""
    if held := adopt(folder, digest, trust.seal):
        return held, f"{held.card.reference} is from before models were signed: signed by this peer now"
    trusted = [v.bundle for v in seals if v.signer in trust]
    if not trusted:
        raise ModelError(f"{folder.onnx(digest)}: has no card and no seal that counts: add it again, or remove it")
    # The card is damaged, or another version's: a look at the model makes a new one.
    bundle, path = trusted[0], folder.onnx(digest)
    if bundle_of(path, bundle.name, bundle.version).digest != digest:
        raise ModelError(f"{path}: is no longer {bundle.reference}: add or fetch it again")
    own = any(v.signer == trust.me for v in seals)
    held = Held(
        load_detector(path, name=bundle.name, version=bundle.version).card,
        seals,
        note.origin if note else "added" if own else "fetched",
        note is not None and note.pinned,
    )
    folder.write(held)
    return held, ""


def read_embedded(folder: Folder, digest: ModelDigest, path: Path) -> Held:
    """The model that comes with the package: its card lies in the folder, which saves a look at it."""
    note = folder.note(digest)
    if note is not None and (card := _card(note, digest)):
        return Held(card, origin="embedded")
    held = Held(load_detector(path).card, origin="embedded")
    folder.write(held)
    return held


def _card(note: Note, digest: ModelDigest) -> ModelCard | None:
    try:
        card = msgspec.json.decode(note.card, type=ModelCard)
    except msgspec.MsgspecError:
        return None
    return card if card.digest == digest else None
