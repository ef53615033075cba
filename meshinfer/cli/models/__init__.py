"""`meshinfer models`: the detectors of this peer, one file a verb. A verb's module is imported when it is called."""

from __future__ import annotations

import importlib
from typing import ClassVar

import click


class Models(click.Group):
    """Its verbs, imported when called."""

    table: ClassVar[dict[str, str]] = {
        "ls": "List the models of this peer.",
        "add": "Add a model to this peer, and sign it.",
        "pull": "Get a well-known model from the internet, and add it.",
        "fetch": "Get a model from the peers that have it.",
        "describe": "Say all that is known of a model.",
        "verify": "Check models: bytes, signatures, trust, and whether they load.",
        "bench": "Measure a model on this machine.",
        "optimize": "Make a faster variant of a model, and add it where it holds.",
        "rm": "Remove a model from this peer.",
        "pin": "Keep a fetched model, however long it is not used.",
        "unpin": "Let a fetched model go when room is needed.",
        "promote": "Move a channel to another model.",
        "rollback": "Take a channel back.",
        "channels": "Show the channels, and how roll-outs go.",
    }
    modules: ClassVar[dict[str, str]] = {"unpin": "pin"}
    """Verbs that share a file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.table:
            return None
        module = importlib.import_module(f"meshinfer.cli.models.{self.modules.get(name, name)}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.table:
            from meshinfer.model.typed import did_you_mean

            raise click.UsageError(f"there is no command {args[0]!r}{did_you_mean(args[0], self.table)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()), col_max=12)


@click.group("models", cls=Models, context_settings={"help_option_names": ["-h", "--help"]})
def models() -> None:
    """List and add the detectors of this peer.

    A model is an ONNX file; its layout and class names are told from the file. Jobs name it, and run on peers that have
    it and trust one of those who signed it. Works whether a node runs in the home or not.

    \b
    Example:
      meshinfer models pull yolox_nano
      meshinfer models add yard.onnx --version 2
      meshinfer models ls
    """
