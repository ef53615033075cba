"""The command line: one file a verb, each a thin client of the node in the peer's folder.

Nothing heavy is imported for `--help`: the verbs are a table of names and first sentences, and a verb's module is
imported when it is called.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, ClassVar, NoReturn

import click

from meshinfer.cli.lazy import Verbs
from meshinfer.errors import MeshInferError

EPILOG = """\b
A first mesh, on one machine or on many:
  meshinfer up --source dock=./footage --label site=hamburg
  meshinfer up --bootstrap /ip4/192.168.1.20/tcp/4001/p2p/12D3KooW...
  meshinfer run yolox_nano --on kind=video,site=hamburg --classes person --follow

\b
Exit codes: 0 ok, 1 failed, 2 usage, 3 no node runs here, 4 partial, 5 timed out,
6 damaged store (start it again).
`meshinfer COMMAND --help` shows an example of each."""

Section = tuple[str, dict[str, str]]

SECTIONS: tuple[Section, ...] = (
    (
        "Be a peer",
        {
            "up": "Run a peer: share footage, run jobs, hear events.",
            "init": "Make this peer's folder, identity and config file.",
            "models": "List and add the detectors of this peer.",
            "demo": "See it all at work: three peers on this machine, in a minute.",
        },
    ),
    (
        "Ask the mesh",
        {
            "publish": "Publish a job file: whoever holds matching footage runs it.",
            "run": "Publish a job from the command line, without a file.",
            "infer": "Run a model over pictures, here or at a peer that holds it.",
            "subscribe": "Print detections as they are made, anywhere in the mesh.",
            "results": "Collect everything a job found into a folder.",
            "cancel": "Cancel a job everywhere.",
        },
    ),
    (
        "Look around",
        {
            "jobs": "List jobs, or describe one: who runs it, who declines, and why.",
            "peers": "List the peers of the mesh and what each can do.",
            "forget": "Forget a peer that is gone for good.",
            "catalog": "List the footage held here, or everywhere with --all.",
            "status": "Say how the local node is doing.",
            "doctor": "Find what is wrong with this peer and its mesh, and say what to do.",
            "simulate": "Prove the schedule: many peers on virtual time, everything that can fail.",
        },
    ),
)


class Commands(Verbs):
    """The verbs; errors become one line and an exit code."""

    table: ClassVar[dict[str, str]] = {name: line for _, verbs in SECTIONS for name, line in verbs.items()}
    package = "meshinfer.cli"

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in SECTIONS:
            with formatter.section(title):
                formatter.write_dl(list(verbs.items()), col_max=12)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # before click sees it, which calls it a failure
            _hush()
            return 0

    def main(self, *args: Any, **settings: Any) -> Any:
        settings |= {"standalone_mode": False, "prog_name": "meshinfer"}
        sys.exit(_exit_code(lambda: super(Commands, self).main(*args, **settings)))


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"meshinfer {version('meshinfer')}")
        except PackageNotFoundError:
            click.echo("meshinfer, not installed: run from a checkout")
        ctx.exit()


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--home", metavar="DIR", help="The peer's folder [$MESHINFER_HOME, else ~/.meshinfer].")
@click.option(
    "--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Print the version."
)
@click.pass_context
def app(ctx: click.Context, home: str | None) -> None:
    """Detectors that run where the footage lies: a mesh of equal peers, no server.

    Every peer runs the same `meshinfer up`. Whoever publishes a job gets back detections; footage stays where it is.
    """
    ctx.obj = {"home": home}


def main() -> NoReturn:
    """The `meshinfer` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter of a file's name shows a ? for it
    sys.exit(app.main())


def _exit_code(work: Any) -> int:
    """Run `work`; say what went wrong in one line each, and give the exit code of the first.

    Trio's nurseries raise exception groups: `except*` takes those apart and bare exceptions alike. What is not named
    here is a bug in meshinfer and keeps its traceback.
    """
    codes: list[int] = []
    try:
        result = work()
        return result if isinstance(result, int) else 0
    except* click.ClickException as group:
        codes += [_show_usage(e) for e in _leaves(group)]
    except* (click.exceptions.Exit, click.exceptions.Abort) as group:
        codes += [e.exit_code if isinstance(e, click.exceptions.Exit) else 130 for e in _leaves(group)]
    except* MeshInferError as group:
        for error in _leaves(group):
            assert isinstance(error, MeshInferError)
            click.echo(f"meshinfer: {_printable(str(error) or type(error).__name__)}", err=True)
            codes.append(error.exit_code)
    except* UnicodeEncodeError as group:  # Python's stand-ins for bytes of an argument that are no text
        for error in _leaves(group):
            assert isinstance(error, UnicodeEncodeError)
            given = _printable(error.object[:80].encode(errors="backslashreplace").decode())
            click.echo(f"meshinfer: not UTF-8, as names and paths have to be here: {given}", err=True)
            codes.append(2)
    except* KeyboardInterrupt:
        codes.append(130)
    except* BrokenPipeError:
        _hush()
        codes.append(0)
    return codes[0] if codes else 0


def _hush() -> None:
    """Whoever read us (`| head`) has seen enough. Python would complain once more while flushing at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [leaf for e in group.exceptions for leaf in (_leaves(e) if isinstance(e, BaseExceptionGroup) else [e])]


def _show_usage(error: BaseException) -> int:
    assert isinstance(error, click.ClickException)
    ctx = getattr(error, "ctx", None)
    click.echo(f"meshinfer: {error.format_message()}", err=True)
    if ctx is not None:
        click.echo(f"Try: {ctx.command_path} --help", err=True)
    return error.exit_code


def _printable(text: str) -> str:
    """Errors quote what peers and files say: no control character of theirs reaches the terminal.

    Further lines are set in, so that none of them can pass for a line of ours.
    """
    return "\n  ".join("".join(c if c.isprintable() else " " for c in line) for line in text.splitlines())
