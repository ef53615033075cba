"""A channel from the command line to the engine: real process, models and footage."""

from __future__ import annotations

from pathlib import Path

from tests.story.command import AT_ONCE, hosts
from tests.unit.footage import write_video
from tests.vision.tiny_onnx import brightness_model

FRAMES = 20


def test_a_job_that_names_a_channel_runs_what_it_stands_for(tmp_path: Path) -> None:
    footage, old, new = tmp_path / "footage", tmp_path / "old.onnx", tmp_path / "new.onnx"
    footage.mkdir()
    write_video(footage / "yard.avi", FRAMES)
    old.write_bytes(brightness_model())
    new.write_bytes(brightness_model((20, 20, 8, 8)))
    with hosts(tmp_path) as start:
        alice = start("alice", "--source", f"yard={footage}", before=AT_ONCE)
        alice.wait_entries(1)
        digests = [
            alice.ask("model_add", file=str(f), name="grey", version=v)["model"]["digest"]
            for f, v in ((old, "1"), (new, "2"))
        ]

        def used(name: str) -> list[tuple[str, int]]:
            job = alice.publish(model="grey:stable", name=name, detect={"min_score": 0.01})
            assert alice.wait_done(job, total=1)["detections"] == FRAMES
            (peer,) = alice.ask("job", job=job)["peers"]
            return [(model["reference"], model["tasks"]) for model in peer["models"]]

        alice.ask("model_promote", model="grey@1")
        assert used("before") == []
        shown = alice.cli("models", "promote", "grey@2", "--canary", "10%", "--for", "1h").stdout
        assert "grey@2 is being tried on 1 peer (alice)" in " ".join(shown.split())
        assert used("tried") == [("grey@2", 1)]
        (channel,) = alice.ask("channels")["channels"]
        (each,) = channel["trial"]["each"]
        assert (channel["model"]["digest"], channel["trial"]["candidate"]["digest"]) == tuple(digests)
        assert (each["tried"]["frames"], each["before"]["frames"]) == (FRAMES, FRAMES)
        assert sum(each["tried"]["scores"]) == sum(each["before"]["scores"]) == FRAMES
        alice.ask("model_rollback", channel="grey:stable")
        assert used("after") == []
