"""The catalog as the node uses it: real files, real threads; every wait is for what the catalog says."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BufferedReader
from pathlib import Path

import cv2
import numpy as np
import pytest
import trio

from meshinfer.errors import ConfigError
from meshinfer.media import examine as examining
from meshinfer.media.catalog import Catalog, CatalogChange
from meshinfer.media.hashing import content_id
from meshinfer.media.scan import walk
from meshinfer.media.source import SourceSpec
from meshinfer.model.ids import ContentId, hash_of
from meshinfer.store import Database, FileTable

LONG_AGO = 1_700_000_000
Key = tuple[str, str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dock"
    folder.mkdir()
    return folder


def jpeg(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def put(path: Path, data: bytes | None = None, *, age: int = 0) -> Path:
    """A file whose last change is `age` seconds before a day long ago: settled, unless the clock is set to that day."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg() if data is None else data)
    os.utime(path, (LONG_AGO - age, LONG_AGO - age))
    return path


class Watched:
    """A served catalog with all that it told."""

    def __init__(self, catalog: Catalog, changes: trio.MemoryReceiveChannel[CatalogChange]) -> None:
        self.catalog, self._changes = catalog, changes
        self.told: list[CatalogChange] = []

    async def until(self, true: Callable[[], bool]) -> None:
        with trio.fail_after(20):
            while not true():
                self.told.append(await self._changes.receive())

    async def scanned(self) -> None:
        """Everything that lies there has been looked at."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.drain)
            with trio.fail_after(20):
                await self.catalog.scanned.wait()
            nursery.cancel_scope.cancel()

    async def drain(self) -> None:
        async for change in self._changes:
            self.told.append(change)

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.catalog.snapshot()[0]]

    @property
    def reasons(self) -> dict[str, str]:
        return {name: row.reason for (_, name), row in self.catalog.snapshot()[1].items()}


@asynccontextmanager
async def served(catalog: Catalog) -> AsyncIterator[Watched]:
    send, receive = trio.open_memory_channel[CatalogChange](4)
    async with trio.open_nursery() as nursery:
        await nursery.start(catalog.serve, send)
        yield Watched(catalog, receive)
        nursery.cancel_scope.cancel()


def catalog_of(folder: Path, **settings: object) -> Catalog:
    defaults: dict[str, object] = {"settle": 0.0, "interval": 0.02}
    return Catalog([SourceSpec("dock", folder, {"site": "hamburg"})], **{**defaults, **settings})  # type: ignore[arg-type]  # whatever the test varies


async def test_a_folder_of_everything(folder: Path, assets: Path) -> None:
    video = (assets / "media" / "car-detection.mp4").read_bytes()
    put(folder / "2026-11-20" / "10-15-00.jpg")
    put(folder / "video-without-a-name", video)
    put(folder / "empty.mp4", b"")
    put(folder / "text.mp4", b"not a video")
    put(folder / "cut.jpg", jpeg()[:300])
    put(folder / "notes.txt", b"not footage")
    put(folder / "archive.zip", b"PK\x03\x04")
    async with served(catalog_of(folder, labels={"site": "?", "rack": "7"})) as watched:
        await watched.scanned()
        entries, _ = watched.catalog.snapshot()
        assert watched.names == ["2026-11-20/10-15-00.jpg", "video-without-a-name"]
        assert watched.reasons == {
            "cut.jpg": "cut off or damaged: the end of the image is missing",
            "empty.mp4": "is empty",
            "text.mp4": "no video of a known format",
        }
        image, film = entries.values()
        assert (image.kind, image.width, image.height, image.frames) == ("image", 32, 24, 1)
        assert (film.kind, film.frames, film.bytes) == ("video", 377, len(video))
        assert image.labels == film.labels == {"site": "hamburg", "rack": "7"}
        assert [e for change in watched.told for e in change.added].count(film) == 1
        found = watched.catalog.find(film.content)
        assert found == ((folder / "video-without-a-name").resolve(), film)


async def test_new_changed_and_removed_files(folder: Path) -> None:
    path = put(folder / "a.jpg", jpeg(1))
    async with served(catalog_of(folder)) as watched:
        await watched.until(lambda: watched.names == ["a.jpg"])
        first = watched.catalog.snapshot()[0]["dock", "a.jpg"].content
        put(folder / "b.jpg", jpeg(2))
        await watched.until(lambda: watched.names == ["a.jpg", "b.jpg"])
        watched.told.clear()
        put(path, jpeg(3), age=1)
        await watched.until(lambda: any(e.content != first for change in watched.told for e in change.added))
        assert [key for change in watched.told for key in change.removed] == [("dock", "a.jpg")]
        assert watched.catalog.find(first) is None
        path.unlink()
        await watched.until(lambda: watched.names == ["b.jpg"])
        put(folder / "b.jpg", b"")
        await watched.until(lambda: watched.reasons == {"b.jpg": "is empty"} and watched.names == [])
        (folder / "b.jpg").unlink()
        put(folder / "c.jpg")
        await watched.until(lambda: watched.names == ["c.jpg"] and watched.reasons == {})


async def test_a_file_being_written_waits(folder: Path) -> None:
    """By its time, and by its size: it is listed as waiting, and taken in once it has settled."""
    path = put(folder / "a.jpg", jpeg()[:100])
    put(folder / "busy.log", b"no footage is not waited for")
    now = [float(LONG_AGO + 1)]
    async with served(catalog_of(folder, settle=3600.0, wall=lambda: now[0])) as watched:
        await watched.until(lambda: bool(watched.reasons))
        row = watched.catalog.snapshot()[1]["dock", "a.jpg"]
        assert (row.reason, row.waiting) == ("still being written", True)
        assert list(watched.reasons) == ["a.jpg"]
        put(path, jpeg())
        now[0] += 3600
        await watched.until(lambda: watched.names == ["a.jpg"])
        assert watched.reasons == {}
        now[0] -= 3600
        put(path, jpeg()[:100])  # it is written again: what was known of it no longer holds
        await watched.until(lambda: watched.names == [] and "a.jpg" in watched.reasons)


async def test_a_time_in_the_future_does_not_wait_for_ever(folder: Path) -> None:
    put(folder / "a.jpg", age=-10_000_000)
    async with served(catalog_of(folder, settle=0.05, wall=lambda: float(LONG_AGO))) as watched:
        await watched.until(lambda: watched.names == ["a.jpg"])


def test_a_file_that_changed_since_it_was_listed(folder: Path) -> None:
    path = put(folder / "a.jpg")
    spec = SourceSpec("dock", folder)
    seen = walk(spec).files["a.jpg"]
    put(path, jpeg() + b"more")
    verdict = examining.examine(spec, "a.jpg", seen, lambda: None)
    assert getattr(verdict.what, "waiting", False)
    assert not verdict.final
    path.unlink()
    assert examining.examine(spec, "a.jpg", seen, lambda: None).what is None


async def test_a_restart_hashes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def counted(file: BufferedReader, check: Callable[[], object]) -> ContentId:
        hashed.append(file.name)
        return content_id(file, check)

    monkeypatch.setattr(examining, "content_id", counted)
    for i in range(40):
        put(folder / f"{i:02}.jpg", jpeg(i))
    put(folder / "empty.jpg", b"")
    db = Database.open(tmp_path / "store.db")
    snapshots = []
    for _ in range(2):
        async with served(catalog_of(folder, cache=FileTable(db))) as watched:
            await watched.scanned()
            snapshots.append(watched.catalog.snapshot())
        put(folder / "removed.jpg").unlink()
    assert snapshots[0] == snapshots[1]
    assert list(snapshots[1][0]) == sorted(snapshots[1][0])
    assert len(hashed) == len(snapshots[0][0]) == 40
    assert watched.catalog.examined == 0

    put(folder / "07.jpg", jpeg(7), age=5)  # touched: the same bytes, but only hashing can tell
    (folder / "08.jpg").unlink()
    async with served(catalog_of(folder, cache=FileTable(db))) as watched:
        await watched.scanned()
        assert watched.catalog.examined == 1
        assert len(watched.names) == 39
    assert "08.jpg" not in FileTable(db).load("dock")
    db.close()


async def test_a_disk_that_was_away_costs_no_hashing(folder: Path, tmp_path: Path) -> None:
    put(folder / "a.jpg")
    db = Database.open(tmp_path / "store.db")
    async with served(catalog_of(folder, cache=FileTable(db))) as watched:
        await watched.until(lambda: watched.names == ["a.jpg"])
        folder.rename(tmp_path / "away")
        await watched.until(lambda: watched.names == [] and "." in watched.reasons)
        assert watched.reasons["."].startswith("the source cannot be read")
        (tmp_path / "away").rename(folder)
        await watched.until(lambda: watched.names == ["a.jpg"] and watched.reasons == {})
        assert watched.catalog.examined == 1
    db.close()


async def test_a_full_disk_does_not_stop_the_catalog(folder: Path, tmp_path: Path) -> None:
    put(folder / "a.jpg")
    db = Database.open(tmp_path / "store.db")
    db.close()  # every write now fails with a StoreError

    class Failing(FileTable):
        def load(self, source: str) -> dict[str, object]:  # type: ignore[override]  # an empty cache of any kind
            return {}

    async with served(catalog_of(folder, cache=Failing(db))) as watched:
        await watched.until(lambda: watched.names == ["a.jpg"])


async def test_copies_are_found_wherever_they_are(folder: Path, tmp_path: Path) -> None:
    put(folder / "a.jpg", jpeg(1))
    put(folder / "b.jpg", jpeg(1))
    (tmp_path / "gate").mkdir()
    put(tmp_path / "gate" / "c.jpg", jpeg(1))
    specs = [SourceSpec("dock", folder), SourceSpec("gate", tmp_path / "gate", {}, "image")]
    catalog = Catalog(specs, settle=0, interval=0.02)
    async with served(catalog) as watched:
        await watched.until(lambda: len(watched.names) == 3)
        (content,) = {e.content for e in catalog.snapshot()[0].values()}
        for expected in ("a.jpg", "b.jpg", "c.jpg"):
            path, entry = catalog.find(content) or (None, None)
            assert entry is not None
            assert path is not None
            assert (path.name, entry.name) == (expected, expected)
            path.unlink()
        assert catalog.find(content) is None, "gone from the disk, whether or not the catalog has noticed"
        assert catalog.find(ContentId("0" * 32)) is None


async def test_a_file_replaced_by_a_link_is_not_found(folder: Path, tmp_path: Path) -> None:
    path = put(folder / "a.jpg")
    catalog = catalog_of(folder, interval=3600.0)
    async with served(catalog) as watched:
        await watched.until(lambda: watched.names == ["a.jpg"])
        (entry,) = catalog.snapshot()[0].values()
        path.rename(tmp_path / "a.jpg")
        path.symlink_to(tmp_path / "a.jpg")
        assert catalog.find(entry.content) is None


async def test_summary(folder: Path, assets: Path) -> None:
    put(folder / "20261120T101500.jpg", jpeg(1))
    put(folder / "v.mp4", (assets / "media" / "car-detection.mp4").read_bytes())
    put(folder / "empty.mp4", b"")
    async with served(catalog_of(folder)) as watched:
        await watched.scanned()
        (before,) = await watched.catalog.summary()
        assert (before.name, before.kinds, before.entries, before.unreadable) == ("dock", ("image", "video"), 2, 1)
        assert before.labels == {"site": "hamburg"}
        assert (before.duration, before.oldest, before.newest) == (30.16, 1_524_177_960.0, 1_795_169_700.0)
        assert before.bytes == sum(p.stat().st_size for p in folder.iterdir())
        assert (await watched.catalog.summary())[0] is before
        put(folder / "b.jpg", jpeg(2))
        await watched.until(lambda: "b.jpg" in watched.names)
        (after,) = await watched.catalog.summary()
        assert (after.entries, after.digest != before.digest) == (3, True)


async def test_only_the_kind_that_was_asked_for(folder: Path, assets: Path) -> None:
    put(folder / "a.jpg")
    put(folder / "empty.jpg", b"")
    put(folder / "v.mp4", (assets / "media" / "car-detection.mp4").read_bytes())
    catalog = Catalog([SourceSpec("dock", folder, {}, "video")], settle=0, interval=0.02)
    async with served(catalog) as watched:
        await watched.scanned()
        assert (watched.names, watched.reasons) == (["v.mp4"], {})


async def test_content_ids_are_of_the_bytes(folder: Path) -> None:
    import hashlib

    data = jpeg() + bytes(3 << 20)  # more than one chunk
    put(folder / "a.jpg", data)
    async with served(catalog_of(folder)) as watched:
        await watched.scanned()
        (entry,) = watched.catalog.snapshot()[0].values()
        assert entry.content == hashlib.sha256(data).hexdigest()[:32]
        assert entry.content != hash_of(data)


@pytest.mark.skipif(os.geteuid() == 0, reason="root is not held up by permissions")
async def test_a_file_without_permission_is_taken_in_once_it_has_some(folder: Path) -> None:
    path = put(folder / "a.jpg")
    path.chmod(0)
    async with served(catalog_of(folder)) as watched:
        await watched.until(lambda: watched.reasons == {"a.jpg": "cannot be read: Permission denied"})
        path.chmod(0o600)
        await watched.until(lambda: watched.names == ["a.jpg"])


async def test_sources_are_checked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        catalog_of(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="more than 64 labels"):
        catalog_of(folder, labels={str(i): "x" for i in range(64)})
    async with served(Catalog([])) as watched:
        await watched.scanned()
        assert watched.catalog.snapshot() == ({}, {})
        assert await watched.catalog.summary() == ()
