"""The demo's course: footage, three peers, one job, what it found, and whether all of it went as it should."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from meshinfer.cli.client import ask, call
from meshinfer.cli.export import Export
from meshinfer.cli.output import Output, count, short, size, span
from meshinfer.cli.showcase_feed import Feed
from meshinfer.cli.showcase_footage import Size, draw, site_folders, videos
from meshinfer.cli.showcase_peers import Crew, Peer
from meshinfer.cli.showcase_place import Place
from meshinfer.cli.showcase_reckoning import Facts, Frame, Reckoning, Site, reckon
from meshinfer.cli.showcase_report import explain, jpeg_of, show_files, show_next, show_table, write_sheet
from meshinfer.cli.showcase_screen import JobScreen, Screen
from meshinfer.cli.spool import Row, read_row
from meshinfer.demo import read_truth, truth_path
from meshinfer.errors import MeshInferError, TimedOut

SITES = {"hamburg": 1, "rotterdam": 2}
"""The peers that hold footage, and its seeds."""

OFFICE = "office"
FULL, FAST = Size(clips=4, seconds=20.0), Size(clips=2, seconds=12.0)
SPEC: dict[str, Any] = {
    "name": "yard",
    "model": "yard-demo",
    "on": {"kind": "video"},
    "detect": {"min_score": 0.4},
}
WORK_PATIENCE = 180.0
LIVE_PATIENCE = 5.0
"""Seconds after the end of the job in which its last detections must have reached the subscriber."""


def run(out: Output, *, keep: Path | None, fast: bool) -> int:
    """The exit code: 0 where everything was as it should be. Raises ConfigError for a folder that cannot be written."""
    began = time.monotonic()
    try:
        with Place(keep) as place, Crew(place.folder / "peers") as crew:
            try:
                reckoning, files = _play(Screen(out), place, crew, FAST if fast else FULL)
            except MeshInferError as e:
                place.keep_logs()
                return _failed(out, [str(e)], crew, {})
            seconds = time.monotonic() - began
            said = {**msgspec.to_builtins(reckoning), "total_seconds": round(seconds, 1), **files}
            if reckoning.problems:
                place.keep_logs()
                if not out.json:
                    show_table(out, reckoning)
                return _failed(out, reckoning.problems, crew, said)
    except KeyboardInterrupt:
        out.note("stopped; every process it started has ended")
        return 130
    if out.json:
        out.data({"ok": True, **said})
        return 0
    out.say()
    show_table(out, reckoning)
    explain(out, reckoning, OFFICE, files["pictures"])
    show_files(out, files["contact_sheet"], files["detections_file"])
    if keep:
        out.say(f"  {place.folder} holds the peers and their logs too", "dim")
    show_next(out)
    out.say()
    out.say(f"All as it should be, in {span(seconds)}.", "green")
    return 0


def _failed(out: Output, problems: list[str], crew: Crew, said: Mapping[str, Any]) -> int:
    crew.close()
    logs = {peer.name: peer.last_lines() for peer in crew.peers.values()}
    if out.json:
        out.data({"ok": False, **said, "problems": problems, "logs": logs})
        return 1
    for problem in problems:
        out.note(f"wrong: {problem}", "red")
    for name, lines in logs.items():
        out.note(f"the last that {name} said ({crew.peers[name].log}):", "bold")
        for line in lines:
            out.note(f"  {line}", "dim")
    return 1


def _play(screen: Screen, place: Place, crew: Crew, amount: Size) -> tuple[Reckoning, dict[str, Any]]:
    sites = _footage(screen, place, amount)
    office = _peers(screen, crew, place.footage(amount), amount)
    with Feed() as feed:
        feed.listen(office.socket, "subscribe", {"since": "10s"})
        published = ask(office.socket, "publish", {"spec": SPEC})
        began = time.monotonic()
        job = str(published["job"])
        screen.step(f"{OFFICE} published the job {SPEC['name']} {job}: {SPEC['model']} on all video")
        feed.listen(office.socket, "follow", {"job": job})
        with screen.job(f"{SPEC['name']}: {SPEC['model']} on all video", OFFICE) as live:
            heard, summary = _watch(feed, crew, live)
        seconds = time.monotonic() - began
        screen.step(f"done in {span(seconds)}: {count(int(summary.get('detections', 0)), 'detection')}")
        with screen.waiting("collecting the results"):
            rows, pictures, missing = _collect(office.socket, job, place.folder / "results", amount.clips)
            _catch_up(feed, heard, {(row.task, row.frame) for row in rows})
    sent = {name: int((peer.status() or {}).get("bytes_out", 0)) for name, peer in crew.peers.items()}
    jpegs = [len(jpeg_of(picture)) for picture in pictures]
    reckoning = reckon(Facts(sites, summary, rows, heard, sent, sum(jpegs), len(jpegs), seconds, missing))
    sheet = place.folder / "contact-sheet.png"
    if pictures:
        write_sheet(sheet, pictures, amount.clips)
    files = {
        "job": job,
        "pictures": len(pictures),
        "contact_sheet": str(sheet) if pictures else None,
        "detections_file": str(place.folder / "results" / "detections.jsonl"),
    }
    return reckoning, files


def _footage(screen: Screen, place: Place, amount: Size) -> dict[str, Site]:
    """Draw what is not there from an earlier time, and read what it shows."""
    folders = site_folders(place.footage(amount), SITES)
    began, total = time.monotonic(), amount.clips * len(folders)
    had = sum(len(videos(folder)) for folder in folders.values())
    clips = f"{total} clips of {amount.seconds:.0f} s, yards by day and night"
    with screen.bar(f"drawing {clips}" if had < total else "looking at the footage of last time", total) as show:
        draw(folders, SITES, amount, show)
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


def _peers(screen: Screen, crew: Crew, footage: Path, amount: Size) -> Peer:
    """Start all three, and wait until they know each other and their footage; the one that holds none."""
    workers = str(max(1, (os.cpu_count() or 1) // len(SITES)))  # they share this machine
    with screen.waiting("starting three peers"):
        first: tuple[str, ...] = ()
        for name, folder in site_folders(footage, SITES).items():
            flags = ("--source", f"yard={folder}", "--label", f"site={name}", "--share-pixels", "--workers", workers)
            peer = crew.start(name, *flags, *first)
            if not first:
                crew.wait(f"the peer {name} comes up", peer.is_up)
                first = ("--bootstrap", str((peer.status() or {})["addresses"][0]))
        office = crew.start(OFFICE, *first)
        crew.wait("the peers find each other", lambda: all(_connected(p) == len(SITES) for p in crew.peers.values()))
        crew.wait("the peers tell of their footage", lambda: _entries(office) == amount.clips * len(SITES))
    for name, peer in crew.peers.items():
        holds = f"holds {count(amount.clips, 'file')} (site={name})" if name in SITES else "holds no footage"
        screen.step(f"peer {name} {short((peer.status() or {}).get('peer'))} {holds}")
    return office


def _connected(peer: Peer) -> int:
    return int((peer.status() or {}).get("connected", 0))


def _entries(asked: Peer) -> int:
    """Entries in the whole mesh, as `asked` knows it."""
    peers = ask(asked.socket, "peers").get("peers") or ()
    return sum(int(source.get("entries", 0)) for peer in peers for source in peer.get("sources") or ())


def _watch(feed: Feed, crew: Crew, live: JobScreen) -> tuple[list[Frame], dict[str, Any]]:
    """Show the job until it is over: the frames that the subscriber heard of so far, and the summary."""
    heard: list[Frame] = []
    deadline = time.monotonic() + WORK_PATIENCE
    while time.monotonic() < deadline:
        crew.check()
        match feed.next(0.25):
            case {"event": dict() as event}:
                heard.append((str(event.get("task")), int(event.get("frame", -1))))
                live.event(event)
            case {"progress": dict() as view}:
                live.progress(view)
            case {"summary": dict() as summary}:
                return heard, summary
    raise TimedOut(f"the job was not done within {WORK_PATIENCE:.0f} s; is this machine very busy?")


def _catch_up(feed: Feed, heard: list[Frame], wanted: set[Frame]) -> None:
    """Wait for what is still on its way to the subscriber."""
    deadline = time.monotonic() + LIVE_PATIENCE
    missing = wanted - set(heard)
    while missing and time.monotonic() < deadline:
        match feed.next(0.25):
            case {"event": dict() as event}:
                heard.append((str(event.get("task")), int(event.get("frame", -1))))
                missing.discard(heard[-1])


def _collect(node: Path, job: str, folder: Path, annotate: int) -> tuple[list[Row], list[dict[str, Any]], list[str]]:
    """What `meshinfer results --annotate` writes; the events as they came, the pictures, and the peers not heard."""
    rows: list[Row] = []
    pictures: list[dict[str, Any]] = []
    with Export(folder) as export, call(node, "results", {"job": job, "annotate": annotate}) as conversation:
        for message in conversation:
            match message:
                case {"event": event}:
                    rows.append(read_row(event))
                    export.event(event)
                case {"task": dict() as task}:
                    export.task(task)
                case {"picture": dict() as picture}:
                    pictures.append(picture)
                    export.picture(picture)
        export.finish(conversation.end)
    return rows, pictures, [str(peer.get("name")) for peer in conversation.end.get("missing") or ()]
