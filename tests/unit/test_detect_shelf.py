"""The models a peer holds: added, found by any of their names, loaded once, and safe against damage."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.isolated import Isolated
from meshinfer.detect.shelf import Shelf, intake, reading
from meshinfer.detect.shelf import shelf as on_shelf
from meshinfer.detect.shelf.verify import verify
from meshinfer.errors import ModelError
from meshinfer.model.facts import MAX_MODELS
from meshinfer.model.ids import ModelDigest
from meshinfer.model.job import Detect
from meshinfer.node.portrait import model_refs, unheard_of
from tests.unit.shelves import ME, a_shelf, model
from tests.vision.tiny_onnx import brightness_model


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return a_shelf(tmp_path / "models")


def test_added_models_are_listed_by_every_later_shelf_without_loading(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = shelf.add(model(tmp_path / "in", "b", 30, 30, 9, 9))
    a = shelf.add(model(tmp_path / "in", "a"), version="2")
    assert shelf.list() == (a, b)

    def no_loading(*_: object, **__: object) -> Detector:
        raise AssertionError("a shelf must not load models at start")

    for module in (intake, on_shelf, reading):
        monkeypatch.setattr(module, "load_detector", no_loading)
    assert a_shelf(tmp_path / "models").list() == (a, b)
    assert (a.name, a.version, a.layout, a.classes) == ("a", "2", "yolov8", ("grey",))


def test_found_by_name_version_and_digest(shelf: Shelf, tmp_path: Path) -> None:
    card = shelf.add(model(tmp_path / "in", "Yard_V1"), version="1.0")
    for reference in ("yard_v1", "yard_v1@1.0", card.digest, card.digest[:8], f"sha256:{card.digest[:16]}"):
        assert shelf.find(reference) == card
    for reference in ("yard_v1@2", card.digest[:7], "sha256:", "", f"{card.digest}0"):
        with pytest.raises(ModelError, match=r"Here are: yard_v1@1\.0"):
            shelf.find(reference)
    with pytest.raises(ModelError, match=r"Did you mean 'yard_v1@1\.0'"):
        shelf.find("yard_v1@1.1")


def test_a_name_of_several_models_must_be_made_clear(shelf: Shelf, tmp_path: Path) -> None:
    one = shelf.add(model(tmp_path / "in", "m"), name="m", version="1")
    two = shelf.add(model(tmp_path / "in", "m", 1, 2, 3, 4), name="m", version="2")
    assert (shelf.find("m@1"), shelf.find("m@2")) == (one, two)
    with pytest.raises(ModelError, match=r"several models here: m@1 .*m@2"):
        shelf.find("m")
    with pytest.raises(ModelError, match="m@2 is another model here"):
        shelf.add(model(tmp_path / "in", "n", 5, 5, 5, 5), name="m", version="2")


def test_adding_again_renames(shelf: Shelf, tmp_path: Path) -> None:
    path = model(tmp_path / "in", "old")
    shelf.add(path)
    card = shelf.add(path, name="new")
    assert a_shelf(tmp_path / "models").list() == (card,)


def test_an_empty_shelf_says_how_to_fill_it(shelf: Shelf) -> None:
    assert shelf.list() == ()
    with pytest.raises(ModelError, match="holds none: `meshinfer models add FILE` adds one"):
        shelf.find("yolox")


@pytest.mark.parametrize("name", ["", "a b", "../x", "A", "-x", "x" * 65, "ü"])
def test_bad_names(shelf: Shelf, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot name a model"):
        shelf.add(model(tmp_path / "in", "m"), name=name)


def test_a_bad_model_leaves_nothing_behind(shelf: Shelf, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_text("no model")
    with pytest.raises(ModelError, match=r"^bad.onnx: no ONNX file"):
        shelf.add(bad)
    with pytest.raises(ModelError, match=r"^absent.onnx: cannot be read: No such file"):
        shelf.add(tmp_path / "absent.onnx")
    assert shelf.list() == ()
    assert not list((tmp_path / "models").iterdir())


def test_loaded_once_and_shared(shelf: Shelf, tmp_path: Path) -> None:
    digest = shelf.add(model(tmp_path / "in", "m")).digest
    fresh = a_shelf(tmp_path / "models")
    got: list[Detector] = []
    threads = [threading.Thread(target=lambda: got.append(fresh.get(digest))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    assert all(detector is got[0] for detector in got)
    (found,) = got[0].worker(Detect())(np.full((64, 64, 3), 204, np.uint8))
    assert (found.label, found.score, found.box) == ("grey", 0.8, (24.0, 24.0, 40.0, 40.0))
    with pytest.raises(ModelError, match="no model sha256:000000000000 here"):
        fresh.get(ModelDigest("0" * 64))


def test_a_damaged_card_is_made_anew(shelf: Shelf, tmp_path: Path) -> None:
    card = shelf.add(model(tmp_path / "in", "a"), name="yard", version="2")
    shelf.pin(card.digest)
    note = tmp_path / "models" / f"{card.digest}.json"
    for damage, pinned in ((note.read_bytes().replace(b'"classes"', b'"klasses"'), True), (b"{", False)):
        note.write_bytes(damage)
        later = a_shelf(tmp_path / "models")
        assert later.list() == later.runnable() == (card,)
        assert later.held(card.digest).pinned is pinned


def test_a_changed_file_never_reaches_the_runtime(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = shelf.add(model(tmp_path / "in", "a", sidecar='names = ["light"]\n'), version="1").digest
    path = tmp_path / "models" / f"{digest}.onnx"
    good = path.read_bytes()

    def no_loading(*_: object, **__: object) -> Detector:
        raise AssertionError("the runtime saw it")

    monkeypatch.setattr(on_shelf, "load_detector", no_loading)
    said: list[str] = []
    for spoiled, content in (
        (path, brightness_model((9, 9, 9, 9))),
        (path, good[:-1]),
        (path.with_suffix(".toml"), b'names = ["dark"]\n'),
    ):
        later, before = a_shelf(tmp_path / "models", say=said.append), spoiled.read_bytes()
        spoiled.write_bytes(content)
        for _ in range(2):
            with pytest.raises(ModelError, match=r"^a@1: its file or sidecar has changed on disk; .*rm a@1"):
                later.get(digest)
        assert "has changed on disk" in later.refused()[digest]
        assert [f.check for f in verify(later, later.find("a")) if not f.ok] == ["bytes"]
        spoiled.write_bytes(before)
    assert len(said) == 3, "once each"
    monkeypatch.undo()
    assert all(f.ok for f in verify(later, later.find("a")))
    assert later.refused() == {}, "what was mended may run again"
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        later.get(digest)


def test_nobody_waits_for_another_models_load(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = (
        shelf.add(model(tmp_path / "in", n, *box)).digest for n, *box in (("a", 1, 1, 2, 2), ("b", 5, 5, 2, 2))
    )
    later = a_shelf(tmp_path / "models")
    later.get(quick)
    begun, goes_on = threading.Event(), threading.Event()

    def load_slowly(path: Path, **names: str) -> Detector:
        begun.set()
        assert goes_on.wait(60)
        return load_detector(path, **names)

    monkeypatch.setattr(on_shelf, "load_detector", load_slowly)
    thread = threading.Thread(target=lambda: later.get(slow))
    thread.start()
    assert begun.wait(60)
    assert later.get(quick).card.name == "a"
    assert len(later.list()) == 2
    goes_on.set()
    thread.join()
    assert later.get(slow).card.name == "b"


def test_what_a_killed_process_left_is_swept(shelf: Shelf, tmp_path: Path) -> None:
    stale, fresh = tmp_path / "models" / ".new-stale", tmp_path / "models" / ".new-fresh"
    for stage in (stale, fresh):
        stage.mkdir(parents=True)
        (stage / "m.onnx").write_bytes(b"half")
    os.utime(stale, (0, 0))
    assert shelf.list() == ()
    assert (stale.exists(), fresh.exists()) == (False, True)


def test_a_link_never_reaches_the_shelf(shelf: Shelf, tmp_path: Path) -> None:
    """What its owner does to the file later changes nothing here."""
    file = model(tmp_path / "in", "a")
    digest = shelf.add(file).digest
    file.write_bytes(b"gone")
    assert a_shelf(tmp_path / "models").get(digest).card.digest == digest


def test_the_embedded_model_is_on_every_shelf(tmp_path: Path) -> None:
    embedded = model(tmp_path / "package", "yard-demo")
    shelf = a_shelf(tmp_path / "models", embedded=embedded)
    card = shelf.find("yard-demo")
    assert shelf.list() == shelf.runnable() == (card,)
    assert shelf.get(card.digest).card == load_detector(embedded).card
    (vouched,) = shelf.vouched(card.digest)
    assert (vouched.signer, vouched.bundle.digest) == (ME.peer_id, card.digest)
    with pytest.raises(ModelError, match="comes with meshinfer"):
        shelf.remove(card.digest)


def test_an_isolated_model_is_another_than_the_one_in_this_process(shelf: Shelf, tmp_path: Path) -> None:
    card = shelf.add(model(tmp_path, "yard"))
    isolated = shelf.get(card.digest, isolate=True)
    try:
        assert isinstance(isolated, Isolated)
        assert isolated.card == card
        assert shelf.get(card.digest, isolate=True) is isolated
        assert isinstance(shelf.get(card.digest), Detector)
    finally:
        isolated.close()


def test_whether_there_is_room_is_known_while_the_shelf_is_written_to(shelf: Shelf, tmp_path: Path) -> None:
    """The engine asks with its own lock held, and the trio thread waits for that one."""
    card = shelf.add(model(tmp_path / "in", "m"))
    with ThreadPoolExecutor(1) as other:
        with shelf._lock:
            answer = other.submit(shelf.has_room, card.digest)
            done, _ = wait([answer], timeout=20.0)
        assert done
    assert answer.result()


def test_what_was_wanted_last_is_told_first(shelf: Shelf, tmp_path: Path) -> None:
    """Others hear of so many models: the name is no reason for one to be left out."""
    cards = [shelf.add(model(tmp_path / "in", f"m{i:03}", i, 8, 4, 4)) for i in range(3)]
    for i, card in enumerate(cards):
        os.utime(shelf.path(card.digest), (i, i))
    assert shelf.runnable() == tuple(reversed(cards))
    shelf.used(cards[0].digest)
    assert shelf.runnable()[0] == cards[0]
    plenty = tuple(replace(cards[0], name=f"n{i:03}") for i in range(MAX_MODELS))
    told = model_refs((*plenty[::-1], cards[0]), {})
    assert [ref.name for ref in told] == [card.name for card in plenty]
    assert unheard_of(plenty) == ""
    assert "128 of the 129" in unheard_of((*plenty, cards[0]))


def test_where_all_are_isolated_none_is_loaded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when it comes, not when it is verified, not when it runs."""

    def no_loading(*_: object, **__: object) -> Detector:
        raise AssertionError("a model was loaded in this process")

    for module in (intake, on_shelf, reading):
        monkeypatch.setattr(module, "load_detector", no_loading)
    shelf = a_shelf(tmp_path / "models", isolate=True)
    card = shelf.add(model(tmp_path / "in", "a"), version="2")
    assert (card.reference, card.layout, card.classes) == ("a@2", "yolov8", ("grey",))
    assert all(finding.ok for finding in verify(shelf, card))
    with shelf.lease(card.digest) as (detector,):
        assert isinstance(detector, Isolated)
        assert detector.card == card
        detector.close()


def test_what_is_too_big_is_not_even_copied(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_copy(*_: object) -> None:
        raise AssertionError("it may be larger than the disk")

    monkeypatch.setattr(shutil, "copyfile", no_copy)
    file = tmp_path / "m.onnx"
    with file.open("wb") as holes:
        holes.truncate(2**40)
    with pytest.raises(ModelError, match="over 512 MiB"):
        shelf.add(file)
