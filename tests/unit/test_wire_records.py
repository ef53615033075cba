"""Sealing and unsealing: what is genuine passes unchanged, everything else is refused and said to be."""

from __future__ import annotations

from typing import Any

import base58
import msgspec
import pytest

from meshinfer.errors import DecodeError, MessageTooBig, ProtocolError, UnsupportedVersion
from meshinfer.mesh.identity import Identity
from meshinfer.model.facts import Cancel, Claim, Manifest, Outcome, Outcomes, PeerFact
from meshinfer.model.ids import JobId
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec
from meshinfer.model.record import Record
from meshinfer.wire.codec import encode
from meshinfer.wire.records import (
    DOMAIN,
    MAX_RECORD,
    VERSION,
    Payload,
    Sealed,
    key_of,
    seal,
    unseal,
    verify_key,
)

ALICE, BOB = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
JOB = JobId("0123456789abcdef")
CANCEL = Cancel(JOB, "enough")


def sealed(fact: Any = CANCEL, **changes: Any) -> Record:
    known: dict[str, Any] = {"mesh": "m", "origin": ALICE.peer_id, "incarnation": 7, "seq": 1, "sign": ALICE.sign}
    return seal(fact, **{**known, **changes})


def by_hand(by: Identity = ALICE, *, version: int = VERSION, domain: bytes = DOMAIN, **changes: Any) -> bytes:
    """A record that no honest peer would make."""
    fields: dict[str, Any] = {
        "mesh": "m",
        "kind": "cancel",
        "origin": ALICE.peer_id,
        "incarnation": 7,
        "seq": 1,
        "key": JOB,
        "body": encode(CANCEL),
    }
    payload = encode(Payload(**{**fields, **changes}))
    return encode(Sealed(version, payload, by.sign(domain + payload)))


def test_a_record_comes_back_as_it_was_sealed() -> None:
    record = sealed()
    assert unseal(record.sealed, mesh="m") == record
    assert by_hand() == record.sealed


@pytest.mark.parametrize(
    ("fact", "key"),
    [
        (PeerFact("a", {}, (), "1", 1, 1), ""),
        (Manifest(JOB, 3, 5, ()), f"{JOB}/3"),
        (Claim(JOB, (), 0, 0, 0.0), JOB),
        (Outcomes(JOB, (Outcome(b"\xab" * 16, True, 0, 0, 0.0),)), f"{JOB}/{'ab' * 16}"),
        (CANCEL, JOB),
    ],
)
def test_the_key_says_what_a_record_supersedes(fact: Any, key: str) -> None:
    assert key_of(fact) == key == unseal(sealed(fact).sealed, mesh="m").key


def test_a_record_of_another_mesh_is_refused() -> None:
    with pytest.raises(ProtocolError, match="another mesh"):
        unseal(sealed(mesh="other").sealed, mesh="m")


def test_a_newer_envelope_is_told_apart_from_garbage() -> None:
    with pytest.raises(UnsupportedVersion, match="version 2, this peer speaks 1"):
        unseal(by_hand(version=2), mesh="m")


def test_a_record_signed_by_another_is_refused() -> None:
    with pytest.raises(ProtocolError, match="signature"):
        unseal(by_hand(BOB), mesh="m")


def test_a_signature_made_for_another_protocol_is_no_record() -> None:
    for domain in (b"", b"libp2p-pubsub:", b"meshinfer record 2\0"):
        with pytest.raises(ProtocolError, match="signature"):
            unseal(by_hand(domain=domain), mesh="m")


def test_any_changed_bit_is_noticed() -> None:
    data = sealed().sealed
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(ProtocolError):
            unseal(bytes(changed), mesh="m")


def test_nobody_on_the_way_can_stuff_the_envelope() -> None:
    """The envelope is not signed, so it has one form: further elements and longer encodings are refused."""
    version, payload, signature = VERSION, *_parts(sealed())
    stuffed = encode([version, payload, signature, b"junk" * 1000])
    longer = b"\xdc\x00\x03" + sealed().sealed[1:]
    for data in (stuffed, longer):
        with pytest.raises(DecodeError, match="shortest form"):
            unseal(data, mesh="m")


