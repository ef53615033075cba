"""Some frames out of the user's own footage, spread over all of it, for trying models on."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import cv2

from meshinfer.detect.variants.precision import Truth
from meshinfer.errors import ConfigError, MediaError
from meshinfer.media.frames import Image, open_frames
from meshinfer.media.probe import probe
from meshinfer.media.sniff import expected_kind
from meshinfer.model.catalog import Kind
from meshinfer.model.job import Sample
from meshinfer.paths import is_dir, is_file

MAX_FILES: Final = 20_000
MAX_READ: Final = 3000
"""Frames of one video that are passed to get some: two minutes of it."""
DRAWN: Final = 8


class Shot(NamedTuple):
    image: Image
    file: Path | None
    """None: drawn."""


class Footage(NamedTuple):
    shots: tuple[Shot, ...]
    decode_ms: float
    """A frame, on the average; 0 where nothing was decoded."""
    unreadable: int


def sample(place: Path, most: int, *, longest: int = 0, pictures_only: bool = False) -> Footage:
    """Up to `most` frames from the files in a folder and below it, or of one file; larger ones are made smaller, to
    `longest` pixels on the longer side. Raises ConfigError where there are none.
    """
    files = _files(place)
    if pictures_only:
        files = [(path, kind) for path, kind in files if kind == "image"]
    shots: list[Shot] = []
    seconds, decoded, unreadable = 0.0, 0, 0
    for path, kind, wanted in _shared(files, most):
        began = time.perf_counter()
        try:
            found, passed = _read(path, kind, wanted)
        except (MediaError, OSError):
            unreadable += 1
            continue
        seconds, decoded = seconds + time.perf_counter() - began, decoded + passed
        shots += [Shot(_shrunk(image, longest), path) for image in found]
    if not shots:
        what = "pictures" if pictures_only else "videos or pictures"
        raise ConfigError(f"{place}: no {what} in it that can be read; give a folder with footage")
    return Footage(tuple(shots), 1000 * seconds / max(decoded, 1), unreadable)


def drawn(most: int = DRAWN) -> Footage:
    """Frames of the demo's world: people and vehicles in yards."""
    from meshinfer.demo.world import Scene

    scenes = [Scene(seed, night=night) for seed, night in ((10, False), (27, True))]
    return Footage(tuple(Shot(scenes[i % 2].frame(5.0 * i)[0], None) for i in range(most)), 0.0, 0)


def read_truth(labels: Path, shots: Sequence[Shot], classes: Sequence[str]) -> list[list[Truth]]:
    """What `NAME.txt` in `labels` says of each picture, as YOLO writes it: class, centre and size in parts of the
    picture, a line each; no file: nothing to be found. Raises ConfigError.
    """
    truth = []
    for shot in shots:
        assert shot.file is not None
        file = labels / f"{shot.file.stem}.txt"
        height, width = shot.image.shape[:2]
        truth.append([_truth(file, line, width, height, classes) for line in _lines(file)])
    if not any(truth):
        raise ConfigError(f"{labels}: holds no labels of these pictures: NAME.txt for NAME.jpg, a line for each box")
    return truth


def _truth(file: Path, line: str, width: int, height: int, classes: Sequence[str]) -> Truth:
    try:
        number, x, y, w, h = (float(word) for word in line.split())
        label = dict(enumerate(classes))[int(number)]
    except (ValueError, KeyError, OverflowError):
        raise ConfigError(f"{file}: {line[:80]!r} is no `class x y width height` of {len(classes)} classes") from None
    return Truth(label, ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height))


def _lines(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8") as lines:
            text = lines.read(2**20)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file}: cannot be read: {e}") from None
    return [line for line in text.splitlines() if line.strip()]


def _files(place: Path) -> list[tuple[Path, Kind]]:
    if is_file(place):
        found = [place]
    elif is_dir(place):
        walk = ((Path(folder) / name) for folder, _, names in os.walk(place) for name in names)
        found = sorted(path for path, _ in zip(walk, range(MAX_FILES), strict=False))
    else:
        raise ConfigError(f"{place}: does not exist; give a folder with footage")
    return [(path, kind) for path in found if (kind := expected_kind(path.name)) and not path.name.startswith(".")]


def _shared(files: Sequence[tuple[Path, Kind]], most: int) -> list[tuple[Path, Kind, int]]:
    """Which files to read, and how many frames of each: evenly spread, one of a picture."""
    pictures = [file for file in files if file[1] == "image"]
    videos = [file for file in files if file[1] == "video"]
    for_pictures = min(len(pictures), most if not videos else most // 2)
    picked = [(*pictures[i * len(pictures) // for_pictures], 1) for i in range(for_pictures)]
    rest = most - for_pictures
    count = min(len(videos), rest)
    shares = [(rest + i) // count for i in range(count)]
    return picked + [(*videos[i * len(videos) // count], shares[i]) for i in range(count)]


def _read(path: Path, kind: Kind, wanted: int) -> tuple[list[Image], int]:
    """The frames, and how many were decoded for them."""
    every = max(1, min(probe(path, kind, path.name).frames, MAX_READ) // wanted)
    with open_frames(path, kind, Sample(every=every), most=wanted) as frames:
        found = list(frames)
    return [frame.image for frame in found], found[-1].index + 1 if found else 0


def _shrunk(image: Image, longest: int) -> Image:
    side = max(image.shape[:2])
    if not longest or side <= longest:
        return image
    size = [max(1, round(length * longest / side)) for length in image.shape[1::-1]]
    small: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small
