"""The folder that `meshinfer results` writes: whole or not at all, and never over what somebody else put there.

DIR/PEER/detections.jsonl     what that peer found, one frame a line
DIR/detections.jsonl          all peers, sorted, each frame of a task once, a file under one name
DIR/coco.json                 the same for tools: images, annotations (xywh), categories
DIR/annotated/*.jpg           with --annotate, from peers that let pixels leave
DIR/summary.json              the job, its peers, what is missing, and the names of all the above
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec

from meshinfer.cli.spool import Owners, Places, Row, encode_row, in_order, read_row, read_rows
from meshinfer.errors import ConfigError, MeshInferError

MADE_BY = "meshinfer results"
_RESERVED = {"annotated", "detections.jsonl", "coco.json", "summary.json"}


class Export:
    """`with Export(folder, force=...) as export:` add what comes, then `finish`. Without it nothing is left behind."""

    def __init__(self, folder: Path, *, force: bool = False, pictures: int = 64) -> None:
        self._folder, self._wanted = folder, pictures
        self._old = _check_target(folder, force)
        self._owners, self._places = Owners(), Places()
        self._names: dict[str, str] = {}
        self._labels: set[str] = set()
        self._file: tuple[str, BinaryIO] | None = None
        self._drawn: dict[str, list[tuple[Path, str]]] = {}

    def __enter__(self) -> Export:
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            # Beside its place, so that the move at the end is a rename.
            self._work = Path(tempfile.mkdtemp(prefix=f".{self._folder.name}.", dir=self._folder.parent))
        except OSError as e:
            raise ConfigError(f"{self._folder}: cannot be written: {e.strerror}; give another folder with -d") from None
        self._new = self._work / "new"
        self._new.mkdir()
        (self._work / "runs").mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._close()
        except OSError as e:  # what was still buffered finds no room either
            error = error or e
        shutil.rmtree(self._work, ignore_errors=True)
        if isinstance(error, OSError):
            raise MeshInferError(f"{self._folder}: cannot be written: {error.strerror or error}") from None

    @property
    def pictures(self) -> int:
        """How many were kept."""
        return min(self._wanted, sum(map(len, self._drawn.values())))

    def task(self, task: dict[str, Any]) -> None:
        self._owners.task(task)
        self._open(str(task.get("peer")))

    def event(self, event: object) -> None:
        row = read_row(event)
        self._owners.event(row)
        self._places.event(row)
        self._labels.update(d.label for d in row.detections)
        self._names[row.peer] = row.peer_name
        self._open(row.peer).write(encode_row(row))

    def picture(self, picture: dict[str, Any]) -> None:
        """An annotated frame; anything that is no JPEG is left out."""
        try:
            data = base64.b64decode(str(picture.get("jpeg_base64", "")), validate=True)
        except binascii.Error:
            return
        if data.startswith(b"\xff\xd8\xff"):
            stem = "-".join(safe_name(str(picture.get(key))) for key in ("source", "entry"))
            of_peer = self._drawn.setdefault(str(picture.get("peer")), [])
            if len(of_peer) < self._wanted:
                path = self._work / f"picture-{len(self._drawn)}-{len(of_peer)}"
                path.write_bytes(data)
                of_peer.append((path, f"{stem}-{int(picture.get('frame', 0)):06d}.jpg"))

    def finish(self, answer: dict[str, Any]) -> dict[str, int]:
        """Merge, put everything in its place; gives the counts of frames with detections, and of detections."""
        self._close()
        names = self._name_folders((answer.get("job") or {}).get("peers") or ())
        files = [self._new / name / "detections.jsonl" for name in names.values()]
        rows = in_order((self._places(row) for file in files for row in read_rows(file)), self._work / "runs")
        counts = _write_merged(self._new, self._owners.unique(rows), sorted(self._labels))
        summary = {
            "made_by": MADE_BY,
            **{key: answer.get(key) for key in ("partial", "missing", "pixels_refused", "digest")},
            **counts,
            "pictures": self.pictures,
            "folders": dict(sorted(names.items())),
            "files": sorted([path.name for path in self._new.iterdir()] + ["summary.json"]),
            "job": answer.get("job"),
        }
        (self._new / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
        self._place()
        return counts

    def _open(self, peer: str) -> BinaryIO:
        """The peer's file. Peers come one after another, so one is open at a time."""
        if self._file is None or self._file[0] != peer:
            self._close()
            folder = self._work / "peers" / safe_name(peer)
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (peer, (folder / "detections.jsonl").open("ab"))
            self._names.setdefault(peer, "")
        return self._file[1]

    def _close(self) -> None:
        if self._file is not None:
            self._file[1].close()
            self._file = None

    def _name_folders(self, peers: Iterable[dict[str, Any]]) -> dict[str, str]:
        """Peer id -> folder name. Names are their owners' choice: two may choose the same, or one of our file names."""
        known = {str(p.get("peer")): str(p.get("name") or "") for p in peers}
        names: dict[str, str] = {}
        for peer, said in self._names.items():
            name = safe_name(said or known.get(peer) or "peer")
            if name in _RESERVED or name in names.values() or name == "peer":
                name = f"{name[:90]}-{safe_name(peer)[-6:]}"
            names[peer] = name
            (self._work / "peers" / safe_name(peer)).rename(self._new / name)
        # The first picture of every peer, then the second of every peer: N of them show all peers, not the first one.
        turns = itertools.zip_longest(*([(peer, *picture) for picture in of] for peer, of in self._drawn.items()))
        for peer, path, rest in itertools.islice((p for turn in turns for p in turn if p), self._wanted):
            (self._new / "annotated").mkdir(exist_ok=True)
            path.rename(self._new / "annotated" / f"{names.get(peer) or safe_name(peer)[-6:]}-{rest}")
        return names

    def _place(self) -> None:
        if not self._folder.exists():
            self._new.rename(self._folder)
            return
        for name in self._old:  # only what an earlier call of ours listed: a file that was added since stays
            _remove(self._folder / name)
        for path in sorted(self._new.iterdir()):
            _remove(self._folder / path.name)
            path.rename(self._folder / path.name)


