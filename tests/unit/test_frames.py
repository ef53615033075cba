"""Frames out of files: exact, resumable, and one clear line for what cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshinfer.errors import MediaError
from meshinfer.media.frames import open_frames, read_frame
from meshinfer.model.job import Sample
from tests.unit.footage import grey, write_image, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("footage") / "v.avi", 40)


Seen = list[tuple[int, float, int]]


def read(path: Path, sample: Sample, first: int = 0, stop: int | None = None, **more: Any) -> Seen:
    """Index, time and brightness of each."""
    with open_frames(path, "video", sample, first, stop, **more) as frames:
        return [(f.index, round(f.t, 3), int(f.image.mean())) for f in frames]


def test_every_frame_in_order(video: Path) -> None:
    seen = read(video, Sample())
    assert [index for index, _, _ in seen] == list(range(40))
    assert [t for _, t, _ in seen] == [i / 10 for i in range(40)]
    assert all(level == grey(index) for index, _, level in seen)


@pytest.mark.parametrize("sample", [Sample(), Sample(every=3), Sample(fps=4)])
@pytest.mark.parametrize("start", [1, 17, 39, 40])
def test_resuming_gives_the_tail(video: Path, sample: Sample, start: int) -> None:
    assert read(video, sample, start) == [f for f in read(video, sample) if f[0] >= start]


def test_no_more_than_asked_for(video: Path) -> None:
    assert [f[0] for f in read(video, Sample(every=5), 7, most=2)] == [10, 15]
    assert read(video, Sample(), most=0) == []


def test_stopping_ends_a_long_skip(video: Path) -> None:
    asked = 0

    def halt() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with open_frames(video, "video", Sample(), 30, halt=halt) as frames:
        assert list(frames) == []
    assert frames.truncated == ""


def test_one_frame(video: Path, tmp_path: Path) -> None:
    assert int(read_frame(video, "video", 33).mean()) == grey(33)
    assert int(read_frame(write_image(tmp_path / "i.png", 77), "image", 0).mean()) == 77
    with pytest.raises(MediaError, match="no frame 40"):
        read_frame(video, "video", 40)


def test_an_image_is_one_frame(tmp_path: Path) -> None:
    path = write_image(tmp_path / "i.png", 123)
    with open_frames(path, "image", Sample(every=7)) as frames:
        (frame,) = frames
    assert (frame.index, frame.t, frame.image.shape, str(frame.image.dtype)) == (0, 0.0, (64, 64, 3), "uint8")
    with open_frames(path, "image", Sample(), 1) as frames:
        assert list(frames) == []


def test_a_cut_off_video_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", 60, codec="MJPG")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with open_frames(path, "video", Sample()) as frames:
        seen = [f.index for f in frames]
    assert seen == list(range(len(seen)))
    assert 20 <= len(seen) <= 45
    assert frames.truncated == f"only {len(seen)} of 60 frames can be decoded: the file is cut off or damaged"


def test_a_whole_video_is_not_reported(video: Path) -> None:
    with open_frames(video, "video", Sample()) as frames:
        assert len(list(frames)) == 40
    assert frames.truncated == ""


@pytest.mark.parametrize("kind", ["video", "image"])
def test_bad_files_are_one_line_and_quiet(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no media at all\n" * 100)
    # The index of an mp4 comes last: nothing of one that is cut off can be read.
    (tmp_path / "cut.mp4").write_bytes(write_video(tmp_path / "whole.mp4", 40, codec="mp4v").read_bytes()[:-300])
    for suffix in ("jpg", "png"):
        whole = write_image(tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, says in (
        ("empty", "is empty"),
        ("text", f"no {kind} that can be decoded"),
        ("cut.mp4", f"no {kind} that can be decoded"),
        ("cut.jpg", "no image that can be decoded" if kind == "image" else "no frame in it can be decoded"),
        ("cut.png", "no image that can be decoded" if kind == "image" else "no frame in it can be decoded"),
        ("absent", "No such file"),
        ("folder", "is no file"),
        ("pipe", "is no file"),
    ):
        with (
            pytest.raises(MediaError, match=f"^{name}: .*{says}") as caught,
            open_frames(tmp_path / name, kind, Sample()) as frames,  # type: ignore[arg-type]  # a Kind
        ):
            list(frames)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)  # what a peer tells others holds no path
    assert capfd.readouterr() == ("", "")


def test_a_picture_that_claims_too_many_pixels_is_not_decoded() -> None:
    """OpenCV reads its bound when it is first imported, which not only media does: nothing of ours comes before."""
    ask = (
        "import struct, meshinfer.detect.preprocess\n"
        "from meshinfer.media.frames import decode_image\n"
        "from meshinfer.errors import MediaError\n"
        "bmp = struct.pack('<2sIIIIiiHHIIiiII', b'BM', 154, 0, 54, 40, 16000, 10000, 1, 24, 0, 0, 0, 0, 0, 0)\n"
        "try: decode_image(bmp + bytes(100), 'big.bmp')\n"
        "except MediaError as e: print(e)\n"
    )
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=120, check=True).stdout
    assert said == "big.bmp: over 134217728 pixels: larger images are not read\n"
