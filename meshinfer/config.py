"""Settings of one peer: TOML file < MESHINFER_* variables < flags -> typed, frozen sections.

`<home>/config.toml` is read first, `MESHINFER_<SECTION>_<KEY>` goes over it, flags go over both: key by key, lists as a
whole, labels label by label. A key that nobody knows is an error in each of the three. Cheap to import on purpose: the
command line reads it before it knows what it will do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from meshinfer.errors import ConfigError
from meshinfer.home import default_home as default_home
from meshinfer.home import make_home as make_home
from meshinfer.home import socket_path as socket_path
from meshinfer.model.catalog import Kind
from meshinfer.model.ids import Labels
from meshinfer.model.ids import Peer as SignerId
from meshinfer.model.typed import did_you_mean, typed

SOURCE_NAME = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
MESH_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
MAX_FILE = 256 * 1024
"""Bytes of a config file or of a list of bootstrap peers."""

_LABEL = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}=[^=]*$")


class Peer(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """What people call this peer; empty: the node makes one of the host's name and its id."""
    labels: Labels = msgspec.field(default_factory=dict)
    """On every entry this peer holds, below the source's own labels."""


class Mesh(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=MESH_NAME)] = "default"
    """Peers of other meshes are not heard."""
    listen: Annotated[tuple[str, ...], Meta(max_length=16)] = ("/ip4/0.0.0.0/tcp/4001",)
    """Port 0 takes a free one."""
    announce: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    """What others are told to dial; empty: where this peer listens. For forwarded ports, containers, proxies."""
    bootstrap: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    """Multiaddrs with the peer's id at the end. Each may be a comma list, or `@file` with one a line."""
    swarm_key: Path | None = None
    """A pre-shared key: peers without it cannot join."""


class SourceConfig(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=SOURCE_NAME.pattern)]
    path: Path
    """A folder, absolute once loaded; in the file relative to the file, in a flag to the working folder."""
    kind: Kind | None = None
    """Only files of this kind; None: videos and images."""
    labels: Labels = msgspec.field(default_factory=dict)


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    share_pixels: bool = False
    """Whether annotated frames may leave this peer. Detections always do."""
    infer: bool = True
    """Whether others may send this peer single pictures to run its models over (`meshinfer infer --on`)."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    workers: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Inference workers; None: one a core."""
    model_memory_mb: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    """MiB of memory for loaded models; None: a quarter of the machine's. Those not used for the longest time go."""
    cpu_only: bool = False
    """Whether models run on the CPU even where another device was found to be faster."""
    disk_reserve_mb: Annotated[int, Meta(ge=0, le=1_000_000)] = 512
    """With less free disk than this no task is started; the peer keeps serving."""
    settle: Annotated[float, Meta(ge=0, le=3600)] = 2.0
    """Seconds for which a file must not have changed before it is taken in."""
    rescan: Annotated[float, Meta(ge=0.1, le=86400)] = 2.0
    """Seconds between two looks at the sources."""


class Models(Struct, frozen=True, forbid_unknown_fields=True):
    signers: Annotated[tuple[SignerId, ...], Meta(max_length=64)] = ()
    """Peer ids whose models may run here, besides this peer's own."""
    fetch: bool = True
    """Whether a model that a job names and that lies at another peer is fetched from there."""
    budget_mb: Annotated[int, Meta(ge=1, le=10_000_000)] = 4096
    """Disk for fetched models: the least recently used go first. What was added here by hand stays."""
    url: Annotated[str, Meta(max_length=512)] = ""
    """A mirror of the well-known models; empty: where they were published."""
    isolate: bool = False
    """Whether every model runs in a process of its own, as with `isolate: true` in each job."""


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    home: Path
    """Identity, database, models and control socket of this peer."""
    peer: Peer = msgspec.field(default_factory=Peer)
    mesh: Mesh = msgspec.field(default_factory=Mesh)
    source: Annotated[tuple[SourceConfig, ...], Meta(max_length=256)] = ()
    policy: Policy = msgspec.field(default_factory=Policy)
    limits: Limits = msgspec.field(default_factory=Limits)
    models: Models = msgspec.field(default_factory=Models)


class _Layer(Struct, frozen=True, forbid_unknown_fields=True):
    """What one origin may say; `Config` without the home."""

    peer: Peer = msgspec.field(default_factory=Peer)
    mesh: Mesh = msgspec.field(default_factory=Mesh)
    source: Annotated[tuple[SourceConfig, ...], Meta(max_length=256)] = ()
    policy: Policy = msgspec.field(default_factory=Policy)
    limits: Limits = msgspec.field(default_factory=Limits)
    models: Models = msgspec.field(default_factory=Models)


