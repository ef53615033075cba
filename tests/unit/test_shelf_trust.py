"""Who vouches for a model, what runs here, and that nothing else reaches the runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from meshinfer.detect.detector import Detector, load_detector
from meshinfer.detect.shelf import folder as files
from meshinfer.detect.shelf import intake, reading
from meshinfer.detect.shelf import shelf as on_shelf
from meshinfer.detect.shelf.verify import verify
from meshinfer.errors import ModelError
from meshinfer.mesh.identity import Identity
from meshinfer.model.bundle import Bundle, model_digest
from meshinfer.wire.bundles import seal_bundle, unseal_bundle
from tests.unit.shelves import BOB, EVE, ME, a_shelf, model, offered


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that the runtime was given."""
    seen: list[Path] = []

    def watched(path: Path, *, name: str | None = None, version: str = "") -> Detector:
        seen.append(path)
        return load_detector(path, name=name, version=version)

    for module in (intake, on_shelf, reading):
        monkeypatch.setattr(module, "load_detector", watched)
    return seen


def test_what_is_added_is_under_this_peers_seal(tmp_path: Path) -> None:
    shelf = a_shelf(tmp_path / "models")
    card = shelf.add(model(tmp_path / "in", "yard", sidecar='licence = "MIT"\n'), version="2")
    (vouched,) = a_shelf(tmp_path / "models").vouched(card.digest)
    assert unseal_bundle(vouched.sealed) == vouched
    assert (vouched.signer, vouched.bundle.reference, vouched.bundle.digest) == (ME.peer_id, "yard@2", card.digest)
    assert vouched.bundle.sidecar == b'licence = "MIT"\n'


def test_a_sidecar_is_part_of_what_a_model_is(tmp_path: Path) -> None:
    shelf = a_shelf(tmp_path / "models")
    bare = shelf.add(model(tmp_path / "in", "m"))
    named = shelf.add(model(tmp_path / "in", "m", sidecar='names = ["light"]\n'), name="m2")
    rgb = tmp_path / "rgb.toml"
    rgb.write_text('colour = "rgb"\n')
    other = shelf.add(model(tmp_path / "bare", "m"), name="m3", sidecar=rgb)
    assert len({bare.digest, named.digest, other.digest}) == 3
    assert named.digest == model_digest(bare.digest, b'names = ["light"]\n')
    assert [shelf.get(c.digest).card.classes for c in (bare, named, other)] == [("grey",), ("light",), ("grey",)]
    assert shelf.get(named.digest).card == a_shelf(tmp_path / "models").get(named.digest).card == named


def test_a_strangers_model_is_refused_before_it_is_loaded(tmp_path: Path, loads: list[Path]) -> None:
    _, vouched = offered(tmp_path, file := model(tmp_path / "in", "m"), EVE)
    trials: list[Path] = []
    shelf = a_shelf(tmp_path / "models", signers=(BOB.peer_id,), trial=trials.append)
    loads.clear()
    with pytest.raises(ModelError, match=rf"^m: signed by {EVE.peer_id}, whom this peer does not trust; .*signers"):
        shelf.take_in(file, vouched)
    with pytest.raises(ModelError, match="nobody's signature"):
        shelf.take_in(file, ())
    assert (loads, trials, shelf.list()) == ([], [], ())
    assert file.exists()


def test_a_trusted_signers_model_is_taken_in(tmp_path: Path) -> None:
    digest, vouched = offered(tmp_path, file := model(tmp_path / "in", "m", sidecar='names = ["light"]\n'), EVE, BOB)
    fetched = tmp_path / "fetched"
    shutil.copy(file, fetched)
    trials: list[str] = []
    shelf = a_shelf(tmp_path / "models", signers=(BOB.peer_id,), trial=lambda path: trials.append(path.name))
    card = shelf.take_in(fetched, vouched)
    assert (card.digest, card.classes, shelf.held(digest).origin) == (digest, ("light",), "fetched")
    assert (trials, fetched.exists()) == (["m.onnx"], False)
    later = a_shelf(tmp_path / "models", signers=(BOB.peer_id,))
    assert later.runnable() == (card,)
    assert [v.signer for v in later.vouched(digest)] == [BOB.peer_id, EVE.peer_id], "the trusted one first"
    assert later.get(digest).card == card


