"""Whatever travels: it comes back as it went, and no bytes make a decoder raise anything but ProtocolError."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from meshinfer.errors import DecodeError, MessageTooBig, ProtocolError
from meshinfer.model.ids import PeerId
from meshinfer.model.job import JobOrder, JobSpec, read_order, unpack_spec
from meshinfer.wire import messages
from meshinfer.wire.codec import encode
from meshinfer.wire.eventpack import EventPack, unpack
from meshinfer.wire.records import unseal
from tests.property.strategies import DECODERS, MESSAGES, ON_THE_WIRE, PEERS, facts, of, plain, structs, walk

quick = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
KEYS = st.text(max_size=8) | st.integers(0, 9)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | KEYS | st.binary(max_size=5)
ME: PeerId = PEERS[0].peer_id


def refuses_or_reads(data: bytes) -> None:
    """The whole border: every decoder, and what is unpacked behind it."""
    for read in DECODERS.values():
        try:
            message = read(data)
            if isinstance(message, messages.EventBatch | messages.Events):
                unpack(message.pack, ME)
        except ProtocolError:
            pass
    with suppress(ProtocolError):
        unseal(data, mesh="m")


def test_every_decoder_is_covered() -> None:
    assert DECODERS.keys() == MESSAGES.keys()


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name, kinds in MESSAGES.items() for kind in kinds],
    ids=lambda v: getattr(v, "__name__", v),
)
@quick
@given(data=st.data())
def test_a_message_comes_back_as_it_went(name: str, kind: type, data: st.DataObject) -> None:
    message = data.draw(of(kind))
    assert DECODERS[name](encode(message)) == message


@quick
@given(fact=facts())
def test_a_body_comes_back_as_it_went(fact: Any) -> None:
    assert msgspec.msgpack.decode(encode(fact), type=type(fact)) == fact


@settings(max_examples=300)
@given(data=st.binary(max_size=200))
@example(b"")
@example(b"\xc1")  # the one opcode that msgpack never uses
@example(b"\xdd\xff\xff\xff\xff")  # an array of four thousand million
@example(b"\xdf\xff\xff\xff\xff")  # a map as large
@example(b"\xdb\xff\xff\xff\xff")  # a string as large
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x81\xa1x" + b"\x91" * 50_000)  # nested in a field that is skipped
@example(b"\x91" * 50_000)
@example(b"\x81" * 50_000)
@example(b"\x93\x01\xc4\x00\xc4\x00" + b"\x91" * 1000)
def test_random_bytes_are_refused(data: bytes) -> None:
    refuses_or_reads(data)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), kind=st.sampled_from([kind for kinds in MESSAGES.values() for kind in kinds]))
def test_damaged_messages_are_refused_or_read(data: st.DataObject, kind: type) -> None:
    packed = bytearray(encode(data.draw(of(kind))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(packed) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "double", "put"])):
            case "flip":
                packed[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del packed[at + 1 :]
            case "double":
                packed[at:at] = packed[at : at + 20]
            case "put":
                packed[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    refuses_or_reads(bytes(packed))


@settings(max_examples=150)
@given(value=st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(KEYS, inner, max_size=5)))
def test_valid_msgpack_of_the_wrong_shape_is_refused(value: Any) -> None:
    refuses_or_reads(msgspec.msgpack.encode(value))


def test_a_message_over_its_limit_is_not_even_decoded() -> None:
    for read in DECODERS.values():
        with pytest.raises(MessageTooBig, match="the limit is"):
            read(bytes(read.limit + 1))


@pytest.mark.parametrize("kind", ON_THE_WIRE, ids=lambda kind: kind.__name__)
def test_everything_on_the_wire_is_bounded(kind: type) -> None:
    """Every string, list, map and byte string has a length limit; every number a range, which also refuses NaN."""
    for part in structs(kind):
        for field in part.fields:
            for schema in walk(field.type):
                where = f"{part.cls.__name__}.{field.name}: {schema}"
                match schema:
                    case inspect.StrType():
                        assert schema.max_length is not None or schema.pattern is not None, where
                    case inspect.BytesType() | inspect.VarTupleType() | inspect.DictType():
                        assert schema.max_length is not None, where
                    case inspect.IntType() if field.name != "version":  # compared with the one that is spoken
                        assert (schema.ge, schema.gt) != (None, None), where
                        assert (schema.le, schema.lt) != (None, None), where
                    case inspect.FloatType():
                        assert (schema.ge, schema.gt) != (None, None), where
                        assert schema.le is not None, where
                    case inspect.AnyType() | inspect.RawType():
                        pytest.fail(where)


@pytest.mark.parametrize("kind", ON_THE_WIRE, ids=lambda kind: kind.__name__)
@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_field_over_its_limit_is_refused(kind: type, data: st.DataObject) -> None:
    for part in structs(kind):
        sample = plain(data.draw(of(part.cls)))
        for i, field in enumerate(part.fields):
            for bad in _too_much(field.type):
                broken = (
                    [*sample[:i], bad, *sample[i + 1 :]] if isinstance(sample, list) else {**sample, field.name: bad}
                )
                with pytest.raises(msgspec.ValidationError):
                    msgspec.msgpack.decode(msgspec.msgpack.encode(broken), type=part.cls)


def _too_much(schema: inspect.Type) -> list[Any]:
    match schema:
        case inspect.Metadata():
            return _too_much(schema.type)
        case inspect.UnionType():
            return [bad for part in schema.types for bad in _too_much(part)]
        case inspect.StrType() if schema.max_length is not None:
            return ["1" * (schema.max_length + 1)]
        case inspect.StrType():
            return ["x", "0" * 100]
        case inspect.BytesType() if schema.max_length is not None:
            return [bytes(schema.max_length + 1)]
        case inspect.VarTupleType() if schema.max_length is not None:
            return [[None] * (schema.max_length + 1)]
        case inspect.DictType() if schema.max_length is not None:
            return [{str(i): "" for i in range(schema.max_length + 1)}]
        case inspect.IntType() if schema.le is not None or schema.lt is not None:
            return [2**64 - 1, -(2**63)]
        case inspect.FloatType():
            return [math.nan, math.inf, -math.inf]
    return []


@pytest.mark.parametrize("kind", [k for k in ON_THE_WIRE if k is not JobSpec], ids=lambda kind: kind.__name__)
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_a_newer_peer_adds_is_ignored(kind: type, data: st.DataObject) -> None:
    """Unknown fields of a struct, and further elements of a struct that travels as an array."""
    value = data.draw(of(kind))
    shape = plain(value)
    newer = [*shape, {"later": 1}, None] if isinstance(shape, list) else {**shape, "later": {"a": [1, 2]}}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(newer), type=kind) == value


@settings(max_examples=200)
@example(b"\x81\xa5model\xa2\xff\xff")
@given(packed=st.binary(max_size=100) | of(JobSpec).map(lambda s: encode({**plain(s), "later": 1})))
def test_a_spec_that_is_not_understood_is_declined_never_an_exception(packed: bytes) -> None:
    info = read_order(JobOrder("0" * 16, packed, "0" * 64, bytes(8), 0.0), ME)  # type: ignore[arg-type]  # ids as text
    if info.spec is None:
        assert info.unclear
        assert len(info.unclear) <= 512
        assert info.name == "?"
    else:
        assert unpack_spec(packed) == info.spec


def test_numbers_that_are_none_are_refused_where_people_would_add_them_up() -> None:
    pack = [1, ["person"], [], [[1, 0, 0, struct.unpack("d", b"\0\0\0\0\0\0\xf8\x7f")[0], []]]]
    with pytest.raises(DecodeError):
        DECODERS["read_event_batch"](encode({"pack": pack}))


def test_an_event_that_refers_to_nothing_is_refused() -> None:
    work = ["0" * 16, "0" * 32, "s", "a.mp4", "0" * 32, 10, 10, None]
    for labels, works, row in (
        ([], [work], [1, 0, 0, 0.0, [[0, 1, 0, 0, 1, 1]]]),
        (["person"], [], [1, 0, 0, 0.0, []]),
        (["person"], [work], [1, 1, 0, 0.0, []]),
    ):
        message = DECODERS["read_event_batch"](encode({"pack": [1, labels, works, [row]]}))
        with pytest.raises(DecodeError, match="refers to what its pack does not hold"):
            unpack(message.pack, ME)
    assert isinstance(message.pack, EventPack)
