"""Series out of files: what a row is, what it lacks, and one clear line for what cannot be read.

1. The same numbers come out of CSV and WAV as went in, whatever the delimiter, header or format.
2. What a row lacks is NaN, and the rows after it keep their numbers.
3. What a file claims is held against what it is; nothing is read in one piece.
"""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshinfer.errors import MediaError
from meshinfer.media.examine import examine
from meshinfer.media.holding import Holding
from meshinfer.media.scan import Seen
from meshinfer.media.series import Series, Survey, series_format, survey
from meshinfer.media.source import SourceSpec
from meshinfer.model.catalog import Entry, Unreadable

VALUES = np.random.default_rng(5).normal(size=(40, 2)).astype(np.float32)


def put(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]  # of any numbers
    """All samples, and the time of each."""
    series = Series(path)
    rows, times = [], []
    try:
        while (found := series.look(1, series.rate)) is not None:
            rows.append(found[0][0].copy())
            times.append(found[1])
            series.skip(series.next + 1, lambda: False)
    finally:
        series.close()
    return np.array(rows), np.array(times)


def rows(delimiter: str = ",", comma: bool = False, time: bool = True) -> str:
    lines = []
    for i, (a, b) in enumerate(VALUES.tolist()):
        fields = [f"{a:.7g}", f"{b:.7g}"]
        line = delimiter.join([f"{i / 50:.2f}", *fields] if time else fields)
        lines.append(line.replace(".", ",") if comma else line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "channels", "rate"),
    [
        ("time,vib,temp\n" + rows(), ("vib", "temp"), 50.0),
        ("\ufeff# a logger\n\nt;vib;temp\r\n" + rows(";", comma=True).replace("\n", "\r\n"), ("vib", "temp"), 50.0),
        ("vib\ttemp\n" + rows("\t", time=False), ("vib", "temp"), 0.0),
        (rows(time=False), ("col1", "col2"), 0.0),
        (rows(time=False)[:-1], ("col1", "col2"), 0.0),
        (rows(";", comma=True, time=False), ("col1", "col2"), 0.0),
        ("vib,vib\n" + rows(time=False), ("vib", "vib#2"), 0.0),
    ],
)
def test_tables_in_the_forms_that_loggers_write(
    tmp_path: Path, text: str, channels: tuple[str, ...], rate: float
) -> None:
    path = put(tmp_path / "a.csv", text)
    opened = Series(path)
    opened.close()
    assert opened.channels == channels
    found = survey(path)
    assert (found.channels, found.samples, round(found.rate, 3)) == (2, 40, rate)
    values, times = read(path)
    np.testing.assert_allclose(values, VALUES, rtol=1e-5)
    assert times.tolist() == ([i / 50 for i in range(40)] if rate else [0.0] * 40)


@pytest.mark.parametrize("stamp", ["2026-11-20T08:00:{:06.3f}", "2026-11-20 09:00:{:06.3f}+01:00", "17951616{:06.3f}"])
def test_a_column_of_moments_tells_the_rate_and_the_capture_time(tmp_path: Path, stamp: str) -> None:
    lines = [f"{stamp.format(i / 10)},{i}" for i in range(30)]
    found = survey(put(tmp_path / "a.csv", "timestamp,x\n" + "\n".join(lines)))
    assert (found.channels, found.samples, round(found.rate, 3)) == (1, 30, 10.0)
    assert found.captured == 1795161600.0


def test_what_a_row_lacks_is_missing_and_the_rest_keeps_its_numbers(tmp_path: Path) -> None:
    text = "time,a,b\n0,0,0\n1,,1\n2,2,nan\n3,3\n4,4,4,4\n5,five,5\n\n6,6,inf\n7,7,7\nx,8,8\n9,9,9\n10,1e300,10\n"
    values, times = read(put(tmp_path / "a.csv", text))
    known = [[0, 0], [None, 1], [2, None], 2 * [None], 2 * [None], [None, 5], [6, None], [7, 7], 2 * [None], [9, 9]]
    nan = np.array([[np.nan if v is None else v for v in row] for row in [*known, [None, 10]]], np.float32)
    # The rows after one without a time follow a gap: they are missing as well.
    for row in (5, 9):
        nan[row] = np.nan
    np.testing.assert_array_equal(values, nan)
    assert times[7] == 7.0


