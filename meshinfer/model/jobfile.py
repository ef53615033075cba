"""Job files: what a person writes -> `JobSpec`. Human forms become plain ones first, then types are checked.

    expires: 24h                       90s, 30m, 24h, 7d, or seconds
    on: {labels: {site: hamburg}}      a mapping, a list of requirements, or one text: "site=hamburg, gps"
    on: {captured: {after: 2026-11-01T08:00}}     ISO 8601 (UTC where no zone is given), or unix seconds
    detect: {classes: person}          one name, or a list of them

The plain form is among the human ones: reading twice gives the same spec. Every error is a `ConfigError` with a path.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from meshinfer.errors import ConfigError
from meshinfer.model.job import MAX_SPEC, JobSpec, pack_spec
from meshinfer.model.selector import parse_requirement
from meshinfer.model.typed import shown, typed

_SPAN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d|w)?\s*$")
_SECONDS = {None: 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_COMMA = re.compile(r",(?![^()]*\))")
"""Commas outside parentheses: `site in (a, b)` is one requirement."""


def read_spec(raw: object, *, where: str = "job") -> JobSpec:
    """The spec that `raw` (a job file as nested dicts and lists) asks for. Raises ConfigError."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: $: expected a mapping with at least `model`, got {shown(raw)}")
    if "canary" in raw:
        raise ConfigError(f"{where}: $.canary: no key of a job: name a channel as its model, and a roll-out adds this")
    spec = typed(_plain(raw, where), JobSpec, where=where)
    _check_then(spec, where)
    if (size := len(pack_spec(spec))) > MAX_SPEC:
        raise ConfigError(f"{where}: too big to be passed on: {size} bytes packed, the limit is {MAX_SPEC}")
    return spec


def _check_then(spec: JobSpec, where: str) -> None:
    if (then := spec.then) is None:
        return
    if then.digest is not None:
        raise ConfigError(f"{where}: $.then.digest: no key of a job: `then.model` may be a digest, sha256:...")
    if spec.detect.classes and (never := [name for name in then.of if name not in spec.detect.classes]):
        raise ConfigError(f"{where}: $.then.of: {never[0]} is not among `detect.classes`, so there is never one")


def plain_spec(spec: JobSpec) -> dict[str, Any]:
    """What the spec says beyond the defaults, as JSON types; `read_spec` reads it back."""
    return {key: value for key, value in msgspec.to_builtins(spec).items() if value != {}}


def parse_span(text: str) -> float:
    """Seconds in `90s`, `30m`, `24h`, `7d`, `2w` or a bare number. Raises ValueError."""
    found = _SPAN.match(text)
    if not found:
        raise ValueError(f"expected a time span such as 90s, 30m, 24h or 7d, got {shown(text)}")
    return float(found[1]) * _SECONDS[found[2]]


def parse_moment(text: str) -> float:
    """Unix seconds of an ISO 8601 moment; UTC where it names no zone. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"expected a time such as 2026-11-20T08:00 (UTC) or unix seconds, got {shown(text)}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_on(text: str) -> dict[str, Any]:
    """`kind=video,site=hamburg,name=*.mp4,site in (a,b),after=2026-11-01` -> the job file's `on`. Raises ConfigError.

    `kind`, `name`, `after` and `before` are the entry's own; everything else is a label requirement.
    """
    on: dict[str, Any] = {}
    for part in _split(text):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if equals and key in ("kind", "name", "after", "before"):
            target = on if key in ("kind", "name") else on.setdefault("captured", {})
            if key in target:
                raise ConfigError(f"--on: `{key}` is given twice")
            target[key] = value.removeprefix("=").strip()
        else:
            on.setdefault("labels", []).append(part)
    return on


def set_value(raw: dict[str, Any], path: str, value: object) -> None:
    """Put `value` at a dotted `path` (`sample.fps`), making the mappings on the way. Raises ConfigError."""
    *way, last = path.split(".")
    if not all((*way, last)):
        raise ConfigError(f"--set {path}: expected a dotted path such as sample.fps=2")
    here = raw
    for i, step in enumerate(way):
        inner = here.setdefault(step, {})
        if not isinstance(inner, dict):
            at = ".".join(way[: i + 1])
            raise ConfigError(f"--set {path}: $.{at} is {shown(inner)}, so nothing can be set inside it")
        here = inner
    here[last] = value


def _plain(raw: dict[str, Any], where: str) -> dict[str, Any]:
    plain = dict(raw)
    if isinstance(span := plain.get("expires"), str):
        plain["expires"] = _at("$.expires", parse_span, span, where)
    if isinstance(on := plain.get("on"), str):
        plain["on"] = on = parse_on(on)
    if isinstance(on, dict):
        plain["on"] = _plain_on(on, where)
    for part, keys in (("detect", ("classes",)), ("then", ("of", "classes"))):
        if isinstance(said := plain.get(part), dict):
            plain[part] = {k: [v] if k in keys and isinstance(v, str) else v for k, v in said.items()}
    # A key with nothing after it ("sample:") means that its defaults are meant.
    return {key: value for key, value in plain.items() if value is not None}


def _plain_on(on: dict[str, Any], where: str) -> dict[str, Any]:
    plain = dict(on)
    match plain.get("labels"):
        case str() as text:
            plain["labels"] = list(_split(text))
        case dict() as labels:
            plain["labels"] = [_requirement(key, value, where) for key, value in labels.items()]
        case list() as labels:
            for i, text in enumerate(labels):
                if isinstance(text, str):
                    _at(f"$.on.labels[{i}]", parse_requirement, text, where)
    if isinstance(captured := plain.get("captured"), dict):
        plain["captured"] = {key: _moment(f"$.on.captured.{key}", value, where) for key, value in captured.items()}
    return plain


def _requirement(key: object, value: object, where: str) -> str:
    """One entry of a label mapping as a requirement: a value, a list of values (in), or nothing (exists)."""
    match value:
        case None:
            text = f"{key}"
        case list():
            values = [_label(key, v, where) for v in value]
            if any(c in v for v in values for c in ",()"):
                raise ConfigError(f"{where}: $.on.labels.{key}: values in a list cannot contain commas or parentheses")
            text = f"{key} in ({', '.join(values)})"
        case _:
            text = f"{key}={_label(key, value, where)}"
    _at(f"$.on.labels.{key}", parse_requirement, text, where)
    return text


def _label(key: object, value: object, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{where}: $.on.labels.{key}: expected text, a list of texts, or nothing, got {shown(value)}")


def _moment(path: str, value: object, where: str) -> object:
    return _at(path, parse_moment, value, where) if isinstance(value, str) else value


def _at(path: str, parse: Any, text: str, where: str) -> Any:
    try:
        return parse(text)
    except ValueError as e:
        raise ConfigError(f"{where}: {path}: {e}") from None


def _split(text: str) -> list[str]:
    return [part.strip() for part in _COMMA.split(text) if part.strip()]
