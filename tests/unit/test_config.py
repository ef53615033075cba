"""Three origins of settings, one typed result; each mistake is named by where it was made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from meshinfer.config import Config, load, parse_labels, parse_source
from meshinfer.errors import ConfigError
from meshinfer.home import default_home, make_home

PEER = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWFSu1Y7Kq81GoPK33UmSPfvhEWq84RQ65hdFnCkdos2Wo"
ROOT = Path(__file__).resolve().parents[2]


def read(home: Path, toml: str = "", flags: dict[str, Any] | None = None, **environ: Any) -> Config:
    (home / "config.toml").write_text(toml)
    return load(home, flags, environ=environ)


def test_nothing_given(tmp_path: Path) -> None:
    config = load(tmp_path / "fresh", environ={})
    assert config == Config(home=tmp_path / "fresh")
    assert config.mesh.listen == ("/ip4/0.0.0.0/tcp/4001",)
    assert not config.policy.share_pixels


def test_flags_over_variables_over_file(tmp_path: Path) -> None:
    toml = '[peer]\nname = "file"\nlabels = {a = "file", b = "file", c = "file"}\n[limits]\nworkers = 1\nsettle = 9.0\n'
    variables = {
        "MESHINFER_PEER_NAME": "variable",
        "MESHINFER_PEER_LABELS": "b=variable,c=variable",
        "MESHINFER_LIMITS_WORKERS": "2",
    }
    config = read(tmp_path, toml, {"peer": {"labels": {"c": "flag"}}, "limits": {"workers": 3}}, **variables)
    assert config.peer.name == "variable"
    assert config.peer.labels == {"a": "file", "b": "variable", "c": "flag"}
    assert (config.limits.workers, config.limits.settle) == (3, 9.0)


def test_paths_start_where_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("home/footage", "work/footage"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    toml = '[[source]]\nname = "dock"\npath = "footage"\nlabels = {camera = "1"}\n'
    assert read(tmp_path / "home", toml).source[0].path == tmp_path / "home/footage"
    flags = {"source": [parse_source("dock=./footage")]}
    assert read(tmp_path / "home", toml, flags).source[0].path == tmp_path / "work/footage"


def test_bootstrap_in_each_form(tmp_path: Path) -> None:
    (tmp_path / "peers.txt").write_text(f"# the quay\n{PEER}\n\n{PEER.replace('4001', '4002')}  # the gate\n")
    config = read(tmp_path, f'[mesh]\nbootstrap = ["{PEER},{PEER.replace("4001", "4003")}", "@peers.txt"]\n')
    assert [a.split("/")[4] for a in config.mesh.bootstrap] == ["4001", "4003", "4001", "4002"]
    assert read(tmp_path, f'[mesh]\nbootstrap = "{PEER}"\n').mesh.bootstrap == (PEER,)
    assert read(tmp_path, MESHINFER_MESH_BOOTSTRAP=PEER).mesh.bootstrap == (PEER,)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[mesh]\nlistn = []", "$.mesh.listn: unknown key; did you mean `listen`?"),
        ("[msh]", "$.msh: unknown key; did you mean `mesh`?"),
        ("home = '/x'", "$.home: unknown key"),
        ("[limits]\nworkers = 'two'", "$.limits.workers: expected a whole number, got 'two'"),
        ("[limits]\nrescan = 0", "$.limits.rescan: expected a number >= 0.1, got 0"),
        ("[policy]\nshare_pixels = 1", "$.policy.share_pixels: expected true or false, got 1"),
        ("[mesh]\nbootstrap = ['/ip4/1.2.3.4/tcp/4001']", "$.mesh.bootstrap[0]: "),
        ("[mesh]\nlisten = ['4001']", "$.mesh.listen[0]: "),
        ("[mesh]\nannounce = '/ip4/1.2.3.4/tcp/0'", "$.mesh.announce[0]: cannot announce port 0"),
        ("[mesh]\nannounce = ['/dns4/yard.example/udp/1']", "$.mesh.announce[0]: bad address"),
        ("[mesh]\nname = 'two words'", "$.mesh.name: expected text like"),
        ("[[source]]\nname = 'a b'\npath = '.'", "$.source[0].name: expected text like"),
        ("[[source]]\nname = 'a'", "$.source[0].path: missing"),
        ("[[source]]\nname = 'a'\npath = '.'\nlables = {}", "$.source[0].lables: unknown key; did you mean `labels`?"),
        ("[peer\n", "no valid TOML"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, toml)
    assert str(caught.value).startswith(f"{tmp_path / 'config.toml'}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MESHINFER_MESH_BOOTSTAP", "x", "did you mean `MESHINFER_MESH_BOOTSTRAP`?"),
        ("MESHINFER_LIMITS_WORKERS", "many", "MESHINFER_LIMITS_WORKERS: expected a number, got 'many'"),
        ("MESHINFER_POLICY_SHARE_PIXELS", "maybe", "expected true or false"),
        ("MESHINFER_MODELS_ISOLATE", "maybe", "expected true or false"),
        ("MESHINFER_PEER_LABELS", "hamburg", "MESHINFER_PEER_LABELS hamburg: expected key=value"),
    ],
)
def test_mistakes_in_variables(tmp_path: Path, variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "", None, **{variable: value})
    assert said in str(caught.value)


def test_other_variables_are_others_business(tmp_path: Path) -> None:
    assert read(tmp_path, MESHINFER_ASSETS="x", MESHINFER_HOME="y", PATH="z").home == tmp_path


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("dock=./footage", {"name": "dock", "path": "./footage"}),
        ("dock=/a=b/c", {"name": "dock", "path": "/a=b/c"}),
        ("dock=./a,b", {"name": "dock", "path": "./a,b"}),
        (
            "dock=./a,kind=video,site=hamburg",
            {"name": "dock", "path": "./a", "kind": "video", "labels": {"site": "hamburg"}},
        ),
        ("dock=./a,b,floor=", {"name": "dock", "path": "./a,b", "labels": {"floor": ""}}),
    ],
)
def test_sources_as_flags(text: str, source: dict[str, Any]) -> None:
    assert parse_source(text) == source


@pytest.mark.parametrize("text", ["./footage", "=./footage", "dock=", "my dock=./footage", "", f"{'x' * 65}=./footage"])
def test_bad_sources(text: str) -> None:
    with pytest.raises(ConfigError, match="--source"):
        parse_source(text)


def test_sources_must_exist_and_differ(tmp_path: Path) -> None:
    (tmp_path / "file.mp4").write_bytes(b"")
    for flags, said in (
        (["dock=nowhere"], "does not exist"),
        ([f"dock={tmp_path}/file.mp4"], f"a source is a folder: --source dock={tmp_path}"),
        ([f"dock={tmp_path}", f"dock={tmp_path}"], "named twice"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, {"source": [parse_source(text) for text in flags]}, environ={})
        assert said in str(caught.value)
    assert (
        load(tmp_path, {"source": [parse_source("dock=nowhere")]}, environ={}, check_paths=False).source[0].name
        == "dock"
    )


def test_labels() -> None:
    assert parse_labels(["site=hamburg", "a/b.c-d = x"]) == {"site": "hamburg", "a/b.c-d": "x"}
    with pytest.raises(ConfigError, match="--label hamburg"):
        parse_labels(["hamburg"])


def test_the_home(tmp_path: Path) -> None:
    assert default_home({"MESHINFER_HOME": "/x"}) == Path("/x")
    assert default_home({}) == Path.home() / ".meshinfer"
    make_home(tmp_path / "a/b")
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for bad in ("file", "open", "file/below"):
        with pytest.raises(ConfigError, match=r"use another --home|chmod"):
            make_home(tmp_path / bad)


def test_the_example_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "configs/meshinfer.toml").read_text()
    read(tmp_path, text)
    uncommented = re.sub(r"^# (?=\w+ = |\[\[)", "", text, flags=re.MULTILINE)
    (tmp_path / "peers.txt").write_text(PEER)
    (tmp_path / "config.toml").write_text(uncommented)
    config = load(tmp_path, environ={}, check_paths=False)
    assert config.source
    assert config.limits.workers


def test_the_page_has_every_key() -> None:
    page = (ROOT / "docs/CONFIG.md").read_text()
    config = Config(home=ROOT)
    for section in ("peer", "mesh", "policy", "limits"):
        for key in getattr(config, section).__struct_fields__:
            assert f"`{section}.{key}`" in page
