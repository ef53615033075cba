"""What the demo's run came to, and whether it went as it should. Pure: facts in, figures and complaints out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from meshinfer.cli.spool import Found, Row
from meshinfer.demo.evaluate import Score, score
from meshinfer.demo.truth import Truth

RECALL_FLOOR = 0.90
PRECISION_FLOOR = 0.85
"""Below what yard-demo reaches on scenes it has never seen: under these, something is broken."""

Frame = tuple[str, int]
"""(task, frame): what must be told once."""


class Site(Struct, frozen=True):
    """The footage that one peer was given."""

    truths: Mapping[str, Sequence[Sequence[Truth]]]
    """By entry: what each of its frames shows."""
    bytes: int


class Facts(Struct, frozen=True):
    """What was seen of the run."""

    sites: Mapping[str, Site]
    """By the name of the peer that holds it."""
    job: Mapping[str, Any]
    """The job's view at the end."""
    rows: Sequence[Row]
    """Every event that `results` gave, as it came."""
    live: Sequence[Frame]
    """What the subscriber heard, in that order."""
    sent: Mapping[str, int]
    """Bytes that each peer sent, by name."""
    picture_bytes: int
    pictures: int
    seconds: float
    """From publishing to the end of the job."""
    missing: Sequence[str] = ()
    """Peers that did not answer when the results were collected."""


class PeerLine(Struct, frozen=True):
    """One peer's part. `recall` and `precision` are at an overlap (IoU) of 0.5, None without footage."""

    name: str
    entries: int
    frames: int
    fps: float
    detections: int
    recall: float | None
    precision: float | None
    footage_bytes: int
    sent_bytes: int


class Reckoning(Struct, frozen=True):
    """The table, its last line, and what is wrong (nothing, in a good run)."""

    peers: list[PeerLine]
    entries: int
    frames: int
    fps: float
    detections: int
    recall: float
    precision: float
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
    lines = [_line(name, facts, views.get(name, {}), scores.get(name)) for name in facts.sent]
    truths, found, wrong = (sum(getattr(s, key) for s in scores.values()) for key in ("truths", "found", "wrong"))
    total = Score(truths, found, wrong)
    frames, footage, crossed = (
        sum(getattr(line, key) for line in lines) for key in ("frames", "footage_bytes", "sent_bytes")
    )
    return Reckoning(
        peers=lines,
        entries=sum(line.entries for line in lines),
        frames=frames,
        fps=round(frames / facts.seconds, 1) if facts.seconds > 0 else 0.0,
        detections=sum(line.detections for line in lines),
        recall=total.recall,
        precision=total.precision,
        footage_bytes=footage,
        mesh_bytes=crossed,
        picture_bytes=facts.picture_bytes,
        ratio=round(footage / crossed, 2) if crossed else 0.0,
        live_frames=len(set(facts.live)),
        seconds=round(facts.seconds, 2),
        problems=_problems(facts, frames, total),
    )


def site_score(name: str, site: Site, rows: Iterable[Row]) -> Score:
    """How what `name` found compares with what its footage shows; frames without detections count too."""
    by_entry: dict[str, dict[int, list[Found]]] = defaultdict(dict)
    for row in rows:
        if row.peer_name == name:
            by_entry[row.entry][row.frame] = row.detections
    found = [by_entry[entry].get(i, []) for entry, frames in site.truths.items() for i in range(len(frames))]
    return score(found, [frame for frames in site.truths.values() for frame in frames])


def _line(name: str, facts: Facts, view: Mapping[str, Any], points: Score | None) -> PeerLine:
    site = facts.sites.get(name)
    return PeerLine(
        name=name,
        entries=int(view.get("done") or 0),
        frames=int(view.get("analysed") or 0),
        fps=float(view.get("fps") or 0.0),
        detections=int(view.get("detections") or 0),
        recall=points.recall if points else None,
        precision=points.precision if points else None,
        footage_bytes=site.bytes if site else 0,
        sent_bytes=facts.sent[name],
    )


def _problems(facts: Facts, frames: int, total: Score) -> list[str]:
    said: list[str] = []
    tasks = facts.job.get("tasks") or {}
    wanted = sum(len(site.truths) for site in facts.sites.values())
    if facts.job.get("state") != "done" or tasks.get("done") != wanted:
        said.append(
            f"the job is {facts.job.get('state', 'unknown')}: {tasks.get('done', 0)} of {wanted} files are done"
        )
        said += [
            f"{view.get('name')} failed on {error.get('entry')}: {error.get('message')}"
            for view in facts.job.get("peers") or ()
            for error in view.get("errors") or ()
        ]
    shown = sum(len(truth) for site in facts.sites.values() for truth in site.truths.values())
    if frames != shown:
        said.append(f"{frames} frames were analysed, and the footage has {shown}")
    results = [(row.task, row.frame) for row in facts.rows]
    if twice := _repeated(results):
        said.append(f"the results tell {twice} frames twice")
    if twice := _repeated(facts.live):
        said.append(f"the subscriber was told {twice} frames twice")
    if missed := len(set(results) - set(facts.live)):
        said.append(f"the subscriber missed {missed} of {len(set(results))} frames with detections")
    if strangers := sorted({row.peer_name for row in facts.rows} - facts.sites.keys()):
        said.append(f"{', '.join(strangers)} reported detections, and holds no footage")
    if total.recall < RECALL_FLOOR:
        said.append(f"recall is {total.recall:.3f}, under {RECALL_FLOOR:.2f}")
    if total.precision < PRECISION_FLOOR:
        said.append(f"precision is {total.precision:.3f}, under {PRECISION_FLOOR:.2f}")
    if facts.missing:
        said.append(f"not heard from when the results were collected: {', '.join(facts.missing)}")
    if not facts.pictures:
        said.append("no annotated frame came back, though these peers let pixels leave")
    return said


def _repeated(frames: Iterable[Frame]) -> int:
    return sum(count > 1 for count in Counter(frames).values())
