"""`meshinfer init`: a peer's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from meshinfer.cli.common import Session, verb
from meshinfer.errors import ConfigError

TEMPLATE = """\
# Settings of this peer. Variables go over them (MESHINFER_MESH_NAME=yard), flags of `meshinfer up` over both.
# Every key is optional; a key that nobody knows is an error.

[peer]
{name}
# labels = {{ site = "hamburg" }}           # on everything this peer holds; jobs select by them

[mesh]
{mesh}
# listen = ["/ip4/0.0.0.0/tcp/4001"]      # port 0: any free one
# bootstrap = ["/ip4/192.168.1.20/tcp/4001/p2p/12D3KooW..."]   # or "@peers.txt", one a line
{swarm_key}

# One table for each folder of footage. A relative path starts at this file.
# [[source]]
# name = "dock"
# path = "/data/dock"
# kind = "video"                          # or "image", both when left out; "series": CSV, WAV, Parquet
# labels = {{ camera = "dock-1" }}

[policy]
# share_pixels = false                    # true: annotated frames may leave this peer; detections always do

[limits]
# workers = 4                             # inference workers; one a core when left out
# model_memory_mb = 2048                  # MiB for loaded models; without it a quarter of the machine's memory
# cpu_only = false                        # true: models run on the CPU even where another device is faster
# disk_reserve_mb = 512                   # with less free disk no task is started
# settle = 2.0                            # seconds a file must not have changed before it is taken in
# rescan = 2.0                            # seconds between two looks at the sources

[models]
# signers = ["12D3KooW..."]               # peers whose models may run here, besides this one's own
# budget_mb = 4096                        # disk for models fetched from others
"""


@verb("init")
@click.option("--name", metavar="NAME", help="What people call this peer.")
@click.option("--mesh", metavar="NAME", help="Which mesh it belongs to [default].")
@click.option("--swarm-key", is_flag=True, help="Make a pre-shared key: only peers that have a copy can join.")
def init(session: Session, name: str | None, mesh: str | None, swarm_key: bool) -> None:
    """Make this peer's folder, identity and config file.

    Optional: `meshinfer up` makes what is missing. Nothing that exists is overwritten; run again,
    it prints the peer id.

    \b
    Example:
      meshinfer init --name hamburg-1 --swarm-key
    """
    from meshinfer.config import load
    from meshinfer.home import IDENTITY, make_home
    from meshinfer.mesh.identity import load_or_create

    home = session.home
    make_home(home)
    key = home / "swarm.key"
    made = _write_new(key, _new_key()) if swarm_key else False
    text = TEMPLATE.format(
        name=f"name = {json.dumps(name)}" if name else '# name = "hamburg-1"',
        mesh=f"name = {json.dumps(mesh)}" if mesh else '# name = "default"',
        swarm_key='swarm_key = "swarm.key"'
        if swarm_key
        else '# swarm_key = "swarm.key"               # see `meshinfer init --swarm-key`',
    )
    fresh = _write_new(home / "config.toml", text)
    load(home, check_paths=False)
    identity = load_or_create(home / IDENTITY)
    if session.json:
        session.out.data(
            {"peer": identity.peer_id, "home": str(home), "config": str(home / "config.toml"), "created": fresh}
        )
        return
    out = session.out
    out.say(f"peer {identity.peer_id}", "bold")
    out.say(f"home {home}")
    out.say(f"config {home / 'config.toml'}" + ("" if fresh else " (was there, left as it is)"))
    if swarm_key:
        out.say(
            f"swarm key {key}"
            + (": copy it to every peer of the mesh, by a way you trust" if made else " (was there, kept)")
        )
        if not fresh:
            out.note('the config file was there: make sure that it says swarm_key = "swarm.key" under [mesh]')
    out.say("next: meshinfer up --source dock=./footage")


def _new_key() -> str:
    import secrets

    from meshinfer.mesh.swarm_key import KEY_BYTES, format_swarm_key

    return format_swarm_key(secrets.token_bytes(KEY_BYTES))


def _write_new(path: Path, text: str) -> bool:
    """Write `text` with mode 0600 where nothing lies yet; whether it was written."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as e:
        raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None
    return True
