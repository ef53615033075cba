"""`meshinfer infer`: a model over a few pictures, without a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from meshinfer.cli.common import Session, verb
from meshinfer.cli.connect import bootstrap_option
from meshinfer.errors import ConfigError, MediaError
from meshinfer.paths import is_dir, is_file


@verb("infer")
@click.argument("model")
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@click.option("--on", "peer", metavar="PEER", help="Send the pictures to this peer, by name or id, to run it there.")
@click.option("--classes", metavar="A,B", help="Only these classes [all the model knows].")
@click.option("--min-score", type=click.FloatRange(0, 1), metavar="X", help="Only detections this sure [0.25].")
@click.option("--draw", metavar="DIR", help="Write each picture with its boxes into DIR, as NAME.jpg.")
@bootstrap_option
def infer(
    session: Session,
    model: str,
    pictures: tuple[str, ...],
    peer: str | None,
    classes: str | None,
    min_score: float | None,
    draw: str | None,
    bootstrap: tuple[str, ...],
) -> None:
    """Run a model over pictures, here or at a peer that holds it.

    MODEL is an ONNX file, or what a model is called on this peer's shelf (`meshinfer models ls`), with --on on the
    other's. Nothing is kept, and no job is made. With --on the pictures leave this machine: a peer may refuse them
    ([policy] infer = false).

    \b
    Example:
      meshinfer infer yolox_nano.onnx street.jpg --draw out/
      meshinfer infer yard-demo *.jpg --on dock --min-score 0.5 --json
    """
    detect: dict[str, Any] = {}
    if classes:
        detect["classes"] = [name.strip() for name in classes.split(",") if name.strip()]
    if min_score is not None:
        detect["min_score"] = min_score
    files = [_existing(picture) for picture in pictures]
    drawings = _drawings(draw, files) if draw else {}
    if peer is None:
        answers = _here(session, model, files, detect)
    else:
        answers = _there(session, model, files, detect, peer, bootstrap)
    for file, answer in answers:
        drawn = _draw(drawings[file], file, answer) if drawings else None
        if session.json:
            session.out.data({"file": str(file), **answer} | ({"drawn": str(drawn)} if drawn else {}))
        else:
            _show(session, file, answer, drawn)


def _here(session: Session, model: str, files: list[Path], detect: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    import time

    from meshinfer.api.detector import Detector
    from meshinfer.media.frames import read_frame
    from meshinfer.node.views import detection_views

    detector = Detector(model, home=session.home, **detect)
    for file in files:
        began = time.perf_counter()
        image = read_frame(file, "image", 0)
        found = detector(image)
        seconds = round(time.perf_counter() - began, 6)
        height, width = image.shape[:2]
        what = {"model": detector.name, "digest": detector.digest, "width": width, "height": height, "seconds": seconds}
        yield file, what | {"detections": detection_views(found)}


def _there(
    session: Session, model: str, files: list[Path], detect: dict[str, Any], peer: str, bootstrap: tuple[str, ...]
) -> Iterator[tuple[Path, Any]]:
    from meshinfer.cli.connect import node_or_guest
    from meshinfer.node.client import call

    args = {"model": model, "files": [str(file) for file in files], "detect": detect, "peer": peer}
    with node_or_guest(session, bootstrap) as node, call(node, "infer", args) as conversation:
        for answer in conversation:
            yield Path(answer.pop("file")), answer


def _existing(picture: str) -> Path:
    path = Path(picture).expanduser().absolute()
    if not is_file(path):
        what = "is a folder" if is_dir(path) else "no such file"
        raise ConfigError(f"{picture}: {what}; give the path of a picture")
    return path


def _drawings(folder: str, files: list[Path]) -> dict[Path, Path]:
    """Where each picture is drawn: not over one of them, and no two in one file. Raises ConfigError."""
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"--draw {folder}: cannot be made: {e.strerror}") from None
    given = {file.resolve(): file for file in files}
    targets: dict[Path, Path] = {}
    for file in dict.fromkeys(files):
        target = path / f"{file.stem}.jpg"
        if target.resolve() in given:
            raise ConfigError(f"--draw {folder}: would write over {target.name} itself; choose another folder")
        if target in targets.values():
            raise ConfigError(f"--draw {folder}: two of the pictures would be {target.name}; draw them in two calls")
        targets[file] = target
    return targets


def _draw(target: Path, file: Path, answer: dict[str, Any]) -> Path:
    import cv2

    from meshinfer.api.job import read_detections
    from meshinfer.media.draw import annotate
    from meshinfer.media.frames import read_frame

    _, jpeg = cv2.imencode(".jpg", annotate(read_frame(file, "image", 0), read_detections(answer)))
    try:
        target.write_bytes(jpeg.tobytes())
    except OSError as e:
        raise MediaError(f"{target}: cannot be written: {e.strerror}") from None
    return target


def _show(session: Session, file: Path, answer: dict[str, Any], drawn: Path | None) -> None:
    from meshinfer.cli.output import Column, clean, count

    found = answer["detections"]
    took = f"{answer['width']}x{answer['height']}, {answer['seconds'] * 1000:.0f} ms"
    where = f", drawn in {drawn}" if drawn else ""
    session.out.say(f"{file.name}: {count(len(found), 'detection')} ({took}{where})")
    if found:
        rows = [[clean(d["label"]), f"{d['score']:.2f}", " ".join(f"{x:.0f}" for x in d["box"])] for d in found]
        columns = [Column("LABEL"), Column("SCORE", "right", whole=True), Column("X0 Y0 X1 Y1", whole=True)]
        session.out.table(columns, rows)
