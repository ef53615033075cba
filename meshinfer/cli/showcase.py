"""The demo's course: footage, peers, one job, what it found, and whether all of it went as it should."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from meshinfer.cli import showcase_plan
from meshinfer.cli.output import Output, span
from meshinfer.cli.showcase_feed import Feed
from meshinfer.cli.showcase_footage import site_folders, videos
from meshinfer.cli.showcase_kill import Catastrophe
from meshinfer.cli.showcase_peers import Crew
from meshinfer.cli.showcase_place import Place
from meshinfer.cli.showcase_plain import plain_digests
from meshinfer.cli.showcase_plan import Plan
from meshinfer.cli.showcase_reckoning import Facts, Reckoning, Site, reckon
from meshinfer.cli.showcase_report import explain, jpeg_of, show_files, show_next, show_tables, write_sheet
from meshinfer.cli.showcase_screen import Screen
from meshinfer.cli.showcase_stage import lay_footage, start_peers
from meshinfer.cli.showcase_watch import Collected, catch_up, watch
from meshinfer.errors import MeshInferError
from meshinfer.node.client import ask

SPEC: dict[str, Any] = {
    "name": "yard",
    "model": "yard-demo",
    "on": {"kind": "video"},
    "detect": {"min_score": 0.4},
}


def run(out: Output, *, keep: Path | None, fast: bool, kill: bool) -> int:
    """The exit code: 0 where everything was as it should be. Raises ConfigError for a folder that cannot be written."""
    began = time.monotonic()
    plan = showcase_plan.killing(fast=fast) if kill else showcase_plan.quiet(fast=fast)
    try:
        with Place(keep) as place, Crew(place.folder / "peers") as crew:
            try:
                reckoning, more = _play(Screen(out), place, crew, plan)
            except MeshInferError as e:
                place.keep_logs()
                return _failed(out, [str(e)], crew, {})
            seconds = time.monotonic() - began
            said = {**msgspec.to_builtins(reckoning), "total_seconds": round(seconds, 1), **more}
            if reckoning.problems:
                place.keep_logs()
                if not out.json:
                    show_tables(out, reckoning, plan, more)
                return _failed(out, reckoning.problems, crew, said)
    except KeyboardInterrupt:
        out.note("stopped; every process it started has ended")
        return 130
    if out.json:
        out.data({"ok": True, **said})
        return 0
    out.say()
    show_tables(out, reckoning, plan, more)
    explain(out, reckoning, plan, more)
    show_files(out, more["contact_sheet"], more["detections_file"])
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


def _play(screen: Screen, place: Place, crew: Crew, plan: Plan) -> tuple[Reckoning, dict[str, Any]]:
    sites = lay_footage(screen, place, plan)
    start_peers(screen, crew, place, plan)
    watcher = crew.peers[plan.watcher].socket
    title = f"{SPEC['name']}: {SPEC['model']} on all video"
    frames = sum(len(truth) for site in sites.values() for truth in site.truths.values())
    with Feed() as feed:
        feed.listen(watcher, "subscribe", {"since": "10s"})
        job = str(ask(crew.peers[plan.publisher].socket, "publish", {"spec": SPEC})["job"])
        began = time.monotonic()
        screen.step(f"{plan.publisher} published the job {SPEC['name']} {job}: {SPEC['model']} on all video")
        crew.wait("the watcher hears of the job", lambda: any(j["job"] == job for j in ask(watcher, "jobs")["jobs"]))
        feed.listen(watcher, "follow", {"job": job})
        with screen.job(title, plan.watcher) as live:
            catastrophe = Catastrophe(plan, crew, screen, live, frames)
            heard, summary = watch(feed, crew, live, catastrophe.event if plan.kills else lambda event: None)
        seconds = time.monotonic() - began
        screen.step(f"done in {span(seconds)}")
        if catastrophe.victim:
            with screen.waiting(f"{catastrophe.victim} comes back"):
                catastrophe.revive()
        with screen.waiting("collecting the results"):
            results = Collected(watcher, job, place.folder / "results", plan.size.clips)
            catch_up(feed, heard, {(row.task, row.frame) for row in results.rows})
    with screen.waiting("the same with a plain loop, for comparison"):
        sites = _with_plain(sites, place, plan)
    jpegs = [len(jpeg_of(picture)) for picture in results.pictures]
    reckoning = reckon(
        Facts(
            sites=sites,
            held=plan.held,
            job=results.end.get("job") or summary,
            rows=results.rows,
            live=heard.frames,
            told=heard.told,
            sent={name: peer.sent for name, peer in crew.peers.items()},
            picture_bytes=sum(jpegs),
            pictures=len(jpegs),
            seconds=seconds,
            missing=results.missing,
            killed=catastrophe.killed,
        )
    )
    if plan.kills and not catastrophe.victim:
        reckoning.problems.append("the work was done before anybody could be killed")
    sheet = place.folder / "contact-sheet.png"
    if results.pictures:
        write_sheet(sheet, results.pictures, plan.size.clips)
    return reckoning, {
        "job": job,
        "pictures": len(results.pictures),
        "contact_sheet": str(sheet) if results.pictures else None,
        "detections_file": str(results.file),
        "killed": catastrophe.killed,
        "takeovers": msgspec.to_builtins(catastrophe.takeovers),
    }


def _with_plain(sites: Mapping[str, Site], place: Place, plan: Plan) -> dict[str, Site]:
    folders = site_folders(place.footage(plan.size), plan.seeds)
    files = {name: videos(folder) for name, folder in folders.items()}
    plain = plain_digests(files, SPEC["detect"]["min_score"])
    return {name: msgspec.structs.replace(site, plain=plain[name]) for name, site in sites.items()}