def test_a_jump_in_time_is_a_missing_row(tmp_path: Path) -> None:
    stamps = [*range(10), *range(30, 40), *range(35, 40)]
    values, times = read(put(tmp_path / "a.csv", "t,x\n" + "".join(f"{t},{t}\n" for t in stamps)))
    assert np.flatnonzero(np.isnan(values[:, 0])).tolist() == [10, 20]
    assert times.tolist() == stamps


def test_coarse_stamps_are_no_jumps(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "t,x\n" + "".join(f"{i // 10},{i}\n" for i in range(1200)))
    assert round(survey(path).rate, 1) == 10.0
    assert not np.isnan(read(path)[0]).any()


def wav(data: bytes, codec: int = 1, channels: int = 2, bits: int = 16, *, claimed: int | None = None) -> bytes:
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", codec, channels, 1000, 1000 * align, align, bits)
    size = len(data) if claimed is None else claimed
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"LIST\3\0\0\0abc\0data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def wide(values: np.ndarray) -> bytes:  # type: ignore[type-arg]  # of any numbers
    """24-bit samples."""
    return b"".join(int(v).to_bytes(3, "little", signed=True) for v in np.round(values * 2**23).ravel())


SOUND = np.clip(VALUES / 5, -0.99, 0.99)


@pytest.mark.parametrize(
    ("data", "codec", "bits", "error"),
    [
        ((np.round(SOUND * 128) + 128).astype(np.uint8).tobytes(), 1, 8, 2**-8),
        (np.round(SOUND * 2**15).astype("<i2").tobytes(), 1, 16, 2**-16),
        (wide(SOUND), 1, 24, 2**-23),
        (np.round(SOUND.astype(float) * 2**31).astype("<i4").tobytes(), 1, 32, 2**-23),
        (SOUND.astype("<f4").tobytes(), 3, 32, 0.0),
        (SOUND.astype("<f8").tobytes(), 3, 64, 0.0),
    ],
)
def test_wav_in_every_width(tmp_path: Path, data: bytes, codec: int, bits: int, error: float) -> None:
    path = put(tmp_path / "a.wav", wav(data, codec, bits=bits))
    assert survey(path) == Survey(2, 40, 1000.0, 0.04, None)
    values, times = read(path)
    np.testing.assert_allclose(values, SOUND, rtol=0, atol=error)
    np.testing.assert_allclose(times, np.arange(40) / 1000)


def test_a_wav_is_as_long_as_its_file(tmp_path: Path) -> None:
    data = np.zeros((40, 2), "<i2").tobytes()
    assert survey(put(tmp_path / "a.wav", wav(data, claimed=0xFFFFFFFF))).samples == 40
    assert survey(put(tmp_path / "b.wav", wav(data, claimed=0))).samples == 40
    path = put(tmp_path / "c.wav", wav(data[:-6], claimed=0x7FFFFFFF))
    assert survey(path).samples == 38
    series = Series(path)
    assert series.look(39, 1.0) is None
    series.close()
    assert series.shortfall() == "only 38 of 536870911 samples are there: the file is cut off or damaged"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (wav(b"\0" * 64, 2, bits=4), "a WAV of ADPCM, 4 bits: only PCM and float are read"),
        (wav(b"\0" * 64, 0x55, bits=16), "a WAV of MP3"),
        (wav(b"\0" * 64, channels=0), "its header makes no sense: 0 channels"),
        (wav(b"\0" * 64, channels=300), "300 channels"),
        (wav(b""), "no sample in it"),
        (b"RIFF\x04\0\0\0WAVE", "a WAV without data"),
        (b"RIFF\x04\0\0\0WAVEfmt \xff\xff\xff\xff", "a WAV whose format is cut off"),
        (b"RIFF\x04\0\0\0WAVE" + b"LIST\0\0\0\0" * 1000, "a WAV without data"),
        (b"RIFF\x04\0\0\0WAVEdata\4\0\0\0abcd", "a WAV whose data comes before its format"),
        (b"time,a\n" + b"1," + b"9" * 70_000, "line 2 is longer than 16384 bytes"),
        (b"a,b\n1,2\n" + b"\n" * 30_000 + b"3,4\n", "10000 empty lines"),
        (b"a,b,c\n" + b"1,2\n" * 50, "no row has the 3 columns of its first line"),
        (b",".join([b"1"] * 2000), "has 2000 columns"),
        (b",".join([b"1"] * 300), "has 300 columns of numbers; 1 to 256 can be read"),
        (b"time\n1\n2\n", "has 0 columns of numbers"),
        (b"\0\1\2\3", "no series of a known format"),
    ],
)
def test_what_is_refused_says_why(tmp_path: Path, data: bytes, says: str) -> None:
    path = put(tmp_path / "a.bin", data)
    with pytest.raises(MediaError) as caught:
        survey(path)
    assert says in str(caught.value)