def safe_name(text: str) -> str:
    """`text` as one name in a folder: names come from other peers, and must not lead out of it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")[:100] or "_"


def _check_target(folder: Path, force: bool) -> list[str]:
    """What an earlier call left in `folder`. Raises ConfigError for a folder that is not ours."""
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; give a folder with -d")
    old: list[str] = []
    try:
        summary = msgspec.json.decode((folder / "summary.json").read_bytes())
        if isinstance(summary, dict) and summary.get("made_by") == MADE_BY:
            old = [name for name in summary.get("files", ()) if isinstance(name, str) and name == safe_name(name)]
    except (OSError, msgspec.DecodeError):
        pass
    if not old and not force and _holds_something(folder):
        raise ConfigError(f"{folder}: holds other things; give a new folder with -d, or --force to write among them")
    return old


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError as e:
        raise ConfigError(f"{folder}: cannot be read: {e.strerror}; give another folder with -d") from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_merged(folder: Path, rows: Iterable[Row], labels: list[str]) -> dict[str, int]:
    """detections.jsonl and coco.json in one pass; COCO's annotations wait in a file of their own for its images."""
    category = {label: i for i, label in enumerate(labels, 1)}
    encode = msgspec.json.encode
    images = annotations = 0
    with (
        (folder / "detections.jsonl").open("wb") as merged,
        (folder / "coco.json").open("wb") as coco,
        tempfile.TemporaryFile(dir=folder) as waiting,
    ):
        coco.write(
            b'{"info":' + encode({"description": "frames with detections", "made_by": MADE_BY}) + b',\n"images":['
        )
        for row in rows:
            merged.write(encode_row(row))
            images += 1
            coco.write((b",\n" if images > 1 else b"\n") + encode(_image(images, row)))
            for found in row.detections:
                annotations += 1
                x0, y0, x1, y1 = found.box
                box = [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)]
                line = {"id": annotations, "image_id": images, "category_id": category[found.label], "bbox": box}
                line |= {"area": round(box[2] * box[3], 2), "iscrowd": 0, "score": found.score}
                waiting.write((b",\n" if annotations > 1 else b"\n") + encode(line))
        coco.write(b'],\n"annotations":[')
        waiting.seek(0)
        shutil.copyfileobj(waiting, coco)
        categories = [{"id": i, "name": label} for label, i in category.items()]
        coco.write(b'],\n"categories":' + encode(categories) + b"}\n")
    return {"frames": images, "detections": annotations}


def _image(number: int, row: Row) -> dict[str, Any]:
    image = {"id": number, "file_name": f"{row.source}/{row.entry}", "width": row.width, "height": row.height}
    return image | {"frame": row.frame, "t": row.t, "wall": row.wall, "peer": row.peer, "content": row.content}