def test_a_signer_who_is_no_longer_trusted(tmp_path: Path, loads: list[Path]) -> None:
    digest, vouched = offered(tmp_path, file := model(tmp_path / "in", "m"), BOB)
    a_shelf(tmp_path / "models", signers=(BOB.peer_id,)).take_in(file, vouched)
    loads.clear()
    shelf = a_shelf(tmp_path / "models")
    assert [c.digest for c in shelf.list()] == [digest]
    assert shelf.runnable() == ()
    assert BOB.peer_id in shelf.refused()[digest]
    with pytest.raises(ModelError, match="does not trust"):
        shelf.get(digest)
    assert [f.check for f in verify(shelf, shelf.find("m")) if not f.ok] == ["trust"]
    assert loads == []
    shelf.add(model(tmp_path / "again", "m"))
    assert shelf.refused() == {}, "what the owner adds is signed by the owner"


@pytest.mark.parametrize("what", ["bytes", "sidecar", "chunks"])
def test_a_file_that_is_not_what_was_signed(tmp_path: Path, loads: list[Path], what: str) -> None:
    _, (vouched,) = offered(tmp_path, file := model(tmp_path / "in", "m", sidecar='names = ["light"]\n'), BOB)
    shelf = a_shelf(tmp_path / "models", signers=(BOB.peer_id,))
    loads.clear()
    b = vouched.bundle
    if what == "bytes":
        file.write_bytes(file.read_bytes() + b"\0")
    elif what == "sidecar":  # another model then, under a digest of its own
        b = Bundle(b.name, b.version, b.file, b.size, b"layout = 1", b.chunks)
    else:
        b = Bundle(b.name, b.version, b.file, b.size, b.sidecar, (b"x" * 32,))
    with pytest.raises(ModelError, match="layout" if what == "sidecar" else "not those that its signer vouched for"):
        shelf.take_in(file, (seal_bundle(b, BOB.peer_id, BOB.sign),))
    assert (shelf.list(), len(loads)) == ((), what == "sidecar")


def test_seals_that_are_damaged_or_another_models_count_for_nothing(tmp_path: Path) -> None:
    shelf = a_shelf(tmp_path / "models")
    a, b = shelf.add(model(tmp_path / "in", "a")), shelf.add(model(tmp_path / "in", "b", 1, 2, 3, 4))
    seals = [tmp_path / "models" / f"{card.digest}.seals" for card in (a, b)]
    seals[0].write_bytes(seals[1].read_bytes())
    seals[1].write_bytes(b"\x91\xc4\x01x")
    later = a_shelf(tmp_path / "models")
    assert sorted(later.refused()) == sorted((a.digest, b.digest))
    for card in (a, b):
        assert "nobody's signature" in later.refused()[card.digest]
        assert [f.check for f in verify(later, card) if not f.ok] == ["seals", "trust"]


def test_at_most_eight_seals_and_never_without_the_one_that_counts(tmp_path: Path) -> None:
    crowd = [Identity.from_seed(bytes([i]) * 32) for i in range(files.MAX_SEALS + 3)]
    _, vouched = offered(tmp_path, file := model(tmp_path / "in", "m"), *crowd, BOB)
    shelf = a_shelf(tmp_path / "models", signers=(BOB.peer_id,))
    digest = shelf.take_in(file, vouched).digest
    shelf.add(model(tmp_path / "again", "m"))
    kept = [v.signer for v in a_shelf(tmp_path / "models").vouched(digest)]
    assert len(kept) == files.MAX_SEALS
    assert kept[:2] == [ME.peer_id, BOB.peer_id]