_SECTIONS: dict[str, type[Struct]] = {"peer": Peer, "mesh": Mesh, "policy": Policy, "limits": Limits, "models": Models}
_NUMBERS = {
    "workers": int,
    "model_memory_mb": int,
    "disk_reserve_mb": int,
    "settle": float,
    "rescan": float,
    "budget_mb": int,
}
_TRUTH = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


def load(
    home: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    check_paths: bool = True,
) -> Config:
    """The settings of the peer in `home`. `flags` is shaped like the file. Raises ConfigError.

    `check_paths=False` is for callers that read no footage: a disk that is away is then no error.
    """
    home = Path(os.path.abspath((home or default_home(environ)).expanduser()))  # noqa: PTH100  resolve() follows links
    file = home / "config.toml"
    merged: dict[str, Any] = {}
    for where, base, layer in (
        (str(file), home, _read_toml(file)),
        ("environment", Path.cwd(), _from_environment(environ)),
        ("command line", Path.cwd(), dict(flags or {})),
    ):
        layer = _strings_as_lists(layer)
        typed(layer, _Layer, where=where, dec_hook=_as_path)
        merged = _over(merged, _absolute(layer, base, where))
    config = typed({"home": str(home), **merged}, Config, where="config", dec_hook=_as_path)
    _check(config, check_paths=check_paths)
    return config


def parse_source(text: str) -> dict[str, Any]:
    """`dock=./footage[,kind=video][,key=value...]` as in the file's `[[source]]`. Raises ConfigError."""
    name, equals, rest = text.partition("=")
    if equals and not rest:
        raise ConfigError(f"--source {text}: no folder after the =")
    if not equals:
        suggestion = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(text).name).strip("-.") or "footage"
        raise ConfigError(
            f"--source {text}: a source needs a name: --source {suggestion}={text.strip('=') or 'FOLDER'}"
        )
    if not SOURCE_NAME.match(name):
        raise ConfigError(f"--source {text}: {name!r} is no name: up to 64 letters, digits, dots, dashes, underscores")
    pieces = rest.split(",")
    first = len(pieces)
    while first > 1 and _LABEL.match(pieces[first - 1]):  # a comma that no key=value follows belongs to the path
        first -= 1
    source: dict[str, Any] = {"name": name, "path": ",".join(pieces[:first])}
    labels = parse_labels(pieces[first:], where=f"--source {name}")
    if "kind" in labels:
        source["kind"] = labels.pop("kind")
    return {**source, "labels": labels} if labels else source


def parse_labels(texts: tuple[str, ...] | list[str], *, where: str = "--label") -> dict[str, str]:
    """`key=value` each. Raises ConfigError."""
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = (piece.strip() for piece in text.partition("="))
        if not equals or not _LABEL.match(f"{key}="):
            raise ConfigError(f"{where} {text}: expected key=value, such as site=hamburg")
        labels[key] = value
    return labels


