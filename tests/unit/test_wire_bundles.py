"""Models under their signer's seal."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from meshinfer.errors import ProtocolError
from meshinfer.mesh.identity import Identity
from meshinfer.model.bundle import CHUNK, MAX_CHUNKS, MAX_MODEL_BYTES, MAX_SIDECAR, Bundle, model_digest
from meshinfer.model.ids import ModelDigest
from meshinfer.wire.bundles import MAX_BUNDLE, seal_bundle, unseal_bundle

ALICE, BOB = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
FILE = ModelDigest("ab" * 32)


def bundle(size: int = CHUNK + 1, sidecar: bytes = b"") -> Bundle:
    chunks = tuple(hashlib.sha256(bytes([i % 256])).digest() for i in range(-(-size // CHUNK)))
    return Bundle("yard", "1.2", FILE, size, sidecar, chunks)


def test_what_was_sealed_is_read_again():
    vouched = seal_bundle(bundle(), ALICE.peer_id, ALICE.sign)
    assert unseal_bundle(vouched.sealed) == vouched
    assert vouched.bundle.reference == "yard@1.2"


def test_the_largest_model_fits_one_frame():
    vouched = seal_bundle(bundle(MAX_MODEL_BYTES, b"x" * MAX_SIDECAR), ALICE.peer_id, ALICE.sign)
    assert len(vouched.bundle.chunks) == MAX_CHUNKS
    assert unseal_bundle(vouched.sealed) == vouched
    assert len(vouched.sealed) <= MAX_BUNDLE < 224 * 1024


def test_nobody_signs_for_another():
    forged = seal_bundle(bundle(), BOB.peer_id, ALICE.sign)
    with pytest.raises(ProtocolError, match="signature"):
        unseal_bundle(forged.sealed)


def test_a_changed_byte_breaks_the_seal():
    sealed = seal_bundle(bundle(), ALICE.peer_id, ALICE.sign).sealed
    for at in range(0, len(sealed), 7):
        with pytest.raises(ProtocolError):
            unseal_bundle(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])


def test_chunks_are_those_of_the_size():
    with pytest.raises(ValueError, match="chunks"):
        Bundle("yard", "", FILE, CHUNK + 1, b"", (b"h" * 32,))
    payload = msgspec.msgpack.encode(("yard", "", FILE, CHUNK + 1, b"", (b"h" * 32,)))
    lie = msgspec.msgpack.encode((1, ALICE.peer_id, payload, ALICE.sign(b"meshinfer model 1\0" + payload)))
    with pytest.raises(ProtocolError):
        unseal_bundle(lie)


def test_a_sidecar_makes_another_model():
    assert model_digest(FILE, b"") == FILE
    assert len({model_digest(FILE, s) for s in (b"", b"colour = 'rgb'", b"colour = 'bgr'")}) == 3
