"""`meshinfer up`: be a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meshinfer.cli.common import Session, verb

if TYPE_CHECKING:
    from meshinfer.config import Config


@verb("up")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME=DIR[,KEY=VALUE...]",
    help="Footage to share, under a name. Repeat it.",
)
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label on everything this peer holds. Repeat it."
)
@click.option(
    "--bootstrap",
    multiple=True,
    metavar="MULTIADDR",
    help="A peer to join through. Repeat it, or give a comma list or @FILE.",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="MULTIADDR",
    help="Where to listen [/ip4/0.0.0.0/tcp/4001]; port 0: any free one.",
)
@click.option(
    "--announce",
    multiple=True,
    metavar="MULTIADDR",
    help="What others shall dial instead, behind a forwarded port or a proxy.",
)
@click.option("--name", metavar="NAME", help="What people call this peer.")
@click.option("--mesh", metavar="NAME", help="Which mesh: peers of others are not heard [default].")
@click.option("--swarm-key", metavar="FILE", help="The mesh's pre-shared key; `meshinfer init --swarm-key` makes one.")
@click.option(
    "--share-pixels",
    is_flag=True,
    default=None,
    help="Let annotated frames leave this peer when results are asked for.",
)
@click.option("--workers", type=int, metavar="N", help="Inference workers [one a core].")
@click.option("--until-stdin-closes", "tied", is_flag=True, hidden=True)
def up(session: Session, sources: tuple[str, ...], labels: tuple[str, ...], tied: bool, **given: Any) -> None:
    """Run a peer: share footage, run jobs, hear events.

    Prints the addresses that other peers join through, then one line for each thing worth knowing. Ctrl-C stops it;
    what it was working on continues at the next start. Flags go over MESHINFER_* variables and over config.toml.

    \b
    Example:
      meshinfer up --source dock=./footage --label site=hamburg
      meshinfer up --source gate=/data/gate,kind=video --bootstrap /ip4/10.0.0.5/tcp/4001/p2p/12D3KooW...
    """
    from meshinfer.config import load, parse_labels, parse_source

    if tied:
        from meshinfer.cli.lifeline import end_with_stdin

        end_with_stdin()
    flags: dict[str, Any] = {"peer": {}, "mesh": {}, "policy": {}, "limits": {}}
    if sources:
        flags["source"] = [parse_source(text) for text in sources]
    if labels:
        flags["peer"]["labels"] = parse_labels(labels)
    for section, key in (
        ("peer", "name"),
        ("mesh", "bootstrap"),
        ("mesh", "listen"),
        ("mesh", "announce"),
        ("mesh", "swarm_key"),
        ("policy", "share_pixels"),
        ("limits", "workers"),
    ):
        if given[key] not in (None, ()):
            flags[section][key] = list(given[key]) if isinstance(given[key], tuple) else given[key]
    if given["mesh"]:
        flags["mesh"]["name"] = given["mesh"]
    config = load(session.home, flags)
    session.set_up_logging()
    from meshinfer.node.app import run

    run(config, say=lambda text: _say(session, text), on_ready=lambda status: _ready(session, config, status))


def _say(session: Session, text: str) -> None:
    if session.json:
        session.out.data({"log": text})
    else:
        import time

        session.out.say(f"{time.strftime('%H:%M:%S')} {text}")


def _ready(session: Session, config: Config, status: dict[str, Any]) -> None:
    from meshinfer.cli.output import clean
    from meshinfer.cli.output import labels as labels_text

    if session.json:
        session.out.data(status)
        return
    out = session.out
    out.say(f"peer {clean(status.get('name', ''))}  {status.get('peer', '')}", "bold")
    out.say(f"mesh {status.get('mesh', '')}, home {status.get('home', session.home)}")
    addresses = sorted(
        (str(a) for a in status.get("addresses", ())), key=lambda a: "/127.0.0.1/" not in a and "/::1/" not in a
    )
    if addresses:
        out.say("others join with one of:")
        for address in addresses:
            out.say(f"  --bootstrap {address}")
    else:
        out.say("it listens nowhere: it can dial others, nobody can dial it", "yellow")
    for source in config.source:
        out.say(f"source {source.name}: {source.path} {labels_text({**config.peer.labels, **source.labels})}".rstrip())
    if not config.source:
        out.say("no source: it holds no footage, and can ask, subscribe and collect like any other")
    for notice in status.get("notices", ()):
        out.say(f"note: {notice}", "yellow")
    out.say("Ctrl-C stops it")