def test_what_lines_hold_is_bounded(tmp_path: Path) -> None:
    """Lines as long as they may be, and far more of them than are held at a time."""
    row = b",".join([b"1.2345678901234567"] * 200) + b"\n"
    found = survey(put(tmp_path / "a.csv", row * 3000))
    assert (found.channels, found.samples) == (200, 3000)


def test_parquet_needs_pyarrow(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(MediaError, match=r"needs pyarrow: pip install 'meshinfer\[parquet\]'"):
            survey(put(path, b"PAR1" + b"\0" * 100))
        return
    import pyarrow
    import pyarrow.parquet

    columns = {"time": np.arange(40) / 50, "vib": VALUES[:, 0], "temp": VALUES[:, 1], "note": ["x"] * 40}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    found = survey(path)
    assert (found.channels, found.samples, round(found.rate, 3)) == (2, 40, 50.0)
    np.testing.assert_array_equal(read(path)[0], VALUES)


def look_at(path: Path, **spec: object) -> Entry | Unreadable | None:
    source = SourceSpec("s", path.parent, **spec)  # type: ignore[arg-type]  # as given
    return examine(source, path.name, see(path), lambda: None).what


def see(path: Path) -> Seen:
    info = path.stat()
    return Seen(info.st_size, info.st_mtime_ns)


def test_series_are_read_only_where_a_source_says_so(tmp_path: Path) -> None:
    table = put(tmp_path / "20261120T080000.csv", rows(time=False))
    sound = put(tmp_path / "a.wav", wav(SOUND.astype("<f4").tobytes(), 3, bits=32))
    for path in (table, sound):
        assert look_at(path) is None
        assert look_at(path, kind="video") is None
    entry = look_at(table, kind="series")
    assert isinstance(entry, Entry)
    assert (entry.kind, entry.width, entry.height, entry.frames, entry.fps) == ("series", 1, 2, 40, 0.0)
    assert entry.captured == 1795161600.0
    other = look_at(sound, kind="series")
    assert isinstance(other, Entry)
    assert (other.frames, other.fps, other.duration) == (40, 1000.0, 0.04)
    assert look_at(put(tmp_path / "README.md", "what this is\n"), kind="series") is None
    broken = look_at(put(tmp_path / "b.csv", "what this is\n"), kind="series")
    assert isinstance(broken, Unreadable)
    assert broken.reason == "no series of a known format"


@pytest.mark.parametrize(("label", "rate"), [("20", 20.0), ("0", 0.0), ("-1", 0.0), ("nan", 0.0), ("often", 0.0)])
def test_a_label_tells_the_rate_where_the_file_does_not(tmp_path: Path, label: str, rate: float) -> None:
    spec = SourceSpec("s", tmp_path, {"rate": label}, "series")
    put(tmp_path / "a.csv", rows(time=False))
    put(tmp_path / "b.csv", "time,a,b\n" + rows())
    holding = Holding(spec, {"site": "north"}, 0.0)
    seen = {
        name: holding.label(examine(spec, name, see(tmp_path / name), lambda: None)).what for name in ("a.csv", "b.csv")
    }
    told, known = seen["a.csv"], seen["b.csv"]
    assert isinstance(told, Entry)
    assert isinstance(known, Entry)
    assert (told.fps, told.duration, told.labels) == (
        rate,
        40 / rate if rate else 0.0,
        {"site": "north", "rate": label},
    )
    assert (known.fps, known.duration) == (50.0, 0.8)


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_no_bytes_make_the_readers_fail(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    for start in (b"RIFF\0\0\0\0WAVE", wav(b"")[:50], b"time,a\n1,2\n", b"1;2\n3;4\n", b""):
        series_format(start + noise)
        path.write_bytes(start + noise)
        try:
            found = survey(path)
        except MediaError:
            continue
        assert found.samples == len(read(path)[0]) >= 1
