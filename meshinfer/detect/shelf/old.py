"""Folders of before models had seals: `SHA256.onnx`, perhaps `SHA256.toml`, and the card alone in `SHA256.json`.

Their owner had put them there, so this peer signs them, once. A sidecar has become part of what a model is: one that
has one gets a new digest.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct

from meshinfer.detect.card import ModelCard
from meshinfer.detect.detector import load_detector
from meshinfer.detect.shelf.bundling import bundle_of
from meshinfer.detect.shelf.folder import Folder, Held, put
from meshinfer.detect.sidecar import sidecar_bytes, sidecar_path
from meshinfer.errors import ModelError
from meshinfer.model.bundle import Bundle, Vouched
from meshinfer.model.ids import Digest, ModelDigest


class _Named(Struct):
    """What every version's card has said."""

    name: str
    version: str
    digest: Digest


def adopt(folder: Folder, digest: ModelDigest, seal: Callable[[Bundle], Vouched]) -> Held | None:
    """Sign what lies there as of old; None where it is no such thing. Raises ModelError where it is damaged."""
    try:
        text = folder.note_path(digest).read_bytes()
        named = msgspec.json.decode(text, type=_Named)
    except (OSError, msgspec.MsgspecError):
        return None
    if named.digest != digest or folder.seals_path(digest).exists():
        return None
    path = folder.onnx(digest)
    bundle = bundle_of(path, named.name, named.version)
    if bundle.file != digest:
        raise ModelError(f"{bundle.reference}: its file has changed on disk: add it again")
    with folder.staging() as stage:
        staged = stage / f"{named.name}.onnx"
        put(path, staged)
        if sidecar := sidecar_bytes(path):
            sidecar_path(staged).write_bytes(sidecar)
        try:
            card = msgspec.structs.replace(msgspec.json.decode(text, type=ModelCard), digest=bundle.digest)
        except msgspec.MsgspecError:  # the card of another version
            card = load_detector(staged, name=named.name, version=named.version).card
        held = Held(card, (seal(bundle),))
        if bundle.digest == digest:
            folder.write(held)
        else:
            folder.install(staged, held)
            folder.remove(digest)
    return held
