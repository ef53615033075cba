"""Walking a source: what is listed, what is passed over, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshinfer.errors import ConfigError
from meshinfer.media.scan import MAX_DEPTH, walk
from meshinfer.media.source import SourceSpec, check_sources

root_reads_everything = pytest.mark.skipif(os.geteuid() == 0, reason="root is not held up by permissions")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dock"
    folder.mkdir()
    return folder


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def spec(folder: Path) -> SourceSpec:
    return SourceSpec("dock", folder)


def reasons(folder: Path) -> dict[str, str]:
    return {name: row.reason for name, row in walk(spec(folder)).refused.items()}


def test_names_below_the_source_in_order(folder: Path) -> None:
    put(folder, "b.mp4", "a/z.jpg", "a/b/c.mp4", "ä ö.mp4")
    found = walk(spec(folder))
    assert list(found.files) == ["a/b/c.mp4", "a/z.jpg", "b.mp4", "ä ö.mp4"]
    assert found.files["b.mp4"].size == 1
    assert (found.refused, found.whole) == ({}, True)


def test_hidden_and_unfinished_files_are_passed_over(folder: Path) -> None:
    put(folder, ".hidden.mp4", ".git/a.mp4", "a.mp4.part", "b.TMP", "c.mp4~", "d.mp4.crdownload", "kept.mp4")
    assert list(walk(spec(folder)).files) == ["kept.mp4"]
    assert reasons(folder) == {}


def test_links(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "secret.mp4")
    put(folder, "real/a.mp4", ".store/b.mp4")
    (folder / "inside.mp4").symlink_to("real/a.mp4")
    (folder / "annexed.mp4").symlink_to(".store/b.mp4")
    (folder / "again").symlink_to("real")
    (folder / "circle").symlink_to(".")
    (folder / "real" / "up").symlink_to("..")
    (folder / "out.mp4").symlink_to(tmp_path / "elsewhere" / "secret.mp4")
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "dotdot.mp4").symlink_to("../elsewhere/secret.mp4")
    (folder / "nothing.mp4").symlink_to("gone.mp4")
    (folder / "self.mp4").symlink_to("self.mp4")
    assert list(walk(spec(folder)).files) == ["annexed.mp4", "inside.mp4", "real/a.mp4"]
    found = reasons(folder)
    leaves = "a link that leads out of the source"
    assert {n for n, reason in found.items() if reason == leaves} == {"out.mp4", "out", "dotdot.mp4"}
    assert {n for n, reason in found.items() if reason.startswith("cannot be read: ")} == {"nothing.mp4", "self.mp4"}
    assert len(found) == 5


def test_a_neighbour_whose_name_begins_alike_is_outside(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "dock-private", "a.mp4")
    (folder / "a.mp4").symlink_to(tmp_path / "dock-private" / "a.mp4")
    assert reasons(folder) == {"a.mp4": "a link that leads out of the source"}
    assert spec(folder).locate("a.mp4") is None
    assert spec(folder).locate("../dock-private/a.mp4") is None
    assert spec(folder).locate("a\0b") is None


def test_a_source_that_is_itself_a_link(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.mp4")
    (tmp_path / "link").symlink_to(folder)
    linked = spec(tmp_path / "link")
    assert list(walk(linked).files) == ["a.mp4"]
    assert linked.locate("a.mp4") == (folder / "a.mp4").resolve()


def test_a_single_file(folder: Path) -> None:
    put(folder, "a.mp4", "b.mp4")
    single = spec(folder / "a.mp4")
    assert list(walk(single).files) == ["a.mp4"]
    assert single.locate("a.mp4") == (folder / "a.mp4").resolve()


def test_names_that_are_no_text(folder: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert walk(spec(folder)).files == {}
    assert list(reasons(folder)) == ["caf\\xe9.mp4"]


def test_names_that_are_too_long(folder: Path) -> None:
    put(folder, "/".join(["d" * 200] * 6) + "/a.mp4")
    assert walk(spec(folder)).files == {}
    assert [len(name) for name in reasons(folder)] == [1024]


def test_bounds(folder: Path) -> None:
    put(folder, "/".join(["d"] * (MAX_DEPTH + 1)) + "/a.mp4", "e1", "e2", "e3", "e/f/1", "e/f/2")
    assert f"deeper than {MAX_DEPTH} folders" in reasons(folder).values()
    found = walk(spec(folder), max_files=2)
    assert list(found.files) == ["e/f/1", "e/f/2"]
    assert found.refused["."].reason == "more than 2 files: the rest is not read"


def test_devices_and_sockets_are_no_files(folder: Path) -> None:
    os.mkfifo(folder / "pipe.mp4")
    assert walk(spec(folder)) == ({}, {}, True)


def test_a_source_that_went_away(folder: Path) -> None:
    folder.rmdir()
    found = walk(spec(folder))
    assert not found.whole
    assert found.refused["."].reason.startswith("the source cannot be read: No such file")


@root_reads_everything
def test_a_folder_without_permission(folder: Path) -> None:
    put(folder, "closed/a.mp4", "b.mp4")
    (folder / "closed").chmod(0)
    try:
        assert list(walk(spec(folder)).files) == ["b.mp4"]
        assert reasons(folder) == {"closed": "cannot be read: Permission denied"}
    finally:
        (folder / "closed").chmod(0o700)


def test_sources_that_are_refused(folder: Path, tmp_path: Path) -> None:
    check_sources((spec(folder),))
    with pytest.raises(ConfigError, match="two sources are called dock"):
        check_sources((spec(folder), spec(folder)))
    with pytest.raises(ConfigError, match=r"source dock: there is no .*nowhere; check the path"):
        check_sources((spec(tmp_path / "nowhere"),))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="neither a folder nor a file"):
        check_sources((spec(tmp_path / "pipe"),))
