"""The layouts that run, and the one table that tells them apart."""

from __future__ import annotations

from meshinfer.detect.layouts.classifier import Classifier
from meshinfer.detect.layouts.detr import Detr
from meshinfer.detect.layouts.end_to_end import EndToEnd, YoloV7EndToEnd
from meshinfer.detect.layouts.fastestdet import FastestDet
from meshinfer.detect.layouts.finished import EfficientNms, RtDetr, TensorFlow, TorchVision
from meshinfer.detect.layouts.layout import Layout
from meshinfer.detect.layouts.nanodet import NanoDet, NanoDetPlus, PicoDet
from meshinfer.detect.layouts.probe import Probe
from meshinfer.detect.layouts.ssd import Ssd
from meshinfer.detect.layouts.yolov5 import YoloV5, YoloV5Undecoded
from meshinfer.detect.layouts.yolov8 import YoloV8, YoloV8Transposed
from meshinfer.detect.layouts.yolox import YoloX, YoloXDecoded
from meshinfer.detect.layouts.yunet import YuNet
from meshinfer.detect.names import MAX_CLASSES
from meshinfer.detect.sidecar import DECODING
from meshinfer.errors import ModelError

__all__ = ["LAYOUTS", "Layout", "Probe", "choose"]

LAYOUTS: tuple[type[Layout], ...] = (
    EndToEnd,
    YoloV7EndToEnd,
    YoloV8,
    YoloV8Transposed,
    NanoDetPlus,
    YoloX,
    YoloXDecoded,
    YoloV5,
    YoloV5Undecoded,
    FastestDet,
    Classifier,
    Detr,
    Ssd,
    RtDetr,
    TorchVision,
    TensorFlow,
    EfficientNms,
    NanoDet,
    PicoDet,
    YuNet,
)
"""In the order they are tried: of two whose shapes fit, the one with the stronger sign comes first."""


def choose(probe: Probe) -> Layout:
    """The layout that the sidecar names, or the one the probe shows. Raises ModelError with the shapes seen."""
    _refuse_task(probe)
    if odd := [o.dtype for o in probe.outputs if o.dtype.kind not in "fiu"]:
        raise ModelError(f"puts out {probe.shapes}, of which one is {odd[0]}: the layouts that run are numbers")
    named = probe.said.layout
    kind = _by_sight(probe) if named is None else _by_name(named, probe)
    for key in DECODING:
        if getattr(probe.said, key) is not None and key not in kind.reads:
            raise ModelError(f"its sidecar says `{key}`, which the layout {kind.name} has none of: take it out")
    layout = kind(probe)
    if not 1 <= layout.classes <= MAX_CLASSES:
        raise ModelError(
            f"puts out {probe.shapes}: as {kind.name} it has {layout.classes} classes; 1 to {MAX_CLASSES} run"
        )
    return layout


def _by_sight(probe: Probe) -> type[Layout]:
    for kind in LAYOUTS:
        if kind.extra == probe.extra and kind.fits(probe) and kind.shows(probe):
            return kind
    known = "\n".join(f"  {layout.name:18} {layout.shape}" for layout in LAYOUTS)
    raise ModelError(
        f"unknown layout: from {probe.width}x{probe.height} pixels it makes {probe.shapes}.\n"
        "If it is one of these, say so in a file of the same name ending in .toml, "
        f'e.g. layout = "yolov8" (and `outputs`: those that count, as boxes, scores, labels):\n{known}'
    )


def _by_name(named: str, probe: Probe) -> type[Layout]:
    by_name = {layout.name: layout for layout in LAYOUTS}
    if named not in by_name:
        raise ModelError(f"unknown layout {named!r} in its sidecar; known: {', '.join(by_name)}")
    kind = by_name[named]
    if not kind.fits(probe) or kind.extra != probe.extra:
        inputs = f" with the inputs {', '.join(sorted(probe.extra))}" if probe.extra else ""
        other = " (has it other `strides`? Say them)" if "strides" in kind.reads and not probe.said.strides else ""
        raise ModelError(
            f"its sidecar says layout {named}, which is {kind.shape}, but it puts out {probe.shapes}{inputs}{other}"
        )
    return kind


def _refuse_task(probe: Probe) -> None:
    task = probe.metadata.get("task", "detect")
    if task not in ("detect", "classify"):
        raise ModelError(
            f"is a model for the task {task[:32]!r}; meshinfer runs detectors and classifiers ('detect', 'classify')"
        )
