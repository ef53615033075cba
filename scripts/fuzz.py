"""See scripts/fuzz. With `--runtime`, what passes the pre-scan also has its trial, whose limits must hold."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from meshinfer.detect.prescan import prescan
from meshinfer.detect.shelf import EMBEDDED
from meshinfer.detect.sidecar import read_sidecar
from meshinfer.detect.trial import try_model
from meshinfer.errors import ModelError
from tests.vision import hostile_onnx as hostile

MOST_SECONDS = 1.0
"""For one answer: some hundred times what the largest real model takes."""
TRIAL_SECONDS = 20.0
SIDECARS = [
    b'layout = "yolox"\ncolour = "rgb"\nscale = 0.5\nmean = [0.4, 0.4, 0.4]\nfit = "stretch"\nnames = ["a", "b"]\n',
    (ROOT / "pyproject.toml").read_bytes(),
]


def damage(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Bytes changed, put in, taken out, repeated; lengths, above all, since they decide how the rest is read."""
    made = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(made) + 1)
        match dice.randrange(6):
            case 0 if at < len(made):
                made[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(made):
                made[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del made[at : at + dice.randrange(1, 64)]
            case 3:
                made[at:at] = made[at : at + dice.randrange(1, 256)] * dice.choice((1, 2, 100))
            case 4:
                made[at:at] = b"\xff" * dice.randrange(1, 10) + b"\x01"
            case _:
                other = dice.choice(others)
                begin = dice.randrange(len(other) + 1)
                made[at:at] = other[begin : begin + 200]
    return bytes(made)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--runtime", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    dice = random.Random(arguments.seed)
    models = [data for data, _ in hostile.REFUSED.values() if 0 < len(data) < 20_000]
    models += [hostile.GOOD, hostile.slow_model(), hostile.memory_bomb((1, 1, 2, 2)), EMBEDDED.read_bytes()]
    counts: Counter[str] = Counter()
    until = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"

        def sidecar(data: bytes) -> None:
            path.with_suffix(".toml").write_bytes(data)
            read_sidecar(path)

        def trial(data: bytes) -> None:
            path.with_suffix(".toml").unlink(missing_ok=True)
            path.write_bytes(data)
            try_model(path)

        while time.monotonic() < until:
            data = damage(dice.choice(models), models, dice)
            passed = answers("pre-scan", prescan, data, MOST_SECONDS, counts, arguments.out)
            if passed and arguments.runtime:
                answers("trial", trial, data, TRIAL_SECONDS, counts, arguments.out)
            answers(
                "sidecar", sidecar, damage(dice.choice(SIDECARS), SIDECARS, dice), MOST_SECONDS, counts, arguments.out
            )
    print(", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
    return 1 if any(what.endswith("BROKE") for what in counts) else 0


def answers(what: str, ask: Callable[[bytes], None], data: bytes, most: float, counts: Counter[str], out: Path) -> bool:
    """Whether `data` passed. What raises anything else, or takes too long, is counted and kept."""
    began, broke, passed = time.process_time(), "", False
    try:
        ask(data)
        passed = True
        counts[f"{what} passed"] += 1
    except ModelError:
        counts[f"{what} refused"] += 1
    except Exception as e:  # noqa: BLE001 - that is what is looked for
        broke = f"{type(e).__name__}: {e}"
    if (took := time.process_time() - began) > most:
        broke = broke or f"took {took:.1f} s"
    if broke:
        counts[f"{what} BROKE"] += 1
        kept = out / f"fuzz-{what}-{counts[f'{what} BROKE']}.bin"
        kept.write_bytes(data)
        print(f"{what}: {broke} ({kept})")
    return passed


if __name__ == "__main__":
    sys.exit(main())
