"""What the demo's run came to, and whether it went as it should. Pure: facts in, figures and complaints out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from meshinfer.cli.showcase_digest import digest, digest_of_sites
from meshinfer.cli.spool import Found, Row
from meshinfer.demo.evaluate import Score, score
from meshinfer.demo.truth import Truth

RECALL_FLOOR = 0.90
PRECISION_FLOOR = 0.85
"""Below what yard-demo reaches on scenes it has never seen: under these, something is broken."""

Frame = tuple[str, int]
"""(task, frame): what must be told once."""


class Site(Struct, frozen=True):
    """The footage of one place."""

    truths: Mapping[str, Sequence[Sequence[Truth]]]
    """By entry: what each of its frames shows."""
    bytes: int
    plain: str = ""
    """The digest of what a plain loop finds in it."""


class Facts(Struct, frozen=True):
    """What was seen of the run."""

    sites: Mapping[str, Site]
    """By name, which is that of the source too."""
    held: Mapping[str, Sequence[str]]
    """By peer: the sites whose footage it holds."""
    job: Mapping[str, Any]
    """The job's view at the end."""
    rows: Sequence[Row]
    """The merged results, as they were written."""
    live: Sequence[Frame]
    """What the subscriber heard, in that order."""
    told: Mapping[Frame, str]
    """Which peer the subscriber heard of a frame from."""
    sent: Mapping[str, int]
    """Bytes that each peer sent, by name."""
    picture_bytes: int
    pictures: int
    seconds: float
    """From publishing to the end of the job."""
    missing: Sequence[str] = ()
    """Peers that did not answer when the results were collected."""
    killed: Sequence[str] = ()


class PeerLine(Struct, frozen=True):
    """One peer's part. `recall` and `precision` are at an overlap (IoU) of 0.5; None where others hold the same."""

    name: str
    entries: int
    frames: int
    fps: float
    detections: int
    recall: float | None
    precision: float | None
    footage_bytes: int
    sent_bytes: int


class SiteLine(Struct, frozen=True):
    """What was found in one site's footage, whoever found it."""

    name: str
    entries: int
    frames: int
    detections: int
    recall: float
    precision: float
    digest: str
    plain: str


class Reckoning(Struct, frozen=True):
    """The tables, their last lines, and what is wrong (nothing, in a good run)."""

    peers: list[PeerLine]
    sites: list[SiteLine]
    entries: int
    frames: int
    wasted_frames: int
    """Told by one peer, and in the results by another: analysed by both."""
    fps: float
    detections: int
    recall: float
    precision: float
    digest: str
    plain_digest: str
    footage_bytes: int
    mesh_bytes: int
    picture_bytes: int
    ratio: float
    """Bytes of footage for each byte that crossed the mesh."""
    live_frames: int
    seconds: float
    problems: list[str]


def reckon(facts: Facts) -> Reckoning:
    """The figures of a run, and everything that is wrong with it."""
    views = {str(view.get("name")): view for view in facts.job.get("peers") or ()}
    scores = {name: site_score(name, site, facts.rows) for name, site in facts.sites.items()}
    lines = [_peer_line(name, facts, views.get(name, {}), scores) for name in facts.sent]
    sites = [_site_line(name, facts, scores[name]) for name in facts.sites]
    truths, found, wrong = (sum(getattr(s, key) for s in scores.values()) for key in ("truths", "found", "wrong"))
    total = Score(truths, found, wrong)
    crossed, footage = sum(facts.sent.values()), sum(site.bytes for site in facts.sites.values())
    analysed = sum(line.frames for line in lines)
    frames = sum(site.frames for site in sites)
    return Reckoning(
        peers=lines,
        sites=sites,
        entries=sum(site.entries for site in sites),
        frames=frames,
        wasted_frames=sum(row.peer_name != facts.told.get((row.task, row.frame), row.peer_name) for row in facts.rows),
        fps=round(frames / facts.seconds, 1) if facts.seconds > 0 else 0.0,
        detections=sum(site.detections for site in sites),
        recall=total.recall,
        precision=total.precision,
        digest=digest_of_sites({site.name: site.digest for site in sites}),
        plain_digest=digest_of_sites({site.name: site.plain for site in sites}),
        footage_bytes=footage,
        mesh_bytes=crossed,
        picture_bytes=facts.picture_bytes,
        ratio=round(footage / crossed, 2) if crossed else 0.0,
        live_frames=len(set(facts.live)),
        seconds=round(facts.seconds, 2),
        problems=_problems(facts, sites, analysed, total),
    )


