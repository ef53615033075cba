"""Which frames are analysed. The rules:

1. Indexes only grow; the first frame is always one of them.
2. Resuming at any frame gives exactly what would have followed.
3. `fps: R` gives at most R frames in any second, and the first frame at or after each multiple of 1/R.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.media.sampling import is_sampled
from meshinfer.model.job import Sample

SAMPLES = st.one_of(
    st.just(Sample()),
    st.builds(lambda n: Sample(every=n), st.integers(1, 50)),
    st.builds(lambda r: Sample(fps=r), st.floats(0.05, 100)),
)
STEPS = st.lists(st.floats(0.001, 3), min_size=1, max_size=200)


def chosen(sample: Sample, times: list[float], start: int = 0) -> list[int]:
    before = [-1.0, *times]
    return [i for i, t in enumerate(times) if i >= start and is_sampled(sample, i, t, before[i])]


def times_of(steps: list[float]) -> list[float]:
    times, t = [0.0], 0.0
    for step in steps:
        t += step
        times.append(t)
    return times


@given(SAMPLES, STEPS, st.integers(0, 200))
def test_a_resumed_video_gives_the_tail(sample: Sample, steps: list[float], start: int) -> None:
    times = times_of(steps)
    whole = chosen(sample, times)
    assert whole[0] == 0
    assert chosen(sample, times, start) == [i for i in whole if i >= start]


@given(st.floats(0.05, 100), STEPS)
def test_fps_takes_the_first_frame_at_or_after_each_multiple(rate: float, steps: list[float]) -> None:
    times = times_of(steps)
    taken = chosen(Sample(fps=rate), times)
    for a, b in pairwise(taken):
        # A multiple lies after a's predecessor up to a, and another one up to b: never two frames for one multiple.
        assert int(times[a] * rate + 1e-6) < int(times[b] * rate + 1e-6)
        assert all(int(times[i] * rate + 1e-6) == int(times[a] * rate + 1e-6) for i in range(a, b))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (Sample(), list(range(30))),
        (Sample(every=1), list(range(30))),
        (Sample(every=7), [0, 7, 14, 21, 28]),
        (Sample(fps=2), [0, 5, 10, 15, 20, 25]),
        (Sample(fps=3), [0, 4, 7, 10, 14, 17, 20, 24, 27]),
        (Sample(fps=10), list(range(30))),
        (Sample(fps=25), list(range(30))),
        (Sample(fps=0.5), [0, 20]),
    ],
)
def test_three_seconds_at_ten_frames_a_second(sample: Sample, expected: list[int]) -> None:
    assert chosen(sample, [i / 10 for i in range(30)]) == expected
