"""The field tables of docs/WIRE.md, made from the types. `python -m tests.golden.tables` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec import inspect

from meshinfer.model import catalog, channel, detection, facts, ids, job, selector, verdict
from meshinfer.wire import eventpack, messages, records

DOC = Path(__file__).parents[2] / "docs" / "WIRE.md"
MODULES = (catalog, channel, detection, facts, job, selector, verdict, eventpack, messages, records)
_BLOCK = re.compile(r"<!-- (\w+) -->\n(?:\|.*\n)*")
_NAMED = {
    ids.PEER_ID.pattern: "peer id",
    ids.JOB_ID.pattern: "16 hex digits",
    ids.TASK_ID.pattern: "32 hex digits",
    ids.MODEL_DIGEST.pattern: "64 hex digits",
}


def with_tables(text: str) -> str:
    """The document with each table under its `<!-- Name -->` as the type says."""
    return _BLOCK.sub(lambda block: f"<!-- {block[1]} -->\n{table(block[1])}", text)


def named(text: str) -> set[str]:
    return set(_BLOCK.findall(text))


def table(name: str) -> str:
    """Markdown rows, a field each."""
    cls = next(getattr(module, name) for module in MODULES if hasattr(module, name))
    schema = inspect.type_info(cls)
    assert isinstance(schema, inspect.StructType)
    rows = [f"| {'element' if schema.array_like else 'field'} | type | |", "|---|---|---|"]
    if schema.tag is not None:
        rows.append(f'| `{schema.tag_field}` | "{schema.tag}" | |')
    for field in schema.fields:
        rows += [f"| `{field.encode_name}` | {_type(field.type)} | {_default(field)} |"]
    return "\n".join(rows) + "\n"


def _default(field: inspect.Field) -> str:
    if field.required:
        return ""
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    match value:
        case None:
            return "default: nil"
        case bool():
            return f"default: {value}".lower()
        case int() | float() | str() if value != "":
            return f"default: {value}"
    return "default: empty"


def _type(schema: inspect.Type) -> str:
    match schema:
        case inspect.Metadata():
            return _type(schema.type)
        case inspect.NoneType():
            return "nil"
        case inspect.BoolType():
            return "bool"
        case inspect.IntType():
            return f"int{_range(schema)}"
        case inspect.FloatType():
            return f"float{_range(schema)}"
        case inspect.StrType():
            return _NAMED.get(schema.pattern or "", f"text{_length(schema)}")
        case inspect.BytesType():
            return f"bytes{_length(schema)}"
        case inspect.LiteralType():
            return " or ".join(f'"{value}"' for value in schema.values)
        case inspect.UnionType():
            return " or ".join(map(_type, schema.types))
        case inspect.VarTupleType():
            return f"array{_length(schema)} of {_type(schema.item_type)}"
        case inspect.TupleType():
            (item,) = set(map(_type, schema.item_types))
            return f"array ({len(schema.item_types)}) of {item}"
        case inspect.DictType():
            return f"map{_length(schema)} of {_type(schema.key_type)} to {_type(schema.value_type)}"
        case inspect.StructType():
            return f"**{schema.cls.__name__}**"
    raise TypeError(f"how is {schema} written?")


def _length(schema: inspect.StrType | inspect.BytesType | inspect.VarTupleType | inspect.DictType) -> str:
    low, high = schema.min_length, schema.max_length
    if high is None:
        return ""
    return f" ({high})" if low == high else f" ({low}..{high})" if low else f" (≤ {high})"


def _range(schema: inspect.IntType | inspect.FloatType) -> str:
    low = schema.ge if schema.ge is not None else schema.gt
    high = schema.le if schema.le is not None else schema.lt
    if low is None or high is None:
        return ""
    return (
        f" {'' if schema.gt is None else '> '}{_number(low)}..{_number(high)}{'' if schema.lt is None else ' (excl.)'}"
    )


def _number(value: float) -> str:
    powers = {2**53: "2^53", 2**62: "2^62"}
    return powers.get(int(value), f"{value:g}" if value != int(value) or abs(value) > 1e9 else str(int(value)))


if __name__ == "__main__":
    DOC.write_text(with_tables(DOC.read_text()))
