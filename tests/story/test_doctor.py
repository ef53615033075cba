"""`meshinfer doctor` on three real peers: well, then with one that is dead, then with another that is frozen."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from meshinfer.node.diagnosis import GRACE
from tests.story.peers import PeerProcess, eventually, mesh


def findings(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [check for check in json.loads(done.stdout)["checks"] if not check["ok"]]


def test_it_says_who_is_dead_and_who_is_frozen(tmp_path: Path) -> None:
    with mesh(tmp_path) as peer:
        alice = peer("alice")
        others = [peer(name, "--bootstrap", alice.address) for name in ("bob", "carol")]
        everybody: list[PeerProcess] = [alice, *others]
        for one in everybody:
            one.wait_connected(2)
        well = alice.cli("doctor")
        assert well.stdout.splitlines()[-1] == "nothing is wrong"
        assert "2 of 2 peers answered" in well.stdout

        frozen, dead = others
        dead.kill()
        eventually("it is missed", lambda: any(u["seconds"] > GRACE for u in alice.ask("status")["unreached"]))
        found = {check["check"]: check for check in findings(alice.cli("doctor", "--json", check=1))}["reach"]
        assert "carol" in found["what"]
        assert "start it" in found["todo"]

        assert frozen.process is not None
        frozen.process.send_signal(signal.SIGSTOP)
        said = alice.cli("doctor", check=1).stdout.splitlines()
        assert any(line.startswith("wrong") and "bob" in line for line in said)
        assert any("to do: its process may be frozen" in line for line in said)
