"""Windows of a series. The promises:

1. They are those of a naive loop over the whole array: at 0, hop, 2 hop, ..., whole ones, without missing values.
2. Spans, however they are cut and in whatever order they are read, give together what a single pass gives; so does a
   pass that is resumed behind any window.
3. What does not fit the model says so, and what would mend it.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshinfer.errors import MediaError
from meshinfer.media import series as module
from meshinfer.media.plot import LANE, MAX_LANES, WIDTH, plot
from meshinfer.media.video import Videos
from meshinfer.media.windows import Windows, read_window
from meshinfer.model.catalog import Entry
from meshinfer.model.detection import Detection
from meshinfer.model.ids import ContentId
from meshinfer.model.job import JobSpec, Sample
from meshinfer.model.series import SeriesInput
from meshinfer.model.spans import FEWEST_SAMPLES, MAX_SPANS, SPAN_SECONDS, cut, frames_expected

RATE, LONG = 100, 20_000
"""Samples: several pieces of what is read at a time."""

FORMS = ((64, 48), (50, 999))
Seen = list[tuple[int, float, bytes]]


def made() -> np.ndarray[Any, Any]:
    values = np.random.default_rng(7).normal(size=(LONG, 2)).astype(np.float32).round(3)
    values[[41, 8200, 8201, 12_345, LONG - 3], [0, 1, 0, 1, 0]] = np.nan
    return values


VALUES = made()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "a.csv"
    lines = (f"{i / RATE:.2f},{a},{b}\n".replace("nan", "") for i, (a, b) in enumerate(VALUES.tolist()))
    path.write_text("time,a,b\n" + "".join(lines))
    return path


def seen(path: Path, want: SeriesInput, *span: Any, **more: Any) -> Seen:
    with Windows(path, want, *span, **more) as windows:
        return [(w.index, round(w.t, 6), w.image.tobytes()) for w in windows]


def naive(size: int, hop: int) -> Seen:
    windows = ((start, VALUES[start : start + size].T.copy()) for start in range(0, LONG - size + 1, hop))
    return [(start, start / RATE, w.tobytes()) for start, w in windows if np.isfinite(w).all()]


@pytest.mark.parametrize(("size", "hop"), [(64, 64), (64, 16), (100, 333), (9000, 4000), (LONG - 50, 7), (LONG + 1, 1)])
def test_windows_are_those_of_a_naive_loop(table: Path, size: int, hop: int) -> None:
    assert seen(table, SeriesInput(size, hop, 2)) == naive(size, hop)


@pytest.mark.parametrize(("sample", "hop"), [(Sample(every=50), 50), (Sample(fps=2.0), 50), (Sample(fps=3.0), 34)])
def test_a_job_may_set_the_hop(table: Path, sample: Sample, hop: int) -> None:
    assert seen(table, SeriesInput(8000, 7, 2), sample) == naive(8000, hop)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, LONG - 1), max_size=4, unique=True), st.randoms(), st.sampled_from(FORMS))
def test_spans_give_together_what_a_single_pass_gives(table: Path, cuts: list[int], rng: Any, form: Any) -> None:
    size, hop = form
    spans = list(pairwise([0, *sorted(cuts), None]))
    rng.shuffle(spans)
    found: Seen = []
    videos = Videos()
    for first, stop in spans:
        found += seen(table, SeriesInput(size, hop, 2), Sample(), first, stop, videos=videos)
    videos.close()
    assert sorted(found) == naive(size, hop)


def test_spans_in_order_read_on(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is parsed or passed once: the file is not begun again for each span."""
    opened = []
    original = module._open
    monkeypatch.setattr(module, "_open", lambda path: opened.append(path) or original(path))
    videos = Videos()
    for first in range(0, LONG, 1000):
        seen(table, SeriesInput(64, 48, 2), Sample(), first, first + 1000, videos=videos)
    assert len(videos) == 1
    videos.close()
    assert opened == [table]


def test_resuming_gives_the_tail(table: Path) -> None:
    want = SeriesInput(500, 125, 2)
    whole = seen(table, want)
    for done in (0, 1, 40, len(whole) - 1):
        assert seen(table, want, Sample(), whole[done][0] + 1) == whole[done + 1 :]
    assert seen(table, want, most=3) == whole[:3]


