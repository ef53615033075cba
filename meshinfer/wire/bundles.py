"""Models under their signer's seal, which travels with them from peer to peer (docs/MODELS.md).

sealed    = msgpack [1, signer, payload, signature]
payload   = msgpack [name, version, file, size, sidecar, chunks]
signature = ed25519 over DOMAIN + payload, by the key inside the signer's peer id
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct
from nacl.exceptions import BadSignatureError

from meshinfer.errors import ProtocolError, UnsupportedVersion
from meshinfer.model.bundle import MAX_CHUNKS, MAX_SIDECAR, Bundle, Vouched
from meshinfer.model.ids import Peer, PeerId
from meshinfer.wire.codec import Decoder, encode
from meshinfer.wire.records import verify_key

VERSION = 1
DOMAIN = b"meshinfer model 1\0"
"""Signed before the payload: no signature made for anything else can pass as a model's."""

MAX_BUNDLE = MAX_CHUNKS * 34 + MAX_SIDECAR + 1024
"""Bytes of a sealed bundle: one stream frame."""


class _Sealed(Struct, frozen=True, array_like=True):
    version: int
    signer: Peer
    payload: Annotated[bytes, Meta(max_length=MAX_BUNDLE)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


_read_sealed = Decoder(_Sealed, MAX_BUNDLE)
_read_bundle = Decoder(Bundle, MAX_BUNDLE)


def seal_bundle(bundle: Bundle, signer: PeerId, sign: Callable[[bytes], bytes]) -> Vouched:
    """`sign` returns the 64 bytes of the signer's ed25519 signature."""
    payload = encode(bundle)
    return Vouched(bundle, signer, encode(_Sealed(VERSION, signer, payload, sign(DOMAIN + payload))))


def unseal_bundle(data: bytes) -> Vouched:
    """Decode and verify. Raises ProtocolError for anything that its signer did not sign."""
    sealed = _read_sealed(data)
    if sealed.version != VERSION:
        raise UnsupportedVersion(f"a model sealed in version {sealed.version}, this peer speaks {VERSION}")
    try:
        verify_key(sealed.signer).verify(DOMAIN + sealed.payload, sealed.signature)
    except (BadSignatureError, ValueError):
        raise ProtocolError("a model whose signature is not its signer's") from None
    return Vouched(_read_bundle(sealed.payload), sealed.signer, data)
