"""The drawn world: the same by seed, its truth exact, its videos whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from meshinfer.demo import Found, Scene, Truth, footage, read_truth, render_video, score, truth_path
from meshinfer.demo.motion import PERIOD, Track, collide, footprint, route
from meshinfer.demo.render import site
from meshinfer.errors import MediaError

SEED = 900_500


def test_the_same_seed_draws_the_same_bytes() -> None:
    one, other = Scene(SEED, night=True), Scene(SEED, night=True)
    for time in (0.0, 12.3, 59.9):
        frame, truths = one.frame(time)
        again, same = other.frame(time)
        assert frame.tobytes() == again.tobytes()
        assert truths == same
    assert Scene(SEED + 1, night=True).frame(0.0)[0].tobytes() != one.frame(0.0)[0].tobytes()


def test_a_frame_does_not_depend_on_those_before() -> None:
    scene = Scene(SEED, night=False)
    first = scene.frame(30.0)[0].copy()
    scene.frame(2.0)
    assert np.array_equal(scene.frame(30.0)[0], first)


@pytest.mark.parametrize("night", [False, True])
def test_truth_boxes_lie_in_the_frame_and_are_counted_by_the_rule(night: bool) -> None:
    seen = {"person": 0, "vehicle": 0}
    for view in ("dock", "lot", "gate"):
        scene = Scene(SEED, night=night, view=view)
        for time in np.arange(0.0, PERIOD, 6.0):
            frame, truths = scene.frame(float(time))
            assert frame.shape == (360, 640, 3)
            assert frame.dtype == np.uint8
            for truth in truths:
                x0, y0, x1, y1 = truth.box
                assert 0 <= x0 < x1 <= 640
                assert 0 <= y0 < y1 <= 360
                assert 0.0 <= truth.visible <= 1.0
                assert truth.counted == (truth.visible >= 0.4 and x1 - x0 >= 10 and y1 - y0 >= 10)
                seen[truth.label] += truth.counted
    assert seen["person"] > 10
    assert seen["vehicle"] > 10


@pytest.mark.parametrize("night", [False, True])
def test_taking_a_mover_away_changes_the_picture_just_within_its_box(night: bool) -> None:
    scene = Scene(SEED, night=night, view="dock")
    everybody, checked = list(scene.movers), 0
    for time in np.arange(1.0, PERIOD, 5.0):
        frame, truths = scene.frame(float(time))
        for left_out in (mover for mover in everybody if mover.label == "person"):
            scene.movers = [mover for mover in everybody if mover is not left_out]
            without, rest = scene.frame(float(time))
            scene.movers = everybody
            gone = [truth for truth in truths if truth not in rest]
            # Only movers that hid nobody: taking them away leaves the other truths as they are.
            if len(gone) != 1 or len(rest) != len(truths) - 1 or gone[0].visible < 0.99:
                continue
            x0, y0, x1, y1 = (int(value) for value in gone[0].box)
            changed = cv2.absdiff(frame, without).max(axis=2) > 8
            # The upper third is above the shadow, which lies on the ground: nothing there may stick out of the box.
            rows, columns = np.nonzero(changed[: y0 + (y1 - y0) // 3])
            assert abs(int(rows.min()) - y0) <= 2
            assert columns.min() >= x0 - 2
            assert columns.max() <= x1 + 1
            across = np.flatnonzero(changed[y0:y1, x0:x1].any(axis=0))
            assert across[0] <= 2
            assert across[-1] >= x1 - x0 - 3
            checked += 1
    assert checked >= 8


def test_nobody_runs_into_anybody() -> None:
    scene = Scene(SEED, night=False)
    marks = [
        footprint(mover.track, getattr(mover.body, "length", 0.3), getattr(mover.body, "width", 0.5))
        for mover in scene.movers
    ]
    assert len(marks) > 4
    assert not any(collide(one, other) for index, one in enumerate(marks) for other in marks[:index])


def test_a_track_rests_at_its_stop_and_leaves_at_its_end() -> None:
    track = Track(route([(0.0, 0.0), (30.0, 0.0)]), start=0.0, speed=3.0, stops=[(15.0, 5.0)])
    times = np.arange(0.0, 30.0, 0.1)
    rows, present = track.sample(times)
    resting = np.abs(rows[:, 0] - 15.0) < 0.1
    assert 4.8 < 0.1 * np.count_nonzero(resting & present) < 6.5
    assert present[0]
    assert not present[-1]
    assert track.pose(29.0) is None


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "yard.mp4"
    render_video(path, Scene(SEED, night=False), seconds=2.0)
    return path


def test_a_rendered_video_has_a_truth_for_every_frame(clip: Path) -> None:
    reader = cv2.VideoCapture(str(clip))
    scene, truths, count = Scene(SEED, night=False), read_truth(truth_path(clip)), 0
    while True:
        there, frame = reader.read()
        if not there:
            break
        drawn, seen = scene.frame(count / 10.0)
        assert seen == truths[count]
        assert float(cv2.absdiff(frame, drawn).mean()) < 6.0
        count += 1
    assert count == len(truths) == 20
    assert sorted(path.name for path in clip.parent.iterdir()) == ["yard.mp4", "yard.truth.json"]


def test_footage_is_rendered_once_and_anew_when_stale(tmp_path: Path) -> None:
    paths = footage(tmp_path, seed=1, clips=2, seconds=0.5)
    assert len({path.name for path in paths}) == 2
    assert all(path.exists() for path in paths)
    first, second = (path.stat().st_mtime_ns for path in paths)
    truth_path(paths[1]).write_text(truth_path(paths[1]).read_text().replace('"version":1', '"version":0'))
    assert footage(tmp_path, seed=1, clips=2, seconds=0.5) == paths
    assert paths[0].stat().st_mtime_ns == first
    assert paths[1].stat().st_mtime_ns != second


def test_the_demos_sites_share_no_clip_and_keep_to_their_seeds() -> None:
    clips = [clip for number in range(1, 6) for clip in site(number, 4)]
    assert len(set(clips)) == len(clips) == 20
    assert all(1 <= clip.seed <= 999 for clip in clips)
    assert all(clip.start + 20 <= PERIOD for clip in clips)


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MediaError, match="cannot write"):
        footage(tmp_path / "file", seed=1, clips=1, seconds=0.2)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version":1}', '{"version":1,"frames":[[["person"]]]}', '{"version":7,"frames":[]}']
)
def test_a_broken_truth_file_is_explained(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.truth.json"
    path.write_text(text)
    with pytest.raises(MediaError, match="delete it to render it again"):
        read_truth(path)


def test_score_counts_found_missed_wrong_and_excused() -> None:
    """1. A truth is found once. 2. A second box on it is wrong. 3. The class must agree. 4. What is not asked for is
    neither missed nor wrong."""
    truths = [
        Truth("person", (0.0, 0.0, 20.0, 40.0)),
        Truth("vehicle", (100.0, 0.0, 200.0, 80.0)),
        Truth("vehicle", (300.0, 0.0, 400.0, 80.0), visible=0.2),
    ]
    found = [
        Found("person", 0.9, (1.0, 0.0, 20.0, 40.0)),
        Found("person", 0.8, (0.0, 2.0, 20.0, 40.0)),
        Found("person", 0.7, (100.0, 0.0, 200.0, 80.0)),
        Found("vehicle", 0.6, (300.0, 0.0, 400.0, 80.0)),
    ]
    result = score([found], [truths])
    assert (result.truths, result.found, result.wrong) == (2, 1, 2)
    assert result.recall == 0.5
    assert result.precision == pytest.approx(1 / 3)
    assert result.by_label["vehicle"].recall == 0.0
    assert result.by_label["vehicle"].precision == 1.0
    with pytest.raises(ValueError, match="frames"):
        score([], [truths])
