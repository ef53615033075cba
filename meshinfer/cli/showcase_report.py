"""What the demo says at the end: a table, a picture, and what to try next."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.padding import Padding
from rich.text import Text

from meshinfer.cli.output import Column, Output, count, size
from meshinfer.cli.showcase_plan import Plan
from meshinfer.cli.showcase_reckoning import PeerLine, Reckoning, SiteLine
from meshinfer.errors import MediaError
from meshinfer.media.draw import contact_sheet

CELL = 480
"""Pixels of width for each picture of the sheet: three quarters of the frame, so that its chips stay readable."""

NEXT = (
    (
        "meshinfer up --source cam=/path/to/your/videos --label site=here",
        "A peer. The same on every machine with footage; --bootstrap joins them.",
    ),
    (
        "meshinfer models add /path/to/yolox_nano.onnx",
        "Real footage wants a real detector: YOLOX, FastestDet, a YOLO export.",
    ),
    (
        "meshinfer run yolox_nano --on kind=video --classes person --follow",
        "From any peer: it runs wherever matching footage lies.",
    ),
)
"""Commands, and what each is for."""


def write_sheet(path: Path, pictures: Sequence[dict[str, Any]], columns: int) -> None:
    """The annotated frames that came back in one PNG, by peer and file. Raises MediaError."""
    tiles = []
    for picture in sorted(
        pictures, key=lambda p: (str(p.get("peer_name")), str(p.get("entry")), int(p.get("frame", 0)))
    ):
        image = cv2.imdecode(np.frombuffer(jpeg_of(picture), np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            where = f"{picture.get('source')}/{picture.get('entry')} #{picture.get('frame')}"
            caption = f"{picture.get('peer_name')}   {where}"
            tiles.append((np.asarray(image, np.uint8), caption))
    if not tiles:
        raise MediaError("no annotated frame could be read")
    title = "meshinfer demo: what the peers found in footage that stayed with them"
    ok, png = cv2.imencode(".png", contact_sheet(tiles, title=title, columns=columns, width=max(1280, columns * CELL)))
    if not ok:
        raise MediaError(f"{path}: OpenCV could not encode it")
    try:
        path.write_bytes(png.tobytes())
    except OSError as e:
        raise MediaError(f"{path}: cannot be written: {e.strerror}") from None


def jpeg_of(picture: dict[str, Any]) -> bytes:
    """Empty where it is none."""
    try:
        return base64.b64decode(str(picture.get("jpeg_base64") or ""), validate=True)
    except binascii.Error:
        return b""


def show_tables(out: Output, r: Reckoning, plan: Plan, more: Mapping[str, Any]) -> None:
    """By peer; where others may have done a peer's part, what was found by footage, and who ran it."""
    if plan.kills:
        _show_sites(out, r)
        out.say()
        _show_fates(out, r, more)
    else:
        _show_peers(out, r)
    out.say()
    same = "a plain loop over the same files finds the same" if r.digest == r.plain_digest else "NOT a plain loop's"
    out.say(f"Digest of all detections: {r.digest} ({same}{', with nobody killed' if plan.kills else ''})")


def _show_peers(out: Output, r: Reckoning) -> None:
    titles = ("FILES", "FRAMES", "FRAMES/S", "FOUND", "RECALL", "PRECISION", "FOOTAGE", "SENT")
    total = PeerLine(
        "all", r.entries, r.frames, r.fps, r.detections, r.recall, r.precision, r.footage_bytes, r.mesh_bytes
    )
    columns = [Column("PEER", whole=True), *(Column(title, "right", whole=True) for title in titles)]
    out.table(columns, [_cells(line) for line in (*r.peers, total)])


def _cells(line: PeerLine) -> list[str]:
    if not line.footage_bytes:
        return [line.name, *["–"] * 7, size(line.sent_bytes)]
    return [
        line.name,
        str(line.entries),
        f"{line.frames:,}",
        f"{line.fps:.0f}",
        f"{line.detections:,}",
        f"{line.recall:.3f}",
        f"{line.precision:.3f}",
        size(line.footage_bytes),
        size(line.sent_bytes),
    ]


