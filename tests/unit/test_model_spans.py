"""Where videos are cut. The rules:

1. Every frame, also one that the container did not promise, is in exactly one span.
2. No span analyses next to nothing, and there are not too many; nothing shorter than a span is cut.
3. The cut depends on the job's sampling and on what the container says, and on nothing else.
4. What the spans are expected to give adds up to what the whole is, which is what sampling takes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshinfer.media.sampling import is_sampled
from meshinfer.model.catalog import Entry
from meshinfer.model.ids import ContentId
from meshinfer.model.job import JobSpec, Limits, Sample
from meshinfer.model.spans import FEWEST_SAMPLED, MAX_SPANS, SPAN_SECONDS, WHOLE, Cut, cut, frames_expected

SAMPLES = st.one_of(
    st.just(Sample()),
    st.builds(lambda n: Sample(every=n), st.integers(1, 1_000_000)),
    st.builds(lambda r: Sample(fps=r), st.floats(0.001, 1000)),
)


def video(frames: int, fps: float = 25.0, **changes: Any) -> Entry:
    return Entry(
        ContentId("c" * 32), "cam", "a.mp4", "video", {}, 1, 8, 8, frames, fps, frames / (fps or 25), **changes
    )


VIDEOS = st.builds(video, st.integers(0, 2**40), st.one_of(st.just(0.0), st.floats(0.01, 1000)))


@given(SAMPLES, VIDEOS)
def test_every_frame_is_in_one_span(sample: Sample, entry: Entry) -> None:
    made = cut(JobSpec("m", sample=sample), entry)
    assert 1 <= made.spans <= MAX_SPANS
    ends = sorted({*range(min(made.spans, 50)), *range(max(0, made.spans - 50), made.spans)})
    assert made.bounds(0)[0] == 0
    assert all(made.bounds(a)[1] == made.bounds(b)[0] for a, b in pairwise(ends) if b == a + 1)
    first, stop = made.bounds(made.spans - 1)
    assert stop is None, "the last one goes to the end, wherever that is"
    assert first < max(1, entry.frames), "and holds something"
    assert made == cut(JobSpec("n", name="x", sample=sample), video(entry.frames, entry.fps, captured=5.0))


@given(SAMPLES, VIDEOS)
def test_spans_are_worth_their_while(sample: Sample, entry: Entry) -> None:
    spec = JobSpec("m", sample=sample)
    made = cut(spec, entry)
    if made == WHOLE:
        return
    fps = entry.fps if 1 <= entry.fps <= 240 else 25.0
    assert made.length >= SPAN_SECONDS * fps
    stride = max(1.0, fps / sample.fps) if sample.fps else 1 if sample.every == "frame" else sample.every
    assert made.length / stride >= FEWEST_SAMPLED - 1e-6
    last = entry.frames - made.bounds(made.spans - 1)[0]
    assert (made.length - 1) / 2 <= last < 1.5 * made.length


@given(SAMPLES, VIDEOS)
def test_what_is_expected_adds_up(sample: Sample, entry: Entry) -> None:
    spec = JobSpec("m", sample=sample)
    made = cut(spec, entry)
    some = range(made.spans) if made.spans <= 200 else range(0)
    if some:
        assert sum(frames_expected(spec, entry, *made.bounds(n)) for n in some) == frames_expected(spec, entry)


@given(
    st.one_of(
        st.builds(lambda n: Sample(every=n), st.integers(1, 50)), st.builds(lambda r: Sample(fps=r), st.floats(0.1, 60))
    ),
    st.integers(0, 300),
    st.sampled_from([1.0, 10.0, 12.5, 25.0, 29.97, 30.0]),
    st.integers(0, 300),
)
def test_what_is_expected_is_what_sampling_takes(sample: Sample, frames: int, fps: float, at: int) -> None:
    taken = [i for i in range(frames) if is_sampled(sample, i, i / fps, (i - 1) / fps)]
    spec, entry = JobSpec("m", sample=sample), video(frames, fps)
    assert frames_expected(spec, entry) == len(taken)
    assert frames_expected(spec, entry, 0, at) == sum(i < at for i in taken)
    assert frames_expected(spec, entry, at, None) == sum(i >= at for i in taken)


@pytest.mark.parametrize(
    ("entry", "spec", "expected"),
    [
        (video(90_000), {}, Cut(120, 750)),
        (video(90_374), {}, Cut(120, 750)),  # no span of next to nothing at the end
        (video(90_375), {}, Cut(121, 750)),
        (video(1124), {}, WHOLE),
        (video(1125), {}, Cut(2, 750)),
        (video(90_000, 0.0), {}, Cut(120, 750)),  # no rate: the usual one
        (video(0), {}, WHOLE),
        (video(90_000), {"sample": Sample(fps=2)}, Cut(113, 800)),  # 64 frames at 2 a second
        (video(90_000), {"sample": Sample(every=25 * 60)}, WHOLE),  # one frame a minute
        (video(90_000), {"limits": Limits(frames=100)}, WHOLE),
        (video(2**40), {}, Cut(10_000, 109951163)),
    ],
)
def test_cuts(entry: Entry, spec: dict[str, Any], expected: Cut) -> None:
    assert cut(JobSpec("m", **spec), entry) == expected


def test_an_image_is_never_cut() -> None:
    image = Entry(ContentId("c" * 32), "cam", "a.jpg", "image", {}, 1, 8, 8, 1, 0.0, 0.0)
    assert cut(JobSpec("m"), image) == WHOLE
    assert WHOLE.bounds(0) == (0, None)