def test_what_was_passed_over_is_told(table: Path) -> None:
    with Windows(table, SeriesInput(64, 64, 2)) as windows:
        found = len(list(windows))
    missing = LONG // 64 - found
    assert missing == 3
    assert windows.truncated == "3 windows passed over: values are missing in them, or time jumps"
    with Windows(table, SeriesInput(LONG + 1, 64, 2)) as windows:
        assert not list(windows)
    assert windows.truncated == f"shorter than a window of {LONG + 1} samples"
    with Windows(table, SeriesInput(64, 64, 2), halt=lambda: True) as windows:
        assert not list(windows)


def test_channels_are_taken_by_name(table: Path) -> None:
    (_, _, b), *_ = seen(table, SeriesInput(20, 20, 1, ("b",)))
    assert np.array_equal(np.frombuffer(b, np.float32), VALUES[:20, 1])
    (_, _, swapped), *_ = seen(table, SeriesInput(20, 20, 2, ("b", "a")))
    assert np.array_equal(np.frombuffer(swapped, np.float32).reshape(2, 20), VALUES[:20, ::-1].T)


def test_a_window_is_found_again_for_a_picture(table: Path) -> None:
    videos = Videos()
    for first, samples in ((30, 20), (12_340, 64), (8190, 3)):
        np.testing.assert_array_equal(
            read_window(table, first, samples, videos=videos), VALUES[first : first + samples]
        )
    videos.close()
    window = read_window(table, 30, 20)
    picture = plot(window, [Detection("fault", 0.9, (0.0, 0.0, 20.0, 2.0))])
    assert picture.shape == (2 * LANE, WIDTH, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20, "something is drawn"
    assert plot(np.full((5, 300), np.nan, np.float32), []).shape == (MAX_LANES * LANE, WIDTH, 3)
    with pytest.raises(MediaError, match="has no 64 samples from 19990 on"):
        read_window(table, LONG - 10, 64)


@pytest.mark.parametrize(
    ("want", "sample", "says"),
    [
        (SeriesInput(8, 8, 1), Sample(), "has 2 channels and the model looks at 1: name them in the model's sidecar"),
        (SeriesInput(8, 8, 1, ("c",)), Sample(), "has no column 'c' that the model looks at; it has a, b"),
        (SeriesInput(8, 8, 2, rate=50.0), Sample(), "sampled 100 times a second, and the model wants 50: resample"),
    ],
)
def test_what_does_not_fit_says_so(table: Path, want: SeriesInput, sample: Sample, says: str) -> None:
    with pytest.raises(MediaError) as caught:
        seen(table, want, sample)
    assert says in str(caught.value)


def test_a_series_without_a_rate_takes_the_one_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x\n" + "".join(f"{i}\n" for i in range(40)))
    times = [t for _, t, _ in seen(path, SeriesInput(4, 10, 1), rate=5.0)]
    assert times == [0.0, 2.0, 4.0, 6.0]
    assert [t for _, t, _ in seen(path, SeriesInput(4, 10, 1, rate=10.0))] == [0.0, 1.0, 2.0, 3.0]
    assert [t for _, t, _ in seen(path, SeriesInput(4, 10, 1))] == [0.0] * 4
    with pytest.raises(MediaError, match="a label rate=N"):
        seen(path, SeriesInput(4, 10, 1), Sample(fps=2.0))
    with pytest.raises(MediaError, match="the model wants 10"):
        seen(path, SeriesInput(4, 10, 1, rate=10.0), rate=5.0)


def series(samples: int, rate: float) -> Entry:
    return Entry(ContentId("c" * 32), "s", "a.csv", "series", {}, 1, 1, 2, samples, rate, 0.0)


@given(st.integers(0, 2**40), st.one_of(st.just(0.0), st.floats(1e-4, 1e6)), st.integers(1, 1_000_000))
def test_a_series_is_cut_into_spans_worth_their_while(samples: int, rate: float, every: int) -> None:
    """By the file alone: the job's hop is no part of it."""
    spec = JobSpec("m", sample=Sample(every=every))
    spans, length = made_ = cut(spec, series(samples, rate))
    assert made_ == cut(JobSpec("m"), series(samples, rate))
    assert spans == 1 or (length >= FEWEST_SAMPLES and length >= SPAN_SECONDS * rate and 1 < spans <= MAX_SPANS)
    assert spans > 1 or samples < 1.5 * max(FEWEST_SAMPLES, SPAN_SECONDS * rate) + 1
    assert frames_expected(spec, series(samples, rate)) == 0
