"""Help that teaches, quickly; and bad input at the door: one clear line, the right exit code, no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from meshinfer.cli import Commands, _exit_code, app
from meshinfer.cli.models import Models, models
from meshinfer.errors import ConfigError, MeshError, ModelError

Cli = Callable[..., Result]


def test_help_imports_nothing_heavy() -> None:
    heavy = "('trio', 'numpy', 'libp2p', 'cv2', 'onnxruntime', 'rich', 'msgspec', 'yaml')"
    code = (
        "import sys, atexit; from meshinfer.cli import app;"
        f"atexit.register(lambda: print([m for m in {heavy} if m in sys.modules], file=sys.stderr));"
        "app.main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", list(Commands.table))
def test_every_verb_teaches(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f"meshinfer {name}" in result.stdout
    assert "Example" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 110
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == Commands.table[name], "the table and the verb say the same"


@pytest.mark.parametrize("name", [n for n in Commands.table if n != "models"])
def test_every_verb_has_the_common_options(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert {"--home", "--json", "--verbose"} <= {o for p in command.params for o in p.opts}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["pubish", "x"], 2, "did you mean `publish`?"),
        (["publish"], 2, "Missing argument 'FILE'"),
        (["publish", "x", "--folow"], 2, "--folow"),
        (["publish", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read"),
        (["up", "--source", "./footage"], 2, "--source footage=./footage"),
        (["up", "--source", "dock=./nowhere"], 2, "does not exist"),
        (["up", "--label", "hamburg"], 2, "expected key=value"),
        (["up", "--bootstrap", "127.0.0.1:4001"], 2, "--bootstrap: bad address"),
        (["up", "--bootstrap", "@nowhere.txt"], 2, "nowhere.txt: No such file"),
        (["up", "--listen", "/ip4/0.0.0.0/udp/4001"], 2, "--listen: bad address"),
        (["up", "--workers", "0"], 2, "$.limits.workers: expected a whole number >= 1, got 0"),
        (["up", "--swarm-key", "nowhere.key"], 2, "nowhere.key: no readable file"),
        (["subscribe", "--since", "yesterday"], 2, "--since yesterday: expected a time span"),
        (["run", "m", "--on", "site in hamburg"], 2, "$.on.labels[0]: 'site in hamburg' is no label requirement"),
        (["run", "m", "--every", "2", "--fps", "3"], 2, "$.sample: give `every` or `fps`, not both"),
        (["results", "x"], 2, "Missing option '-d'"),
        (["models", "lst"], 2, "did you mean `ls`?"),
        (["models", "pull", "yolo_nano"], 2, "did you mean `yolox_nano`?"),
        (["models", "pull", "yunet", "--from", "http://example.org/x"], 2, "expected https://"),
        (["models", "describe", "yard"], 1, "Did you mean 'yard-demo'?"),
        (["models", "add", "x.onnx", "--sidecar", "x.toml"], 2, "x.onnx: no such file"),
        (["jobs"], 3, "start one with `meshinfer up`"),
        (["run", "m"], 3, "or join for this one call with --bootstrap"),
    ],
)
def test_bad_input_gets_one_line(cli: Cli, args: list[str], code: int, said: str) -> None:
    result = cli(*args)
    assert result.exit_code == code
    assert result.stderr.startswith("meshinfer: ")
    assert said in result.stderr
    assert result.stderr.count("\n") <= 2
    assert "Traceback" not in result.output


def test_a_config_file_with_a_typo(cli: Cli, home: Path) -> None:
    (home / "config.toml").write_text('[mesh]\nlistn = ["/ip4/0.0.0.0/tcp/0"]\n')
    result = cli("up")
    assert result.exit_code == 2
    assert "config.toml: $.mesh.listn: unknown key; did you mean `listen`?" in result.stderr


def test_groups_are_taken_apart(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise ExceptionGroup("nursery", [ExceptionGroup("inner", [ConfigError("bad\x1b[2J")]), MeshError("gone")])

    assert _exit_code(work) == 2
    assert capsys.readouterr().err == "meshinfer: bad [2J\nmeshinfer: gone\n"


@pytest.mark.parametrize(("error", "code"), [(ModelError("m"), 1), (KeyboardInterrupt(), 130)])
def test_exit_codes(error: BaseException, code: int) -> None:
    def work() -> None:
        raise BaseExceptionGroup("nursery", [error])

    assert _exit_code(work) == code


def test_bugs_keep_their_traceback() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _exit_code(work)


def test_init_makes_a_private_home(cli: Cli, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    first = cli("init", "--home", fresh, "--name", "hamburg-1", "--swarm-key")
    assert first.exit_code == 0, first.stderr
    assert fresh.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in fresh.iterdir())
    before = (fresh / "config.toml").read_text()
    again = cli("init", "--home", fresh)
    assert first.stdout.splitlines()[0] == again.stdout.splitlines()[0], "the same identity"
    assert (fresh / "config.toml").read_text() == before


def verbs_of(command: click.Command) -> list[click.Command | None]:
    """Of a group each of its verbs."""
    if not isinstance(command, click.Group):
        return [command]
    ctx = click.Context(command)
    return [command.get_command(ctx, name) for name in command.list_commands(ctx)]


@pytest.mark.parametrize("name", list(Models.table))
def test_every_verb_of_the_models_teaches(name: str) -> None:
    result = CliRunner().invoke(app, ["models", name, "--help"])
    assert result.exit_code == 0
    assert f"meshinfer models {name}" in result.stdout
    assert "Example" in result.stdout
    (command,) = (v for v in verbs_of(models) if v is not None and v.name == name)
    assert (command.help or "").splitlines()[0] == Models.table[name], "the table and the verb say the same"
    assert {"--home", "--json", "--verbose"} <= {o for p in command.params for o in p.opts}


def test_the_page_has_every_option() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/CLI.md").read_text()
    for name in Commands.table:
        command = app.get_command(click.Context(app), name)
        assert command is not None
        for verb in verbs_of(command):
            assert verb is not None
            heading = f"### `meshinfer {name} {verb.name}".replace(f"{name} {name}", name)
            assert heading in page
            section = page.partition(heading)[2].partition("\n##")[0] + page.partition("## ")[0]
            missing = [
                o
                for p in verb.params
                if not getattr(p, "hidden", False)
                for o in p.opts
                if o.startswith("--") and o not in section
            ]
            assert missing == [], f"docs/CLI.md leaves them out of `{name}`"
