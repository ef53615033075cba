"""Shelves of two peers, and small models that can be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshinfer.detect.shelf import Shelf
from meshinfer.mesh.identity import Identity
from meshinfer.model.bundle import Vouched
from meshinfer.model.ids import ModelDigest
from tests.vision.tiny_onnx import brightness_model

ME, BOB, EVE = (Identity.from_seed(letter * 32) for letter in (b"m", b"b", b"e"))


def a_shelf(folder: Path, owner: Identity = ME, **settings: Any) -> Shelf:
    """Of `owner`, without the embedded model."""
    return Shelf(folder, owner.peer_id, owner.sign, **{"embedded": None, **settings})


def model(folder: Path, name: str, *box: float, sidecar: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.onnx"
    path.write_bytes(brightness_model(box or (32, 32, 16, 16)))
    if sidecar:
        path.with_suffix(".toml").write_text(sidecar)
    return path


def offered(folder: Path, file: Path, *by: Identity) -> tuple[ModelDigest, tuple[Vouched, ...]]:
    """`file` as the shelves of `by` would offer it."""
    cards = [(s := a_shelf(folder / who.peer_id[-4:], who), s.add(file).digest) for who in by]
    return cards[0][1], tuple(v for shelf, digest in cards for v in shelf.vouched(digest))
