"""What people wrote (YAML, TOML, flags) -> typed nouns, with errors that name the path and guess at typos."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from meshinfer.errors import ConfigError

T = TypeVar("T")

_AT = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>\$.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


def typed(raw: object, kind: type[T], *, where: str, dec_hook: Callable[[Any, Any], Any] | None = None) -> T:
    """`raw`, checked and converted to `kind`. `dec_hook` makes the types that msgspec does not know.

    Raises ConfigError: `<where>: $.path: what was expected, what was found`.
    """
    try:
        return msgspec.convert(raw, kind, dec_hook=dec_hook)
    except msgspec.ValidationError as e:
        raise ConfigError(f"{where}: {_explain(str(e), raw, kind)}") from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or the list of what is known where nothing is near it."""
    choices = list(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; known are {', '.join(choices)}" if choices else ""


def no_such_class(model: str, word: str, known: Sequence[str]) -> str:
    """What is wrong with a class name, what was perhaps meant, and what the model knows."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{model} knows no class {word!r}{hint}; it knows: {', '.join(known[:80])}{', …' if len(known) > 80 else ''}"


def shown(value: object) -> str:
    """A value as a person would recognise it, cut short."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value}"[:40]
        case str():
            return repr(value if len(value) <= 40 else value[:37] + "...")
        case dict():
            return "a mapping"
        case _:
            return "a list"


def _explain(message: str, raw: object, kind: type) -> str:
    match = _AT.match(message)
    if match is None:
        return message
    what, path = match["what"], match["path"] or "$"
    schema = _schema_at(inspect.type_info(kind), path)
    if found := re.match(r"Object contains unknown field `(.*)`$", what, re.DOTALL):
        return f"{path}.{found[1]}: unknown key{did_you_mean(found[1], _fields(schema))}"
    if found := re.match(r"Object missing required field `(.*)`$", what):
        return f"{path}.{found[1]}: missing; it must be given"
    if match["key"]:
        return f"{path}: every key must be text"
    if found := re.match(r"Invalid enum value (.*)$", what, re.DOTALL):
        choices = _choices(schema)
        return f"{path}: {found[1]} is not known here{did_you_mean(found[1].strip(chr(39)), choices)}"
    value = _value_at(raw, path)
    if found := re.match(r"Expected `([^`]*)`(.*?)(?:, got `[^`]*`)?$", what, re.DOTALL):
        expected = " or ".join(_WORDS.get(word, word) for word in found[1].split(" | ") if word != "null")
        limit = found[2].replace("matching regex", "like").replace("`", "")
        return f"{path}: expected {expected}{limit}, got {shown(value)}"
    return f"{path}: {what}"


def _steps(path: str) -> list[str]:
    return [name or index for name, index in _STEP.findall(path)]


def _value_at(raw: object, path: str) -> object:
    for step in _steps(path):
        if isinstance(raw, dict):
            raw = raw.get(step)
        elif isinstance(raw, list | tuple) and step.isdigit() and int(step) < len(raw):
            raw = raw[int(step)]
        else:
            return raw
    return raw


def _schema_at(schema: inspect.Type, path: str) -> inspect.Type:
    for step in _steps(path):
        found = next((inner for part in _parts(schema) if (inner := _inner(part, step)) is not None), None)
        if found is None:
            return inspect.AnyType()
        schema = found
    return schema


def _parts(schema: inspect.Type) -> tuple[inspect.Type, ...]:
    """The alternatives of a union; a type alone is its only one."""
    if isinstance(schema, inspect.Metadata):
        return _parts(schema.type)
    return schema.types if isinstance(schema, inspect.UnionType) else (schema,)


def _inner(schema: inspect.Type, step: str) -> inspect.Type | None:
    match schema:
        case inspect.StructType():
            return next((field.type for field in schema.fields if field.encode_name == step), None)
        case inspect.ListType() | inspect.VarTupleType():
            return schema.item_type
        case inspect.DictType():
            return schema.value_type
        case _:
            return None


def _fields(schema: inspect.Type) -> list[str]:
    return [f.encode_name for part in _parts(schema) if isinstance(part, inspect.StructType) for f in part.fields]


def _choices(schema: inspect.Type) -> list[str]:
    literals = [str(v) for part in _parts(schema) if isinstance(part, inspect.LiteralType) for v in part.values]
    numbers = any(isinstance(part, inspect.IntType | inspect.FloatType) for part in _parts(schema))
    return [*literals, "a number"] if numbers else literals
