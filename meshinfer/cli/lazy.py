"""A group of verbs that are known by a table of names and first sentences, and imported when called."""

from __future__ import annotations

import importlib
from typing import ClassVar

import click


class Verbs(click.Group):
    table: ClassVar[dict[str, str]]
    """The first sentence of each verb."""
    package: ClassVar[str]
    """Where their modules are: one of the verb's name, but for those in `modules`."""
    modules: ClassVar[dict[str, str]] = {}
    """Verbs that share a file with another."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        command = getattr(importlib.import_module(f"{self.package}.{self.modules.get(name, name)}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.table:
            from meshinfer.model.typed import did_you_mean

            raise click.UsageError(f"there is no command {args[0]!r}{did_you_mean(args[0], self.table)}", ctx)
        return super().resolve_command(ctx, args)
