"""`meshinfer models`: the detectors of this peer, one file a verb. A verb's module is imported when it is called."""

from __future__ import annotations

from typing import ClassVar

import click

from meshinfer.cli.lazy import Verbs


class Models(Verbs):
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
    package = "meshinfer.cli.models"
    modules: ClassVar[dict[str, str]] = {"unpin": "pin"}

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