def _parts(record: Record) -> tuple[bytes, bytes]:
    parts = msgspec.msgpack.decode(record.sealed, type=Sealed)
    return parts.payload, parts.signature


def test_a_record_under_the_wrong_key_is_refused() -> None:
    """Else a peer could hold thousands of live claims for one job, or supersede nothing for ever."""
    with pytest.raises(ProtocolError, match="wrong key"):
        unseal(by_hand(key="f" * 16), mesh="m")


def test_a_job_whose_id_is_not_its_hash_is_refused() -> None:
    spec = pack_spec(JobSpec("yolox"))
    order = JobOrder(job_id(spec, "0" * 64, b"n" * 8), spec, "0" * 64, b"n" * 8, 0.0)  # type: ignore[arg-type]  # a job's digest, as text
    assert unseal(sealed(order).sealed, mesh="m").fact == order
    forged = JobOrder(order.id, pack_spec(JobSpec("other")), order.model, order.nonce, 0.0)
    with pytest.raises(ProtocolError, match="not the hash of its spec"):
        unseal(sealed(forged).sealed, mesh="m")


def test_a_kind_of_a_newer_version_is_kept_as_it_is() -> None:
    record = unseal(by_hand(kind="lease", key="anything", body=b"whatever it is"), mesh="m")
    assert (record.kind, record.key, record.fact) == ("lease", "anything", None)
    assert unseal(record.sealed, mesh="m") == record


def test_a_body_of_a_newer_version_is_kept_as_it_is() -> None:
    """1. A genuine record whose body is beyond this version (a longer list, another type) cannot be acted on.
    2. Dropping it would make the vector lie to a newer neighbour, refusing it would end every sync that carries it.
    3. So it is held and passed on, and means nothing here.
    """
    for body in (encode({"job": JOB, "why": "x" * 600}), encode({"job": JOB, "why": 5}), b"\xc1"):
        record = unseal(by_hand(body=body), mesh="m")
        assert record.fact is None
        assert record.key == JOB


def test_fields_of_a_newer_version_are_ignored_and_passed_on() -> None:
    data = by_hand(body=encode({"job": JOB, "why": "enough", "who": "admin"}))
    record = unseal(data, mesh="m")
    assert record.fact == CANCEL
    assert record.sealed == data


def test_a_record_over_its_limit_is_refused_at_both_ends() -> None:
    with pytest.raises(MessageTooBig):
        unseal(bytes(MAX_RECORD + 1), mesh="m")
    labels = {f"{i:063}": "\N{GRINNING FACE}" * 255 for i in range(64)}
    with pytest.raises(ProtocolError, match="over the limit"):
        sealed(PeerFact("a", labels, (), "1", 1, 1))


@pytest.mark.parametrize(
    "peer",
    [
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",  # sha256 of an RSA key: the key is not inside
        base58.b58encode(bytes.fromhex("00250802122102") + bytes(32)).decode(),  # secp256k1
        "1" * 52,
        "z" * 64,
        ALICE.peer_id[:-1],
    ],
)
def test_peer_ids_that_hold_no_ed25519_key_are_refused(peer: str) -> None:
    with pytest.raises(DecodeError, match="no ed25519 key"):
        verify_key(peer)
    with pytest.raises(ProtocolError):
        unseal(by_hand(origin=peer), mesh="m")


@pytest.mark.parametrize("peer", [ALICE.peer_id + "\n", " " + ALICE.peer_id, "0" * 52, "", "1" * 65])
def test_a_peer_has_one_name(peer: str) -> None:
    """base58 decoders skip white space: with it, one key would go by several ids."""
    with pytest.raises(DecodeError):
        unseal(by_hand(origin=peer), mesh="m")


@pytest.mark.parametrize(
    "changes", [{"seq": 0}, {"incarnation": 0}, {"seq": 2**62 + 1}, {"kind": ""}, {"key": "k" * 129}]
)
def test_payload_fields_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        unseal(by_hand(**changes), mesh="m")


def test_sealing_what_is_no_record_is_a_bug() -> None:
    with pytest.raises((TypeError, KeyError)):
        sealed(JobSpec("m"))
