"""What every verb has: `--home`, `--json`, `-v`, and a `Session` that carries them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from meshinfer.cli.output import Output

Verb = Callable[..., Any]


@dataclass(frozen=True)
class Session:
    """What was asked of this call, whatever the verb."""

    home: Path
    json: bool
    verbose: bool
    _made: list[Output] = field(default_factory=list)

    def set_up_logging(self) -> None:
        """For verbs that run a node. What people should know is said by the node itself; logs are for -v."""
        import logging

        if self.verbose:
            logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
            logging.getLogger("meshinfer").setLevel(logging.INFO)
        else:
            # Without any handler Python prints warnings to stderr, here of each peer that is away.
            logging.getLogger().addHandler(logging.NullHandler())

    @property
    def out(self) -> Output:
        """Made at first use: it imports the tables' library."""
        if not self._made:
            from meshinfer.cli.output import Output

            self._made.append(Output(json=self.json))
        return self._made[0]


def verb(name: str, *, group: click.Group | None = None, **settings: Any) -> Callable[[Verb], click.Command]:
    """A command with the common options, whose function gets a `Session` first and may return an exit code."""

    def decorate(function: Verb) -> click.Command:
        @functools.wraps(function)
        @click.pass_context
        def call(ctx: click.Context, /, home: str | None, as_json: bool, verbose: bool, **rest: Any) -> Any:
            from meshinfer.home import default_home

            home = home or (ctx.find_root().obj or {}).get("home")
            chosen = Path(home).expanduser() if home else default_home()
            return function(Session(chosen.absolute(), as_json, verbose), **rest)

        command: Any = call
        for option in (
            click.option("-v", "--verbose", is_flag=True, help="Say more."),
            click.option(
                "--json", "as_json", is_flag=True, help="JSON for programs; one object a line where it streams."
            ),
            click.option("--home", metavar="DIR", help="The peer's folder [$MESHINFER_HOME, else ~/.meshinfer]."),
        ):
            command = option(command)
        # Click lists them last first: so the common ones come after the verb's own.
        command.__click_params__ = command.__click_params__[-3:] + command.__click_params__[:-3]
        made: click.Command = (group.command if group else click.command)(name, **settings)(command)
        return made

    return decorate
