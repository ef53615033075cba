"""Hypothesis strategies for anything that travels, made from the types: what a type allows is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from meshinfer.mesh.identity import Identity
from meshinfer.model.facts import KINDS
from meshinfer.model.ids import PEER_ID
from meshinfer.model.job import JobOrder, JobSpec, job_id, pack_spec
from meshinfer.model.verdict import Verdict
from meshinfer.wire import messages
from meshinfer.wire.codec import Decoder
from meshinfer.wire.records import Payload, Sealed

PEERS = [Identity.from_seed(bytes([i]) * 32) for i in range(1, 6)]

DECODERS: dict[str, Decoder[Any]] = {
    name: value for name, value in sorted(vars(messages).items()) if isinstance(value, Decoder)
}
"""Every decoder of a message, by its name in wire/messages.py."""

MESSAGES: dict[str, tuple[type, ...]] = {
    "read_announcement": (messages.Announcement,),
    "read_event_batch": (messages.EventBatch,),
    "read_sync": (messages.Have, messages.Page, messages.Complete),
    "read_replay": (messages.Replay,),
    "read_events": (messages.Events, messages.Head),
    "read_results_of": (messages.ResultsOf,),
    "read_results": (messages.Tasks, messages.Events, messages.Picture, messages.ResultsEnd),
    "read_ask": (messages.Ask,),
    "read_verdict": (Verdict,),
    "read_catalog_of": (messages.CatalogOf,),
    "read_catalog": (messages.CatalogPage,),
    "read_want_work": (messages.WantWork,),
    "read_give_work": (messages.GiveWork,),
    "read_checkup": (messages.Checkup,),
    "read_health": (messages.Health,),
    "read_want_model": (messages.WantModel,),
    "read_model_answer": (messages.ModelSeal, messages.NoModel),
    "read_want_chunk": (messages.WantChunk,),
    "read_part": (messages.Part,),
    "read_parted": (messages.Parted,),
    "read_infer_on": (messages.InferOn,),
    "read_inferred": (messages.Inferred,),
}
"""What each of them reads."""

ON_THE_WIRE: tuple[type, ...] = (
    *KINDS.values(),
    JobSpec,
    Payload,
    Sealed,
    *{kind: None for kinds in MESSAGES.values() for kind in kinds},
)


@cache
def of(kind: Any) -> st.SearchStrategy[Any]:
    """Valid values of a type, small ones."""
    return _of(inspect.type_info(kind))


@cache
def facts() -> st.SearchStrategy[Any]:
    return st.one_of([orders() if kind is JobOrder else of(kind) for kind in KINDS.values()])


@st.composite
def orders(draw: st.DrawFn) -> JobOrder:
    spec = pack_spec(draw(of(JobSpec)))
    model, nonce = draw(st.text("0123456789abcdef", min_size=64, max_size=64)), draw(st.binary(min_size=8, max_size=32))
    return JobOrder(job_id(spec, model, nonce), spec, model, nonce, draw(st.floats(0, 1e10)))  # type: ignore[arg-type]  # ids as text


def structs(kind: type) -> Iterator[inspect.StructType]:
    """The struct and all that it is made of."""
    seen: set[type] = set()
    for part in walk(inspect.type_info(kind)):
        if isinstance(part, inspect.StructType) and part.cls not in seen:
            seen.add(part.cls)
            yield part


def walk(schema: inspect.Type) -> Iterator[inspect.Type]:
    """The type and all that it is made of."""
    yield schema
    match schema:
        case inspect.Metadata():
            yield from walk(schema.type)
        case inspect.StructType():
            for field in schema.fields:
                yield from walk(field.type)
        case inspect.UnionType() | inspect.TupleType():
            for part in schema.types if isinstance(schema, inspect.UnionType) else schema.item_types:
                yield from walk(part)
        case inspect.VarTupleType():
            yield from walk(schema.item_type)
        case inspect.DictType():
            yield from walk(schema.key_type)
            yield from walk(schema.value_type)


def _of(schema: inspect.Type) -> st.SearchStrategy[Any]:
    match schema:
        case inspect.Metadata():
            return _of(schema.type)
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(schema.ge if schema.ge is not None else 0, _int_max(schema))
        case inspect.FloatType():
            low, high = schema.ge if schema.ge is not None else schema.gt, schema.le
            return st.floats(low, high, exclude_min=schema.gt is not None)
        case inspect.StrType():
            return _text(schema)
        case inspect.BytesType():
            return st.binary(min_size=schema.min_length or 0, max_size=_some(schema))
        case inspect.LiteralType():
            return st.sampled_from(schema.values)
        case inspect.UnionType():
            return st.one_of([_of(part) for part in schema.types])
        case inspect.VarTupleType():
            few = st.lists(_of(schema.item_type), min_size=schema.min_length or 0, max_size=_some(schema))
            return few.map(tuple)
        case inspect.TupleType():
            return st.tuples(*map(_of, schema.item_types))
        case inspect.DictType():
            return st.dictionaries(_of(schema.key_type), _of(schema.value_type), max_size=_some(schema))
        case inspect.StructType():
            return _struct(schema)
    raise TypeError(f"no strategy for {schema}")


def _struct(schema: inspect.StructType) -> st.SearchStrategy[Any]:
    fields = {field.name: _of(field.type) for field in schema.fields}
    match schema.cls.__name__:
        case "Selector":
            fields["labels"] = st.lists(
                st.sampled_from(["site=a", "site!=b", "site in (a, b)", "gps"]), max_size=2
            ).map(tuple)
        case "Sample":
            fields["every"] = st.one_of(st.just("frame"), st.integers(1, 1000))
            fields["fps"] = st.none()
    return st.builds(schema.cls, **fields)


def _some(schema: Any, more: int = 3) -> int:
    at_least: int = schema.min_length or 0
    return min(schema.max_length if schema.max_length is not None else at_least + more, at_least + more)


def _int_max(schema: inspect.IntType) -> int:
    if schema.le is not None:
        return schema.le
    return schema.lt - 1 if schema.lt is not None else 2**53


def _text(schema: inspect.StrType) -> st.SearchStrategy[str]:
    if schema.pattern == PEER_ID.pattern:
        return st.sampled_from([peer.peer_id for peer in PEERS])
    if schema.pattern is not None:
        return st.from_regex(schema.pattern, fullmatch=True, alphabet="0123456789abcdef:")
    return st.text(min_size=schema.min_length or 0, max_size=_some(schema, 8))


def plain(value: Any) -> Any:
    """As msgpack's own types, bytes kept."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))
