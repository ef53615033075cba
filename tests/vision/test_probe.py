"""What is read of a file, and what is refused: real videos, files made here, and broken ones."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.errors import MediaError
from meshinfer.media import captured
from meshinfer.media.picture import read_header
from meshinfer.media.probe import Probed, probe
from meshinfer.media.sniff import sniff

AT = 1_795_169_700.0
"""2026-11-20 10:15:00 UTC."""


def picture(path: Path, width: int = 64, height: int = 48) -> Path:
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def video(path: Path, fourcc: str, frames: int = 20) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), 10, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), i * 10, np.uint8))
    writer.release()
    return path


def cut(path: Path, part: float = 0.5) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def test_a_real_video(assets: Path) -> None:
    path = assets / "media" / "car-detection.mp4"
    assert probe(path, "video", path.name) == Probed(768, 432, 377, 12.5, 30.16, 1_524_177_960.0)


@pytest.mark.parametrize(
    ("name", "fourcc"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "XVID"), ("a.webm", "VP80")]
)
def test_containers(tmp_path: Path, name: str, fourcc: str) -> None:
    path = video(tmp_path / name, fourcc)
    assert sniff(path.read_bytes()[:4096], name) == "video"
    assert probe(path, "video", "2026-11-20/10-15-00.x") == Probed(64, 48, 20, 10.0, 2.0, AT)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif", "ppm", "jp2"])
def test_images(tmp_path: Path, suffix: str) -> None:
    path = picture(tmp_path / f"a.{suffix}")
    assert sniff(path.read_bytes()[:4096], path.name) == "image"
    assert probe(path, "image", "cam1_20261120T101500Z.jpg") == Probed(64, 48, 1, 0.0, 0.0, AT)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif"])
def test_a_cut_off_image_is_refused_silently(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MediaError):
        probe(cut(picture(tmp_path / f"a.{suffix}")), "image", "a")
    assert capfd.readouterr().err == ""


def test_broken_videos_are_refused_silently(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = video(tmp_path / "whole.mp4", "mp4v").read_bytes()
    for name, data in {
        "cut.mp4": whole[: len(whole) // 2],
        "head.mp4": whole[:32],
        "noise.mp4": whole[:32] + np.random.default_rng(0).bytes(5000),
        "noise.avi": b"RIFF\xff\xff\xff\xffAVI LIST" + b"\xff" * 5000,
        "noise.mkv": b"\x1aE\xdf\xa3" + np.random.default_rng(0).bytes(5000),
        "noise.ts": (b"G" + b"\0" * 187) * 50,
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(MediaError, match=r"no video that can be decoded|first frame cannot"):
            probe(path, "video", name)
    assert capfd.readouterr().err == ""


def test_a_video_that_lost_its_end_keeps_its_frames(tmp_path: Path) -> None:
    assert probe(cut(video(tmp_path / "a.avi", "MJPG"), 0.8), "video", "a").frames == 20


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    data = bytearray(picture(tmp_path / "a.jpg").read_bytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65000, 65000)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(MediaError, match="65000x65000 pixels are more"):
        probe(tmp_path / "a.jpg", "image", "a.jpg")


def test_what_is_no_footage() -> None:
    for head in (
        b"",
        b"#!/bin/sh\n",
        b"#EXTM3U\n#EXT-X",
        b"ffconcat version 1.0\nfile /etc/passwd",
        b"PK\3\4",
        b"BMW is a car",
    ):
        assert sniff(head, "a.mp4") is None
    assert sniff(b"\0\0\0\x1cftypheic\0\0\0\0", "a.heic") is None
    assert sniff(b"\0\0\0\x1cftypM4A \0\0\0\0", "a.m4a") is None


@pytest.mark.parametrize(
    "name", ["20261120T101500.mp4", "cam_2026-11-20_10-15-00.mp4", "2026-11-20/10-15-00.mp4", "x-20261120101500-y.jpg"]
)
def test_capture_time_from_the_name(name: str) -> None:
    assert captured.from_name(name) == AT


@pytest.mark.parametrize(
    "name", ["a.mp4", "20261320T101500.mp4", "120261120T1015001.mp4", "20261120.mp4", "1234567890123456"]
)
def test_no_capture_time_in_the_name(name: str) -> None:
    assert captured.from_name(name) is None


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


@pytest.mark.parametrize("version", [0, 1])
def test_capture_time_of_a_movie(tmp_path: Path, version: int) -> None:
    created = struct.pack(">QQ" if version else ">II", int(AT) + 2_082_844_800, 0)
    data = box(b"ftyp", b"isom") + box(b"moov", box(b"udta", b"") + box(b"mvhd", bytes([version, 0, 0, 0]) + created))
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert captured.from_mp4(file, len(data)) == AT
        assert captured.from_mp4(file, len(data) - 1) is None, "a box that ends behind the file is not read"


def exif(zone: bytes = b"") -> bytes:
    """A TIFF block with DateTimeOriginal, and OffsetTimeOriginal where a zone is given."""
    when = b"2026:11:20 10:15:00\0"
    rows = [(0x9003, 2, len(when), 80)] + ([(0x9011, 2, len(zone), 110)] if zone else [])
    first = struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 26) + b"\0\0\0\0"
    inner = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows)
    block = (b"II*\0" + struct.pack("<I", 8) + first).ljust(26, b"\0") + inner
    return block.ljust(80, b"\0") + when.ljust(30, b"\0") + zone


def test_capture_time_of_a_picture(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg")
    segment = b"Exif\0\0" + exif(b"+02:00\0")
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment + data[2:])
    assert probe(path, "image", "20200101T000000.jpg").captured == AT - 7200
    assert captured.from_exif(exif()) == AT


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_make_the_parsers_fail(noise: bytes, at: int) -> None:
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b""):
        read_header(start + noise)
    good = exif(b"+02:00\0")
    captured.from_exif(good[:at] + noise + good[at + len(noise) :])
    captured.from_exif(noise)
    sniff(noise, "a.ppm")
