"""A model is added at one peer; the footage lies at others, which fetch it if they trust who added it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.story.peers import eventually, mesh


def picture(folder: Path, seed: int) -> Path:
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((48, 64, 3), seed, np.uint8))
    return folder


def test_a_model_comes_to_the_footage_where_its_signer_is_trusted(assets: Path, tmp_path: Path) -> None:
    with mesh(tmp_path) as peer:
        alice = peer("alice")
        alice.add_model(assets / "models" / "fastestdet.onnx")
        (tmp_path / "bob").mkdir()
        (tmp_path / "bob" / "config.toml").write_text(f'[models]\nsigners = ["{alice.ask("status")["peer"]}"]\n')
        bob = peer("bob", "--source", f"yard={picture(tmp_path / 'yard', 1)}", "--bootstrap", alice.address)
        carol = peer("carol", "--source", f"gate={picture(tmp_path / 'gate', 2)}", "--bootstrap", alice.address)
        for one in (bob, carol):
            one.wait_connected(1)
            one.wait_entries(1)
        alice.wait_connected(2)
        job = alice.publish(model="fastestdet", on={"kind": "image"})
        alice.wait_done(job, 1)
        assert bob.ask("status")["counters"]["models_fetched"] == 1
        assert "fastestdet" in bob.cli("models", "ls").stdout

        def refused() -> bool:
            view = next(p for p in alice.ask("job", job=job)["peers"] if p["name"] == "carol")
            return view["verdict"] == "declines" and "refused: signed by alice" in view["reason"]

        by_hand = carol.cli("models", "fetch", "fastestdet", check=1)
        assert "refused: signed by alice" in by_hand.stderr.replace("\n", " ")
        assert "fastestdet" in bob.cli("models", "fetch", "fastestdet").stdout
        eventually("carol says why she declines", refused)
        assert "add it to [models] signers" in alice.cli("jobs", job, "--explain").stdout.replace("\n", " ")