def _show_sites(out: Output, r: Reckoning) -> None:
    titles = ("FILES", "FRAMES", "FOUND", "RECALL", "PRECISION", "DIGEST", "PLAIN LOOP")
    total = SiteLine("all", r.entries, r.frames, r.detections, r.recall, r.precision, r.digest, r.plain_digest)
    columns = [Column("FOOTAGE", whole=True), *(Column(title, "right", whole=True) for title in titles)]
    rows = [
        [
            line.name,
            str(line.entries),
            f"{line.frames:,}",
            f"{line.detections:,}",
            f"{line.recall:.3f}",
            f"{line.precision:.3f}",
            line.digest,
            "the same" if line.digest == line.plain else line.plain,
        ]
        for line in (*r.sites, total)
    ]
    out.table(columns, rows)


def _show_fates(out: Output, r: Reckoning, more: Mapping[str, Any]) -> None:
    """What became of each peer, and of what it had begun."""
    fates = dict.fromkeys((more["killed"] or [])[:1], "killed half-way, back at the end")
    fates |= dict.fromkeys((more["killed"] or [])[1:], "published, killed half-way")
    took = Counter(taken["by"] for taken in more["takeovers"])
    fates |= {name: f"went on with {count(n, 'task')} of {more['killed'][0]}" for name, n in took.items()}
    columns = [
        Column("PEER", whole=True),
        Column("FRAMES", "right"),
        Column("SENT", "right"),
        Column("WHAT BECAME OF IT"),
    ]
    rows = [[p.name, f"{p.frames:,}" if p.frames else "–", size(p.sent_bytes), fates.get(p.name, "")] for p in r.peers]
    out.table(columns, rows)


def explain(out: Output, r: Reckoning, plan: Plan, more: Mapping[str, Any]) -> None:
    """What has just happened, in plain words."""
    out.say()
    out.say("What has just happened", "bold")
    heard, drawn = count(r.live_frames, "frame"), count(int(more["pictures"]), "annotated frame")
    stayed, crossed, seen = size(r.footage_bytes), size(r.mesh_bytes), size(r.picture_bytes)
    holders = " and ".join(plan.holders)
    if plan.kills:
        victim, publisher = more["killed"]
        again = f"{count(r.wasted_frames, 'frame')} twice" if r.wasted_frames else "no frame twice"
        last = max((taken["seconds"] for taken in more["takeovers"]), default=0.0)
        begun = f" What it had begun went on elsewhere within {last:.0f} s." if last else ""
        _paragraph(
            out,
            f"Every file lies at two of three peers. {publisher}, which holds none, published one job; half-way it and "
            f"{victim} were killed. The others noticed by themselves and did the rest of {victim}'s part, analysing "
            f"{again}.{begun} {plan.watcher} heard of {heard} with detections as they were made: each once, and all of "
            f"them. Then {victim} was started again, because what it had found before lies with it alone.",
        )
    else:
        _paragraph(
            out,
            f"Three equal peers, a process each, found each other. {plan.publisher}, which holds no footage, published "
            f"one job. {holders} hold footage that matches, so they ran the detector, each over its own files. "
            f"{plan.watcher} heard of {heard} with detections as they were made: each once, and all of them.",
        )
    _paragraph(
        out,
        f"{stayed} of footage stayed where it is; {crossed} crossed the mesh, 1 byte for every {r.ratio:.1f}. Of these "
        f"{seen} are the {drawn} that we asked for, the rest is detections and what peers tell each other.",
    )
    _paragraph(
        out,
        "The footage is drawn, so the truth is known: RECALL and PRECISION compare with it (IoU 0.5). The detector, "
        "yard-demo, knows this drawn world and nothing else.",
    )


def _paragraph(out: Output, text: str) -> None:
    out.console.print(Padding(Text(text), (0, 0, 0, 2)))


def show_files(out: Output, *paths: str) -> None:
    out.say()
    out.say("Look at", "bold")
    for path in paths:
        out.say(f"  {path}")


def show_next(out: Output) -> None:
    out.say()
    out.say("Next, with footage of your own", "bold")
    for command, why in NEXT:
        out.say(f"  {command}", "cyan")
        out.say(f"      {why}", "dim")