def _as_path(kind: type, value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected a path")
    return Path(value)


def _read_toml(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        if file.stat().st_size > MAX_FILE:
            raise ConfigError(f"{file}: too big for a config file (over {MAX_FILE // 1024} KiB)")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        raise ConfigError(f"{file.parent}: is no folder; give another one with --home") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file}: no valid TOML: {e}") from None
    except OSError as e:
        raise ConfigError(f"{file}: cannot be read: {e.strerror}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """`MESHINFER_MESH_BOOTSTRAP=/ip4/...,/ip4/...`; lists and labels by commas; sources separated by semicolons."""
    layer: dict[str, Any] = {}
    for variable, text in sorted(environ.items()):
        section, _, key = variable.removeprefix("MESHINFER_").lower().partition("_")
        if not variable.startswith("MESHINFER_"):
            continue
        if variable == "MESHINFER_SOURCE":
            layer["source"] = [parse_source(part.strip()) for part in text.split(";") if part.strip()]
        elif section in _SECTIONS:
            fields = _SECTIONS[section].__struct_fields__
            if key not in fields:
                names = [f"MESHINFER_{section}_{field}".upper() for field in fields]
                raise ConfigError(f"{variable}: unknown variable{did_you_mean(variable, names)}")
            layer.setdefault(section, {})[key] = _from_text(variable, key, text)
    return layer


def _from_text(variable: str, key: str, text: str) -> Any:
    match key:
        case "listen" | "announce" | "bootstrap" | "signers":
            return [part.strip() for part in text.split(",") if part.strip()]
        case "labels":
            return parse_labels([part for part in text.split(",") if part.strip()], where=variable)
        case "share_pixels" | "infer" | "fetch" | "isolate" | "cpu_only":
            if text.lower() not in _TRUTH:
                raise ConfigError(f"{variable}: expected true or false, got {text!r}")
            return _TRUTH[text.lower()]
        case _ if key in _NUMBERS:
            try:
                return _NUMBERS[key](text)
            except ValueError:
                raise ConfigError(f"{variable}: expected a number, got {text!r}") from None
        case _:
            return text


def _strings_as_lists(layer: dict[str, Any]) -> dict[str, Any]:
    """`bootstrap = "/ip4/..."` is as good as a list of one."""
    mesh = layer.get("mesh")
    if not isinstance(mesh, dict):
        return layer
    lists = {k: [v] if k in ("listen", "announce", "bootstrap") and isinstance(v, str) else v for k, v in mesh.items()}
    return {**layer, "mesh": lists}


def _absolute(layer: dict[str, Any], base: Path, where: str) -> dict[str, Any]:
    """`layer`, already typed, with its paths absolute and its bootstrap lists spelled out."""

    def at(path: str) -> str:
        return os.path.normpath(base / Path(path).expanduser())

    layer = dict(layer)
    if "source" in layer:
        layer["source"] = [{**source, "path": at(source["path"])} for source in layer["source"]]
    if "mesh" in layer:
        layer["mesh"] = mesh = dict(layer["mesh"])
        if mesh.get("swarm_key"):
            mesh["swarm_key"] = at(mesh["swarm_key"])
        if "bootstrap" in mesh:
            mesh["bootstrap"] = [
                a for i, text in enumerate(mesh["bootstrap"]) for a in _spelled_out(text, i, at, where)
            ]
        for key in ("listen", "announce"):
            for i, text in enumerate(mesh.get(key, ())):
                _check_address(text, _key(where, key, i), kind=key)
    return layer


def _key(where: str, key: str, i: int) -> str:
    return f"--{key}" if where == "command line" else f"{where}: $.mesh.{key}[{i}]"


def _spelled_out(text: str, i: int, at: Any, where: str) -> list[str]:
    where = _key(where, "bootstrap", i)
    if not text.startswith("@"):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return [_check_address(part, where) for part in parts]
    file = Path(at(text[1:]))
    try:
        if file.stat().st_size > MAX_FILE:
            raise ConfigError(f"{where}: {file} is too big for a list of peers")
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as e:
        raise ConfigError(f"{where}: cannot read {file}: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: {file} is no text file") from None
    addresses = [line.partition("#")[0].strip() for line in lines]
    return [_check_address(a, f"{where}: {file}:{n}") for n, a in enumerate(addresses, 1) if a]


def _check_address(text: str, where: str, *, kind: str = "bootstrap") -> str:
    from meshinfer.mesh import addresses  # costs 50 ms: only where there is an address

    parse = {"listen": addresses.parse_listen, "announce": addresses.parse_announce, "bootstrap": addresses.parse_dial}
    try:
        parse[kind](text)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from None
    return text


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _over(merged[key], value) if both else value
    return merged


def _check(config: Config, *, check_paths: bool) -> None:
    seen: dict[str, Path] = {}
    for source in config.source:
        if source.name in seen:
            raise ConfigError(f"source {source.name}: named twice ({seen[source.name]}, {source.path}); rename one")
        seen[source.name] = source.path
        if check_paths:
            _check_folder(source)
    key = config.mesh.swarm_key
    if check_paths and key is not None and not os.access(key, os.R_OK):
        raise ConfigError(f"swarm key {key}: no readable file; `meshinfer init --swarm-key` makes one")


def _check_folder(source: SourceConfig) -> None:
    what, path = f"source {source.name}: {source.path}", source.path
    if not path.exists():
        raise ConfigError(f"{what} does not exist; check the path, or create the folder first")
    if not path.is_dir():
        raise ConfigError(f"{what} is a file; a source is a folder: --source {source.name}={path.parent}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise ConfigError(f"{what} cannot be read by this user; change its permissions (it needs r and x)")
