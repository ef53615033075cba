"""Training and export of the demo's detector. Everything follows from the seed."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from demo_detector.data import FIRST_SEED, SIZE, Boxes, Frames, draw
from demo_detector.loss import loss
from demo_detector.model import INPUT, Detector, Exported

BATCH: Final = 16
PEAK_RATE: Final = 2.5e-3
CHUNK: Final = 50
PAD: Final = (INPUT[0] - SIZE[1]) // 2

METADATA: Final = {
    "names": "{0: 'person', 1: 'vehicle'}",
    "task": "detect",
    "stride": "32",
    "imgsz": "[192, 320]",
    "batch": "1",
    "channels": "3",
    "license": "Apache-2.0",
    "author": "meshinfer",
    "version": "1",
    "description": (
        "yard-demo: finds people and vehicles in the drawn yards of meshinfer's demo and tests, and nowhere else. "
        "For real footage take a real detector: yolox_nano, fastestdet, or a YOLO export."
    ),
}


def load(scenes: int, cache: Path) -> tuple[Frames, list[Boxes]]:
    """The training frames of `scenes` scenes, drawn in chunks and kept in the folder `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    frames, labels = [], []
    for chunk in range(scenes // CHUNK):
        path = cache / f"chunk{chunk}.pkl"
        if not path.exists():
            first = FIRST_SEED + chunk * CHUNK
            path.with_suffix(".tmp").write_bytes(pickle.dumps(draw(range(first, first + CHUNK))))
            path.with_suffix(".tmp").rename(path)
            print(f"drawn {(chunk + 1) * CHUNK}/{scenes} scenes", flush=True)
        pictures, rows = pickle.loads(path.read_bytes())
        frames.append(pictures)
        labels += rows
    return np.concatenate(frames), labels


def vary(frame: Frames, rows: Boxes, rng: np.random.Generator) -> tuple[Frames, Boxes]:
    """One frame on the input's canvas, mirrored, zoomed and recoloured a little at random."""
    zoom = float(np.exp(rng.uniform(-0.18, 0.22))) if rng.random() < 0.6 else 1.0
    width, height = SIZE
    shift = rng.uniform(-0.5, 0.5, 2) * np.array(SIZE) * abs(1 - zoom) + np.array(SIZE) * (1 - zoom) / 2
    turned = rng.random() < 0.5
    matrix = np.array([[-zoom if turned else zoom, 0, width - shift[0] if turned else shift[0]], [0, zoom, shift[1]]])
    canvas = np.full((INPUT[0], INPUT[1], 3), 114, np.uint8)
    moved = cv2.warpAffine(frame, matrix, SIZE, flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114))
    gain = np.exp(rng.uniform(-0.22, 0.22)) * rng.uniform(0.94, 1.06, 3)
    canvas[PAD:-PAD] = np.clip(moved * gain + rng.uniform(-8, 8), 0, 255).astype(np.uint8)
    out = rows.copy()
    out[:, [1, 3]] = rows[:, [1, 3]] * matrix[0, 0] + matrix[0, 2]
    out[:, [2, 4]] = rows[:, [2, 4]] * zoom + shift[1]
    if turned:
        out[:, [1, 3]] = out[:, [3, 1]]
    whole = (out[:, 3] - out[:, 1]) * (out[:, 4] - out[:, 2])
    out[:, [1, 3]] = out[:, [1, 3]].clip(0, width)
    out[:, [2, 4]] = out[:, [2, 4]].clip(0, height)
    wide, tall = out[:, 3] - out[:, 1], out[:, 4] - out[:, 2]
    out[:, 5] *= (wide * tall > 0.5 * whole) & (np.minimum(wide, tall) >= 4.5)
    out[:, [2, 4]] += PAD
    return canvas, out[(wide > 1) & (tall > 1)]


def batches(frames: Frames, labels: list[Boxes], steps: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """`steps` batches: images, truth boxes, classes, which rows are real, which are ignored."""
    rng = np.random.default_rng(seed)
    order: list[int] = []
    for _ in range(steps):
        while len(order) < BATCH:
            order += rng.permutation(len(frames)).tolist()
        picked, order = order[:BATCH], order[BATCH:]
        varied = [vary(frames[index], labels[index], rng) for index in picked]
        most = max(1, *(len(rows) for _, rows in varied))
        padded = np.zeros((BATCH, most, 6), np.float32)
        real = np.zeros((BATCH, most), bool)
        for slot, (_, rows) in enumerate(varied):
            padded[slot, : len(rows)], real[slot, : len(rows)] = rows, True
        counted: NDArray[np.bool_] = padded[..., 5] > 0
        images = np.stack([canvas[..., ::-1] for canvas, _ in varied]).transpose(0, 3, 1, 2)
        pixels = torch.from_numpy(np.ascontiguousarray(images)).float().div_(255.0)
        tensors = (padded[..., 1:5], padded[..., 0].astype(np.int64), real & counted, real & ~counted)
        yield (pixels.contiguous(memory_format=torch.channels_last), *(torch.from_numpy(part) for part in tensors))


def fit(frames: Frames, labels: list[Boxes], steps: int, seed: int, out: Path, minutes: float) -> Detector:
    """Train; returns the running mean of the weights. With `minutes` > 0 the clock ends it, not `steps`."""
    torch.manual_seed(seed)
    net = Detector().to(memory_format=torch.channels_last)
    print(f"{sum(part.numel() for part in net.parameters())} parameters, {len(frames)} frames", flush=True)
    weights = [part for part in net.parameters() if part.ndim > 1]
    others = [part for part in net.parameters() if part.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": weights, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}])
    mean: Detector = copy.deepcopy(net)
    began, running = time.monotonic(), 0.0
    for step, (images, truth, classes, real, ignored) in enumerate(batches(frames, labels, steps, seed)):
        passed = (time.monotonic() - began) / 60 / minutes if minutes else step / steps
        if passed >= 1.0:
            break
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (step + 1) / 150) * (0.01 + 0.99 * (0.5 + 0.5 * np.cos(np.pi * passed)))
        # bfloat16 halves the time where the processor has it, and costs this net nothing that the figures show.
        with torch.autocast("cpu", torch.bfloat16):
            logits, boxes = net(images)
        value, scores, sides = loss(logits, boxes, net.centres, net.strides, truth, classes, real, ignored)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        keep = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for slow, fast in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
                slow.mul_(keep).add_(fast, alpha=1 - keep) if slow.dtype.is_floating_point else slow.copy_(fast)
        running = running * 0.98 + 0.02 * float(value.detach()) if step else float(value.detach())
        if step % 100 == 99:
            spent = time.monotonic() - began
            rate = (step + 1) * BATCH / spent
            print(
                f"{spent / 60:5.1f} min step {step + 1} loss {running:.3f} ({scores:.3f} {sides:.3f}) {rate:.0f} img/s",
                flush=True,
            )
        if step % 1000 == 999:
            export(mean, out)
    return mean


def export(net: Detector, path: Path) -> None:
    """Write `net` as ONNX in the YOLOv8 layout, with its metadata."""
    plain = Exported(copy.deepcopy(net)).eval()
    part = path.with_suffix(".part")
    torch.onnx.export(
        plain,
        (torch.zeros(1, 3, *INPUT),),
        str(part),
        opset_version=13,
        input_names=["images"],
        output_names=["output0"],
        dynamo=False,
    )
    model = onnx.load(str(part))
    onnx.helper.set_model_props(model, METADATA)
    model.doc_string, model.producer_name = METADATA["description"], "meshinfer"
    onnx.checker.check_model(model)
    onnx.save(model, str(part))
    part.replace(path)
