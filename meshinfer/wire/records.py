"""Records: signed, self-contained facts (docs/PROTOCOL.md).

    sealed    = msgpack [1, payload, signature]
    payload   = msgpack [mesh, kind, origin, incarnation, seq, key, body]
    signature = ed25519 over DOMAIN + payload, by the key inside the origin's peer id

The signature covers bytes, not their meaning, so a record is passed on exactly as it came, unknown fields included.
So is one whose kind or body this version does not understand: were it dropped, the vector (`schedule/log.py`) would
claim a record that a newer neighbour then never gets from us.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated

import base58
from msgspec import Meta, Struct
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from meshinfer.errors import DecodeError, ProtocolError, UnsupportedVersion
from meshinfer.model.catalog import SourceSummary
from meshinfer.model.channel import Channel
from meshinfer.model.facts import BOUND_TO_JOB, KINDS, Cancel, Claim, Fact, Manifest, Outcomes, PeerFact
from meshinfer.model.ids import Peer, PeerId
from meshinfer.model.job import JobOrder
from meshinfer.model.record import Record
from meshinfer.wire.codec import Decoder, encode

VERSION = 1
DOMAIN = b"meshinfer record 1\0"
"""Signed before the payload, so that no other protocol's signature by the same key can pass as a record."""

MAX_RECORD = 48 * 1024
"""Bytes of a sealed record: fits one gossip message with room for its frame."""

_JOB_KEY = re.compile(r"[0-9a-f]{16}(/|\Z)")
_ED25519_PREFIX = bytes.fromhex("002408011220")


class Payload(Struct, frozen=True, array_like=True):
    """What is signed."""

    mesh: Annotated[str, Meta(min_length=1, max_length=64)]
    kind: Annotated[str, Meta(min_length=1, max_length=32)]
    origin: Peer
    incarnation: Annotated[int, Meta(ge=1, le=2**62)]
    """Milliseconds of wall clock at which the origin's store was created: a later store supersedes an earlier one."""
    seq: Annotated[int, Meta(ge=1, le=2**62)]
    key: Annotated[str, Meta(max_length=128)]
    body: Annotated[bytes, Meta(max_length=MAX_RECORD)]


class Sealed(Struct, frozen=True, array_like=True):
    version: int
    payload: Annotated[bytes, Meta(max_length=MAX_RECORD)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


_sealed = Decoder(Sealed, MAX_RECORD)
_payload = Decoder(Payload, MAX_RECORD)
_facts: dict[str, Decoder[Fact]] = {kind: Decoder(fact, MAX_RECORD) for kind, fact in KINDS.items()}  # type: ignore[arg-type]  # a Struct class of the union
_kind_of = {fact: kind for kind, fact in KINDS.items()}


@lru_cache(maxsize=4096)
def verify_key(peer: str) -> VerifyKey:
    """The ed25519 key inside a peer id. Raises DecodeError for ids of other kinds."""
    try:
        raw = base58.b58decode(peer)
    except ValueError:
        raise DecodeError("a peer id that is no base58") from None
    if len(raw) != 38 or not raw.startswith(_ED25519_PREFIX):
        raise DecodeError("a peer id that holds no ed25519 key")
    return VerifyKey(raw[6:])


def key_of(fact: Fact) -> str:
    """What a later record of the same origin, kind and key supersedes. `result` and `manifest` are keyed by page."""
    match fact:
        case PeerFact():
            return ""
        case SourceSummary() | Channel():
            return fact.name
        case JobOrder():
            return fact.id
        case Manifest():
            return f"{fact.job}/{fact.page}"
        case Claim() | Cancel():
            return fact.job
        case Outcomes():
            return f"{fact.job}/{fact.outcomes[0].task.hex()}"
    raise TypeError(f"no record is made of {type(fact).__name__}")


def address_of(fact: Fact) -> tuple[str, str]:
    """The kind and the key of its record."""
    return _kind_of[type(fact)], key_of(fact)


def seal(
    fact: Fact, *, mesh: str, origin: PeerId, incarnation: int, seq: int, sign: Callable[[bytes], bytes]
) -> Record:
    """Make a record of our own. `sign` returns the 64 bytes of an ed25519 signature."""
    kind, key = address_of(fact)
    payload = encode(Payload(mesh, kind, origin, incarnation, seq, key, encode(fact)))
    sealed = encode(Sealed(VERSION, payload, sign(DOMAIN + payload)))
    if len(sealed) > MAX_RECORD:
        raise ProtocolError(f"a {kind} record of {len(sealed)} bytes is over the limit of {MAX_RECORD}")
    return Record(kind, origin, incarnation, seq, key, fact, sealed)


def unseal(data: bytes, *, mesh: str) -> Record:
    """Decode and verify. Raises ProtocolError for anything that is not a genuine record of this mesh."""
    sealed = _sealed(data)
    if sealed.version != VERSION:
        raise UnsupportedVersion(f"record version {sealed.version}, this peer speaks {VERSION}")
    if encode(sealed) != data:  # the envelope is not signed: nobody on the way may stuff it
        raise DecodeError("a record whose envelope is not in its shortest form")
    p = _payload(sealed.payload)
    if p.mesh != mesh:
        raise ProtocolError("a record of another mesh")
    try:
        verify_key(p.origin).verify(DOMAIN + sealed.payload, sealed.signature)
    except (BadSignatureError, ValueError):
        raise ProtocolError("a record whose signature is not its origin's") from None
    fact = _understood(p.kind, p.body)
    if fact is not None and key_of(fact) != p.key:
        raise ProtocolError(f"a {p.kind} record under the wrong key")
    if p.kind in BOUND_TO_JOB and not _JOB_KEY.match(p.key):
        raise ProtocolError(f"a {p.kind} record whose key names no job")
    if isinstance(fact, JobOrder) and not fact.is_genuine:
        raise ProtocolError("a job whose id is not the hash of its spec")
    return Record(p.kind, p.origin, p.incarnation, p.seq, p.key, fact, data)


def _understood(kind: str, body: bytes) -> Fact | None:
    try:
        return _facts[kind](body)
    except (KeyError, ProtocolError):
        return None
