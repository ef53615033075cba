"""What the demo needs before its job: footage with its truth, and peers that know each other and hold it."""

from __future__ import annotations

import time

from meshinfer.cli.output import count, short, size, span
from meshinfer.cli.showcase_footage import draw, site_folders, videos
from meshinfer.cli.showcase_peers import Crew, Peer
from meshinfer.cli.showcase_place import Place
from meshinfer.cli.showcase_plan import Plan
from meshinfer.cli.showcase_reckoning import Site
from meshinfer.cli.showcase_screen import Screen
from meshinfer.demo import read_truth, truth_path
from meshinfer.node.client import ask
from meshinfer.schedule.choice import MEETING


def lay_footage(screen: Screen, place: Place, plan: Plan) -> dict[str, Site]:
    """Draw what is not there from an earlier time, and read what it shows."""
    folders, amount = site_folders(place.footage(plan.size), plan.seeds), plan.size
    began, total = time.monotonic(), amount.clips * len(folders)
    had = sum(len(videos(folder)) for folder in folders.values())
    clips = f"{total} clips of {amount.seconds:.0f} s, yards by day and night"
    with screen.bar(f"drawing {clips}" if had < total else "looking at the footage of last time", total) as show:
        draw(folders, plan.seeds, amount, show)
    sites = {
        name: Site(
            {path.name: read_truth(truth_path(path)) for path in videos(folder)},
            sum(path.stat().st_size for path in videos(folder)),
        )
        for name, folder in folders.items()
    }
    how = f"drawn in {span(time.monotonic() - began)}" if had < total else "drawn before"
    screen.step(f"footage: {clips}, {size(sum(site.bytes for site in sites.values()))}, {how}")
    return sites


def start_peers(screen: Screen, crew: Crew, place: Place, plan: Plan) -> None:
    """Start all of them, and wait until they know each other and their footage.

    Two that hold the same footage read it in the same folder here: by its bytes it is the same, wherever it lies.
    """
    folders = site_folders(place.footage(plan.size), plan.seeds)
    with screen.waiting(f"starting {len(plan.held)} peers"):
        first: tuple[str, ...] = ()
        for name, sites in plan.held.items():
            sources = [flag for site in sites for flag in ("--source", f"{site}={folders[site]}")]
            own = ("--label", f"site={name}", "--share-pixels", "--workers", str(plan.workers)) if sites else ()
            peer = crew.start(name, *sources, *own, *first)
            if not first:
                crew.wait(f"the peer {name} comes up", peer.is_up)
                first = ("--bootstrap", str((peer.status() or {})["addresses"][0]))
        others = len(plan.held) - 1
        crew.wait("the peers find each other", lambda: all(_connected(p) >= others for p in crew.peers.values()))
        files = plan.size.clips * sum(len(sites) for sites in plan.held.values())
        asked = {crew.peers[name] for name in (plan.publisher, plan.watcher)}
        crew.wait("the peers tell of their footage", lambda: all(_entries(peer) == files for peer in asked))
        time.sleep(MEETING)  # those that have only just met would listen for two seconds before they start
    for name, peer in crew.peers.items():
        sites = plan.held[name]
        held = f"holds {count(plan.size.clips * len(sites), 'file')}" if sites else "holds no footage"
        where = f" ({', '.join(sites)})" if len(sites) > 1 else ""
        screen.step(f"peer {name} {short((peer.status() or {}).get('peer'))} {held}{where}")


def _connected(peer: Peer) -> int:
    return int((peer.status() or {}).get("connected", 0))


def _entries(asked: Peer) -> int:
    """Entries in the whole mesh, as `asked` knows it."""
    peers = ask(asked.socket, "peers").get("peers") or ()
    return sum(int(source.get("entries", 0)) for peer in peers for source in peer.get("sources") or ())
