"""The vibration of a wind turbine's gearbox, made up: sound, or with a fault for a while. It all follows from a seed.

An accelerometer on the fast shaft: the shaft and its harmonics, the gear mesh with its sidebands, noise, all of it
louder under load. A damaged bearing adds impacts that ring a resonance; imbalance makes the shaft's own line grow. A
fault sets in slowly: at first nobody could tell.
"""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

RATE: Final = 4096
"""Samples a second."""
FULL: Final = 16.0
"""What fills the WAV's range, in g."""

ONSET: Final = 6.0
"""Seconds in which a fault grows to its full strength."""

_SHAFT: Final = 25.0
_TEETH: Final = 21
_BEARING: Final = 3.58
"""Impacts a turn: balls passing over a spot on the outer race."""
_RESONANCE: Final = 1600.0

Signal = NDArray[np.float64]
Kind = Literal["bearing", "imbalance"]


class Fault(NamedTuple):
    start: float
    end: float
    """Seconds."""
    kind: Kind


class Recording(NamedTuple):
    name: str
    seed: int
    seconds: float
    faults: tuple[Fault, ...]


RECORDINGS: Final = (
    Recording("20261120T080000.wav", 1, 60.0, ()),
    Recording("20261120T090000.wav", 2, 60.0, (Fault(20.0, 35.0, "bearing"),)),
    Recording("20261120T100000.wav", 3, 60.0, (Fault(8.0, 18.0, "imbalance"), Fault(40.0, 52.0, "bearing"))),
)
"""A morning of one turbine. The names tell when each began."""


def vibration(seed: int, seconds: float, faults: tuple[Fault, ...] = ()) -> Signal:
    """Acceleration in g, `RATE` samples a second."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    t = np.arange(n) / RATE
    load = 0.8 + 0.2 * _wander(rng, n)
    speed = _SHAFT * (1 + 0.03 * _wander(rng, n))
    turns = np.cumsum(speed) / RATE
    shaft = 2 * np.pi * turns
    phase = rng.uniform(0, 2 * np.pi, 6)
    heavy = np.ones(n)
    for fault in faults:
        if fault.kind == "imbalance":
            heavy += 3.0 * _strength(t, fault)
    signal = 0.30 * load * heavy * np.sin(shaft + phase[0]) + 0.12 * load * np.sin(2 * shaft + phase[1])
    swell = 1 + 0.25 * np.sin(shaft + phase[2])
    for harmonic, size in ((1, 0.5), (2, 0.2), (3, 0.08)):
        signal += size * load * swell * np.sin(harmonic * _TEETH * shaft + phase[2 + harmonic])
    signal += 0.15 * (0.7 + 0.3 * load) * rng.normal(size=n)
    for fault in faults:
        if fault.kind == "bearing":
            signal += _impacts(rng, turns) * load * _strength(t, fault)
    return np.asarray(signal)


def _strength(t: Signal, fault: Fault) -> Signal:
    """From 0 at its start to 1 after `ONSET` seconds, until its end."""
    grown = np.clip((t - fault.start) / ONSET, 0, 1)
    return np.where(t < fault.end, grown, 0.0)


def _wander(rng: np.random.Generator, n: int) -> Signal:
    """Slow and smooth, from -1 to 1: wind."""
    knots = rng.uniform(-1, 1, max(2, n // (4 * RATE) + 2))
    return np.interp(np.arange(n), np.linspace(0, n - 1, len(knots)), knots)


def _impacts(rng: np.random.Generator, turns: Signal) -> Signal:
    """The ringing after each blow; balls slip, so blows come a little early or late."""
    blows = np.flatnonzero(np.diff(np.floor(turns * _BEARING)) > 0)
    hits = np.zeros(len(turns))
    hits[np.clip(blows + rng.integers(-2, 3, len(blows)), 0, len(turns) - 1)] = rng.uniform(0.8, 1.6, len(blows))
    ring = np.arange(64) / RATE
    return np.convolve(hits, np.exp(-ring * 300) * np.sin(2 * np.pi * _RESONANCE * ring))[: len(turns)]


def write(folder: Path) -> None:
    """The recordings as 16-bit WAV files in `folder/vibration`, and `folder/truth.json` with the faults in them."""
    (folder / "vibration").mkdir(parents=True, exist_ok=True)
    for recording in RECORDINGS:
        signal = vibration(recording.seed, recording.seconds, recording.faults)
        samples = np.clip(np.round(signal / FULL * 32768), -32768, 32767).astype("<i2")
        with wave.open(str(folder / "vibration" / recording.name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(samples.tobytes())
    truth = {r.name: {"seconds": r.seconds, "faults": [list(f) for f in r.faults]} for r in RECORDINGS}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