def site_score(name: str, site: Site, rows: Iterable[Row]) -> Score:
    """How what was found in the footage of `name` compares with what it shows; frames without detections count too."""
    by_entry: dict[str, dict[int, list[Found]]] = defaultdict(dict)
    for row in rows:
        if row.source == name:
            by_entry[row.entry][row.frame] = row.detections
    found = [by_entry[entry].get(i, []) for entry, frames in site.truths.items() for i in range(len(frames))]
    return score(found, [frame for frames in site.truths.values() for frame in frames])


def _peer_line(name: str, facts: Facts, view: Mapping[str, Any], scores: Mapping[str, Score]) -> PeerLine:
    held = facts.held.get(name, ())
    alone = len(held) == 1 and sum(held[0] in sites for sites in facts.held.values()) == 1
    points = scores[held[0]] if alone else None
    mine = [row for row in facts.rows if row.peer_name == name]
    return PeerLine(
        name=name,
        entries=len({(row.source, row.entry) for row in mine}),
        frames=int(view.get("analysed") or 0),
        fps=float(view.get("fps") or 0.0),
        detections=sum(len(row.detections) for row in mine),
        recall=points.recall if points else None,
        precision=points.precision if points else None,
        footage_bytes=sum(facts.sites[site].bytes for site in held),
        sent_bytes=facts.sent[name],
    )


def _site_line(name: str, facts: Facts, points: Score) -> SiteLine:
    site, rows = facts.sites[name], [row for row in facts.rows if row.source == name]
    return SiteLine(
        name=name,
        entries=len({row.entry for row in rows}),
        frames=sum(len(frames) for frames in site.truths.values()),
        detections=sum(len(row.detections) for row in rows),
        recall=points.recall,
        precision=points.precision,
        digest=digest((r.entry, r.frame, [(d.label, d.score, d.box) for d in r.detections]) for r in rows),
        plain=site.plain,
    )


def _problems(facts: Facts, sites: Sequence[SiteLine], analysed: int, total: Score) -> list[str]:
    said: list[str] = []
    tasks = facts.job.get("tasks") or {}
    if facts.job.get("state") != "done" or tasks.get("done") != tasks.get("total"):
        state, done, of = facts.job.get("state", "unknown"), tasks.get("done", 0), tasks.get("total", 0)
        said.append(f"the job is {state}: {done} of {of} tasks are done")
        said += [
            f"{view.get('name')} failed on {error.get('entry')}: {error.get('message')}"
            for view in facts.job.get("peers") or ()
            for error in view.get("errors") or ()
        ]
    shown = sum(site.frames for site in sites)
    if analysed != shown and not facts.killed:  # who takes over begins its piece anew
        said.append(f"{analysed} frames were analysed, and the footage has {shown}")
    if twice := _repeated((row.source, row.entry, row.frame) for row in facts.rows):
        said.append(f"the results tell {twice} frames twice")
    if twice := _repeated(facts.live):
        said.append(f"the subscriber was told {twice} frames twice")
    results = {(row.task, row.frame) for row in facts.rows}
    if missed := len(results - set(facts.live)):
        said.append(f"the subscriber missed {missed} of {len(results)} frames with detections")
    if strangers := sorted(
        {row.peer_name for row in facts.rows if row.source not in facts.held.get(row.peer_name, ())}
    ):
        said.append(f"{', '.join(strangers)} reported detections in footage that others hold")
    said += [
        f"what was found in the footage of {site.name} ({site.digest}) is not what a plain loop finds ({site.plain})"
        for site in sites
        if site.digest != site.plain
    ]
    if total.recall < RECALL_FLOOR:
        said.append(f"recall is {total.recall:.3f}, under {RECALL_FLOOR:.2f}")
    if total.precision < PRECISION_FLOOR:
        said.append(f"precision is {total.precision:.3f}, under {PRECISION_FLOOR:.2f}")
    if facts.missing:
        said.append(f"not heard from when the results were collected: {', '.join(facts.missing)}")
    if not facts.pictures:
        said.append("no annotated frame came back, though these peers let pixels leave")
    return said


def _repeated(frames: Iterable[tuple[object, ...]]) -> int:
    return sum(count > 1 for count in Counter(frames).values())
