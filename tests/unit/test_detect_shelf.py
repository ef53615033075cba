"""The models a peer holds: added, found by any of their names, loaded once, and safe against damage."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.shelf import Shelf, reading
from meshinfer.detect.shelf import shelf as on_shelf
from meshinfer.errors import ModelError
from meshinfer.mesh.identity import Identity
from meshinfer.model.ids import ModelDigest
from meshinfer.model.job import Detect
from tests.vision.tiny_onnx import brightness_model

ME, BOB = Identity.from_seed(b"m" * 32), Identity.from_seed(b"b" * 32)


def a_shelf(folder: Path, owner: Identity = ME, **settings: Any) -> Shelf:
    return Shelf(folder, owner.peer_id, owner.sign, **{"embedded": None, **settings})


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return a_shelf(tmp_path / "models")


def model(folder: Path, name: str, *box: float) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.onnx"
    path.write_bytes(brightness_model(box or (32, 32, 16, 16)))
    return path


def test_added_models_are_listed_by_every_later_shelf_without_loading(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = shelf.add(model(tmp_path / "in", "b", 30, 30, 9, 9))
    a = shelf.add(model(tmp_path / "in", "a"), version="2")
    assert shelf.list() == (a, b)

    def no_loading(*_: object, **__: object) -> Detector:
        raise AssertionError("a shelf must not load models at start")

    for module in (on_shelf, reading):
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


def test_the_sidecar_comes_along(shelf: Shelf, tmp_path: Path) -> None:
    path = model(tmp_path / "in", "m")
    path.with_suffix(".toml").write_text('names = ["light"]\nlicence = "MIT"\n')
    card = shelf.add(path)
    assert (card.classes, card.licence) == (("light",), "MIT")
    assert a_shelf(tmp_path / "models").get(card.digest).card == card


def test_damage_is_noticed(shelf: Shelf, tmp_path: Path) -> None:
    a, b = shelf.add(model(tmp_path / "in", "a")), shelf.add(model(tmp_path / "in", "b", 1, 2, 3, 4))
    folder = tmp_path / "models"
    (folder / f"{a.digest}.json").write_text("{")  # the card: made anew, under the only name that is known
    (folder / f"{b.digest}.onnx").write_bytes(brightness_model((9, 9, 9, 9)))  # the model: refused
    later = a_shelf(folder)
    assert later.find(a.digest).classes == ("grey",)
    with pytest.raises(ModelError, match=r"b.*changed on disk"):
        later.get(b.digest)


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
