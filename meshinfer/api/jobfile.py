"""Job files from disk: YAML or JSON, bounded, without surprises. `model.jobfile` checks what they say."""

from __future__ import annotations

import re
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from meshinfer.errors import ConfigError
from meshinfer.model.job import JobSpec
from meshinfer.model.jobfile import plain_spec, read_spec, set_value

MAX_JOB_FILE = 64 * 1024
"""Bytes."""


def _refused(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain scalars, no aliases, no tags, no repeated keys.

    YAML 1.1, PyYAML's own, reads the key `on` as true, the label `no` as false and 12:30 as 750. Aliases can blow a
    small file up to gigabytes, and a key given twice is always a mistake.
    """

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012  a class variable there too, which the stubs don't say

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # untyped in the stubs
        if self.check_event(yaml.AliasEvent):
            raise _refused("aliases (*name) are not allowed here", event)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"tags ({event.tag}) are not allowed here", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key must be text", key)
            if key.value in seen:
                raise _refused(f"the key {key.value!r} is given twice", key)
            seen.add(key.value)
        made: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return made


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]{1,18}$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]{1,18}\.[0-9]*|\.[0-9]+|[0-9]{1,18}(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def load_job(file: str, settings: tuple[str, ...] = ()) -> tuple[JobSpec, dict[str, Any]]:
    """The job in `file` (`-`: standard input) with each `--set key=value` over it: typed, and as it is sent.

    Raises ConfigError that names the file and the path of the key in it.
    """
    name = "standard input" if file == "-" else file
    raw = parse_text(_read(file), name)
    if not isinstance(raw, dict):
        raise ConfigError(f"{name}: is no job file: expected keys such as `model: yolox_nano`")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected key=value, such as --set sample.fps=2")
        set_value(raw, key.strip(), parse_text(text, f"--set {key}"))
    spec = read_spec(raw, where=name)
    return spec, plain_spec(spec)


def parse_text(text: str, name: str) -> Any:
    """YAML, of which JSON is a part. Raises ConfigError with line and column."""
    try:
        if text.lstrip().startswith("{"):
            try:
                return msgspec.json.decode(text)
            except msgspec.DecodeError:
                pass  # a YAML flow mapping: {model: x}
        return yaml.load(text, _Loader)  # noqa: S506  _Loader is a SafeLoader
    except yaml.MarkedYAMLError as e:
        at = f"{name}:{e.problem_mark.line + 1}:{e.problem_mark.column + 1}" if e.problem_mark else name
        raise ConfigError(f"{at}: {e.problem or 'no valid YAML'}") from None
    except (yaml.YAMLError, ValueError) as e:
        raise ConfigError(f"{name}: no valid YAML: {e}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None


def _read(file: str) -> str:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_JOB_FILE + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(MAX_JOB_FILE + 1)
        if len(data) > MAX_JOB_FILE:
            raise ConfigError(f"{file}: too big for a job file (over {MAX_JOB_FILE // 1024} KiB)")
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is no text file; a job file is YAML or JSON") from None
    except OSError as e:
        raise ConfigError(f"{file}: cannot be read: {e.strerror}; give the path of a job file") from None
