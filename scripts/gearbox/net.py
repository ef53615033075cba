"""A small autoencoder of a healthy gearbox's spectrum, trained with numpy, and its export as one ONNX graph.

In the graph: a bank of filters over the raw window (a convolution), the log of the mean and of the peak of each band's
power, eight numbers made of those, and back; the score is the mean square of what was lost on the way. Trained on a
sound machine alone, it gives back what a sound machine can look like, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scripts.gearbox.world import FULL, RATE, Fault, vibration
from tests.vision.tiny_onnx import declared, field, model, node, tensor

WINDOW: Final = 2048
HOP: Final = 1024
TAPS: Final = 256
STRIDE: Final = 128
BANDS: Final = 32
HIDDEN: Final = 8
EPSILON: Final = 1e-8

Floats = NDArray[np.float64]


def bank() -> Floats:
    """Cosines, then sines [2 BANDS, TAPS] of frequencies from 24 Hz to 1.9 kHz, evenly on the ear's scale."""
    mels = np.linspace(np.log1p(24 / 300), np.log1p(1900 / 300), BANDS)
    angles = 2 * np.pi * np.outer(np.expm1(mels) * 300, np.arange(TAPS) - TAPS / 2) / RATE
    return np.concatenate((np.cos(angles), np.sin(angles))) * np.hanning(TAPS) / TAPS * 2


def features(windows: Floats) -> Floats:
    """Of windows [n, WINDOW]: the log of mean and peak power of each band [n, 2 BANDS], as the graph does."""
    steps = np.lib.stride_tricks.sliding_window_view(windows, TAPS, axis=1)[:, ::STRIDE]
    squared = (steps @ bank().T) ** 2
    power = squared[..., :BANDS] + squared[..., BANDS:]
    return np.log(np.concatenate((power.mean(axis=1), power.max(axis=1)), axis=1) + EPSILON)


def windows(seed: int, faults: tuple[Fault, ...] = ()) -> Floats:
    """Windows [n, WINDOW] of a minute, as a WAV gives them."""
    signal = vibration(seed, 60.0, faults) / FULL
    return np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]


class Autoencoder:
    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        wide = 2 * BANDS
        self.mean, self.std = np.zeros(wide), np.ones(wide)
        self.weights = [
            rng.normal(0, wide**-0.5, (wide, HIDDEN)),
            np.zeros(HIDDEN),
            rng.normal(0, HIDDEN**-0.5, (HIDDEN, wide)),
            np.zeros(wide),
        ]

    def fit(self, x: Floats, steps: int, seed: int) -> None:
        """Adam on batches of 128 rows of `x`, which are features."""
        self.mean, self.std = x.mean(axis=0), x.std(axis=0)
        rows, rng = (x - self.mean) / self.std, np.random.default_rng(seed)
        first, second = ([np.zeros_like(w) for w in self.weights] for _ in range(2))
        for step in range(1, steps + 1):
            for weight, slope, m, v in zip(
                self.weights, self._slopes(rows[rng.integers(0, len(rows), 128)]), first, second, strict=True
            ):
                m += 0.1 * (slope - m)
                v += 0.001 * (slope**2 - v)
                rate = 0.01 * (1 - step / (steps + 1))
                weight -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)

    def score(self, x: Floats) -> Floats:
        """Mean squared loss of each row of features."""
        w1, b1, w2, b2 = self.weights
        rows = (x - self.mean) / self.std
        return np.asarray(((np.tanh(rows @ w1 + b1) @ w2 + b2 - rows) ** 2).mean(axis=1))

    def _slopes(self, rows: Floats) -> list[Floats]:
        w1, b1, w2, b2 = self.weights
        inner = np.tanh(rows @ w1 + b1)
        out = 2 * (inner @ w2 + b2 - rows) / rows.size
        back = out @ w2.T * (1 - inner**2)
        return [rows.T @ back, back.sum(axis=0), inner.T @ out, out.sum(axis=0)]

    def write(self, path: Path) -> None:
        """As ONNX: `window` float [1, 1, WINDOW] -> `score` [1, 1]."""
        w1, b1, w2, b2 = self.weights
        pairs = np.concatenate((np.eye(BANDS), np.eye(BANDS)), axis=1)[..., None]
        constants = {
            "bank": bank()[:, None],
            "pairs": pairs,
            "epsilon": np.full((1,), EPSILON),
            "mean": self.mean,
            "inverse": 1 / self.std,
            "w1": w1,
            "b1": b1,
            "w2": w2,
            "b2": b2,
        }
        over_time = _ints("axes", (2,)) + _int("keepdims", 0)
        nodes = (
            node("Conv", ("window", "bank"), ("filtered",), _ints("strides", (STRIDE,))),
            node("Mul", ("filtered", "filtered"), ("squared",)),
            node("Conv", ("squared", "pairs"), ("power",)),
            node("ReduceMean", ("power",), ("usual",), over_time),
            node("ReduceMax", ("power",), ("peak",), over_time),
            node("Concat", ("usual", "peak"), ("both",), _int("axis", 1)),
            node("Add", ("both", "epsilon"), ("above",)),
            node("Log", ("above",), ("levels",)),
            node("Sub", ("levels", "mean"), ("centred",)),
            node("Mul", ("centred", "inverse"), ("rows",)),
            node("Gemm", ("rows", "w1", "b1"), ("bent",)),
            node("Tanh", ("bent",), ("inner",)),
            node("Gemm", ("inner", "w2", "b2"), ("made",)),
            node("Sub", ("made", "rows"), ("lost",)),
            node("Mul", ("lost", "lost"), ("loss",)),
            node("ReduceMean", ("loss",), ("score",), _ints("axes", (1,)) + _int("keepdims", 1)),
        )
        graph = b"".join(field(1, n) for n in nodes) + field(2, "gearbox")
        graph += b"".join(field(5, tensor(name, np.asarray(v, np.float32))) for name, v in constants.items())
        graph += field(11, declared("window", (1, 1, WINDOW))) + field(12, declared("score", (1, 1)))
        path.write_bytes(model(graph, {"license": "Apache-2.0", "author": "meshinfer"}))


def _int(name: str, value: int) -> bytes:
    return field(5, field(1, name) + field(3, value) + field(20, 2))


def _ints(name: str, values: Sequence[int]) -> bytes:
    return field(5, field(1, name) + b"".join(field(8, v) for v in values) + field(20, 7))