def test_what_the_owner_put_here_stays_the_owners(tmp_path: Path) -> None:
    digest, vouched = offered(tmp_path, file := model(tmp_path / "in", "theirs"), BOB)
    shelf = a_shelf(tmp_path / "models", signers=(BOB.peer_id,))
    shelf.add(file, name="mine")
    shelf.take_in(file, vouched)
    assert (shelf.held(digest).origin, shelf.find("mine").digest) == ("added", digest)
    assert {v.signer for v in shelf.vouched(digest)} == {ME.peer_id, BOB.peer_id}


def test_a_fetched_model_cannot_take_a_name_from_the_owners(tmp_path: Path) -> None:
    _, vouched = offered(tmp_path, file := model(tmp_path / "in", "yard", 9, 9, 4, 4), BOB)
    shelf = a_shelf(tmp_path / "models", signers=(BOB.peer_id,))
    theirs = shelf.take_in(file, vouched)
    assert shelf.find("yard") == theirs
    mine = shelf.add(model(tmp_path / "mine", "yard"))
    assert shelf.find("yard") == mine
    assert shelf.find(theirs.digest[:12]) == theirs


def test_a_trial_that_fails_keeps_a_model_out(tmp_path: Path, loads: list[Path]) -> None:
    def trial(path: Path) -> None:
        raise ModelError(f"{path.name}: takes more than 512 MB")

    shelf = a_shelf(tmp_path / "models", trial=trial)
    with pytest.raises(ModelError, match=r"^m\.onnx: takes more"):
        shelf.add(model(tmp_path / "in", "m"))
    assert (shelf.list(), loads) == ((), [])


def as_of_old(folder: Path, file: Path, name: str) -> None:
    """As version 0.1 left a model: named by the file's sha256, the card alone beside it."""
    card = load_detector(file, name=name).card
    sidecar = file.with_suffix(".toml")
    digest = load_detector(Path(shutil.copy(file, file.parent / "bare.onnx"))).card.digest
    folder.mkdir(exist_ok=True)
    shutil.copy(file, folder / f"{digest}.onnx")
    if sidecar.exists():
        shutil.copy(sidecar, folder / f"{digest}.toml")
    (folder / f"{digest}.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(card, digest=digest)))


def test_an_old_folder_is_signed_once(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    as_of_old(folder, bare := model(tmp_path / "in", "bare-one"), "bare-one")
    as_of_old(folder, sided := model(tmp_path / "in", "sided", 1, 2, 3, 4, sidecar='names = ["light"]\n'), "sided")
    said: list[str] = []
    shelf = a_shelf(folder, say=said.append)
    cards = {c.name: c for c in shelf.runnable()}
    assert cards["bare-one"].digest == load_detector(bare).card.digest
    assert cards["sided"].digest == load_detector(sided).card.digest
    assert shelf.get(cards["sided"].digest).card.classes == ("light",)
    assert sorted(line.split()[0] for line in said) == ["bare-one", "sided"]
    assert {p.stem for p in folder.glob("*.*")} == {c.digest for c in cards.values()}
    again = a_shelf(folder, say=said.append)
    assert set(again.runnable()) == set(shelf.list())
    assert len(said) == 2


def test_an_old_model_that_was_damaged_is_not_signed(tmp_path: Path) -> None:
    as_of_old(tmp_path / "models", model(tmp_path / "in", "m"), "m")
    (file,) = (tmp_path / "models").glob("*.onnx")
    file.write_bytes(file.read_bytes() + b"\0")
    said: list[str] = []
    assert a_shelf(tmp_path / "models", say=said.append).list() == ()
    assert "m: its file has changed on disk" in said[0]


def test_a_file_that_was_dropped_in_is_nobodys(tmp_path: Path) -> None:
    source = model(tmp_path / "in", "m")
    (tmp_path / "models").mkdir()
    shutil.copy(source, tmp_path / "models" / f"{load_detector(source).card.digest}.onnx")
    said: list[str] = []
    assert a_shelf(tmp_path / "models", say=said.append).list() == ()
    assert "no seal that counts" in said[0]
