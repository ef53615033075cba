"""The example of docs/SERIES.md: a gearbox's recordings, the model that hears its faults, and how well it does.

python scripts/turbine.py data FOLDER              write the recordings and their ground truth
python scripts/turbine.py train                    train configs/examples/turbine/gearbox.onnx anew (needs numpy alone)
python scripts/turbine.py score FOLDER EVENTS      compare events: lines of JSON as `subscribe` and `results` write them
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.gearbox import reckoning, world

EXAMPLE = ROOT / "configs" / "examples" / "turbine"


def main() -> None:
    """Parse the options and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("data").add_argument("folder", type=Path)
    train_ = verbs.add_parser("train")
    train_.add_argument("--out", type=Path, default=EXAMPLE / "gearbox.onnx")
    train_.add_argument("--steps", type=int, default=6000)
    train_.add_argument("--seed", type=int, default=0)
    score_ = verbs.add_parser("score")
    score_.add_argument("folder", type=Path)
    score_.add_argument("events", type=Path)
    chosen = parser.parse_args()
    match chosen.verb:
        case "data":
            world.write(chosen.folder)
            print(f"wrote {len(world.RECORDINGS)} recordings to {chosen.folder / 'vibration'}, and truth.json")
        case "train":
            train(chosen.out, chosen.steps, chosen.seed)
        case "score":
            truth = json.loads((chosen.folder / "truth.json").read_text())
            lines = [json.loads(line) for line in chosen.events.read_text().splitlines() if line.startswith("{")]
            print(reckoning.table(reckoning.reckon(truth, [(e["entry"], e["t"]) for e in lines if "entry" in e])))


def train(out: Path, steps: int, seed: int) -> None:
    """Train on twenty minutes of a sound machine, and say how others of its minutes and each fault score."""
    import numpy as np

    from scripts.gearbox.net import Autoencoder, features, windows

    net = Autoencoder(seed)
    net.fit(features(np.concatenate([windows(seed) for seed in range(100, 120)])), steps, seed)
    net.write(out)
    print(f"wrote {out} ({out.stat().st_size} bytes); scores, to set `scale` by:")
    faults: dict[str, tuple[world.Fault, ...]] = {"sound": ()}
    faults |= {kind: (world.Fault(-world.ONSET, 60, kind),) for kind in ("bearing", "imbalance")}
    for what, fault in faults.items():
        scores = net.score(features(np.concatenate([windows(seed, fault) for seed in range(200, 210)])))
        print(f"  {what:<10} least {scores.min():.2f}  median {np.median(scores):.2f}  most {scores.max():.2f}")


if __name__ == "__main__":
    main()
