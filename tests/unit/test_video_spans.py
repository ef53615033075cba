"""Spans of a video, with real decoding. The promises:

1. Whatever the cuts, the order of the spans and what is kept open between them: together they are the whole file.
2. Spans read one after another decode each frame once.
3. A file that is cut off gives every span what is there, and says what is missing; one without any frame fails each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshinfer.errors import MediaError
from meshinfer.media import video as module
from meshinfer.media.frames import Videos, open_frames
from meshinfer.model.job import Sample
from tests.unit.footage import grey, write_video

FRAMES = 60
SAMPLES = [Sample(), Sample(every=7), Sample(fps=3), Sample(fps=0.4)]
Seen = list[tuple[int, float, int]]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("footage") / "v.avi", FRAMES)


@pytest.fixture
def videos() -> Iterator[Videos]:
    videos = Videos()
    yield videos
    videos.close()


@pytest.fixture
def grabs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames that were decoded, by number."""
    numbers: list[int] = []
    grab: Callable[[module.Video], bool] = module.Video._grab

    def counted(self: module.Video) -> bool:
        numbers.append(self.next)
        return grab(self)

    monkeypatch.setattr(module.Video, "_grab", counted)
    return numbers


def read(
    path: Path,
    first: int = 0,
    stop: int | None = None,
    *,
    sample: Sample = SAMPLES[0],
    videos: Videos | None = None,
) -> tuple[Seen, str]:
    with open_frames(path, "video", sample, first, stop, videos=videos) as frames:
        seen = [(f.index, f.t, int(f.image.mean())) for f in frames]
    return seen, frames.truncated


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int | None]]:
    """Of the whole file and beyond its end, in any order."""
    cuts = sorted(draw(st.sets(st.integers(1, FRAMES + 9), max_size=6)))
    bounds = list(zip([0, *cuts], [*cuts, None], strict=True))
    return draw(st.permutations(bounds))


@pytest.mark.parametrize("sample", SAMPLES)
@given(order=spans(), keeps=st.booleans(), back=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_spans_are_the_whole(
    video: Path, sample: Sample, order: list[tuple[int, int | None]], keeps: bool, back: int
) -> None:
    whole, _ = read(video, sample=sample)
    assert all(level == grey(index) for index, _, level in whole)
    videos = Videos() if keeps else None
    parts = {}
    for first, stop in order:
        parts[first], truncated = read(video, first, stop, sample=sample, videos=videos)
        assert truncated == ""
        middle = max(first, (FRAMES if stop is None else stop) - back)  # resumed there
        assert read(video, middle, stop, sample=sample, videos=videos)[0] == [f for f in parts[first] if f[0] >= middle]
    if videos is not None:
        videos.close()
    assert [frame for first in sorted(parts) for frame in parts[first]] == whole


def test_one_span_after_the_other_decodes_each_frame_once(video: Path, videos: Videos, grabs: list[int]) -> None:
    for first in range(0, FRAMES, 10):
        read(video, first, first + 10, videos=videos)
    assert grabs == list(range(FRAMES))
    grabs.clear()
    read(video, 20, 30, videos=videos)
    assert grabs == list(range(30)), "what has been passed is read from the start again"
    grabs.clear()
    read(video, 40, 50, videos=videos)
    assert grabs == list(range(30, 50)), "a gap is passed over from where it is"


def test_jobs_in_turn_each_read_on(video: Path, videos: Videos, grabs: list[int], tmp_path: Path) -> None:
    other = write_video(tmp_path / "w.avi", FRAMES)
    for first in range(0, FRAMES, 10):
        for path in (video, other, video):
            read(path, first, first + 10, videos=videos)
    assert len(grabs) == 3 * FRAMES


def test_a_file_that_has_changed_is_opened_anew(video: Path, videos: Videos, tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    os.link(write_video(tmp_path / "long.avi", 30), path)
    assert len(read(path, 0, 10, videos=videos)[0]) == 10
    path.unlink()
    os.link(write_video(tmp_path / "short.avi", 15), path)
    assert [index for index, _, _ in read(path, 10, None, videos=videos)[0]] == list(range(10, 15))
    path.unlink()
    with pytest.raises(MediaError, match="No such file"):
        read(path, 15, None, videos=videos)


def test_no_more_are_kept_than_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, videos: Videos) -> None:
    closed: list[str] = []
    monkeypatch.setattr(module.Video, "close", lambda self: closed.append(self.version.path.name))
    for n in range(module.KEPT + 1):
        read(write_video(tmp_path / f"{n}.avi", 3), 0, 1, videos=videos)
    assert closed == ["0.avi"], "the longest unused"
    assert len(videos) == module.KEPT
    videos.close()
    assert len(videos) == 0


@pytest.mark.parametrize("keeps", [False, True])
def test_a_cut_off_file(tmp_path: Path, videos: Videos, keeps: bool) -> None:
    path = write_video(tmp_path / "v.avi", FRAMES, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    whole, says = read(path)
    assert 20 <= len(whole) <= 45
    assert says == f"only {len(whole)} of {FRAMES} frames can be decoded: the file is cut off or damaged"
    kept = videos if keeps else None
    assert read(path, 0, 10, videos=kept) == (whole[:10], ""), "nothing is missing from this one"
    assert read(path, 10, 50, videos=kept) == (whole[10:], says)
    assert read(path, 50, None, videos=kept) == ([], says)


def test_a_file_without_frames_fails_each_span(tmp_path: Path, videos: Videos) -> None:
    path = write_video(tmp_path / "v.avi", 10, codec="MJPG")
    data = bytearray(path.read_bytes())
    at = data.index(b"movi") + 4
    data[at : data.index(b"idx1")] = bytes(data.index(b"idx1") - at)
    path.write_bytes(data)
    for first, stop in ((0, 5), (5, None)):
        with pytest.raises(MediaError, match="no frame in it can be decoded"):
            read(path, first, stop, videos=videos)
