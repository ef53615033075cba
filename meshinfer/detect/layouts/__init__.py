"""The layouts that run, and the one table that tells them apart."""

from __future__ import annotations

from meshinfer.detect.layouts.end_to_end import EndToEnd
from meshinfer.detect.layouts.fastestdet import FastestDet
from meshinfer.detect.layouts.layout import Layout, Probe
from meshinfer.detect.layouts.yolov5 import YoloV5, YoloV5Undecoded
from meshinfer.detect.layouts.yolov8 import YoloV8, YoloV8Transposed
from meshinfer.detect.layouts.yolox import YoloX, YoloXDecoded
from meshinfer.errors import ModelError

__all__ = ["LAYOUTS", "Layout", "Probe", "choose"]

LAYOUTS: tuple[type[Layout], ...] = (
    EndToEnd,
    YoloV8,
    YoloV8Transposed,
    YoloX,
    YoloXDecoded,
    YoloV5,
    YoloV5Undecoded,
    FastestDet,
)
"""In the order they are tried: of two whose shapes fit, the one with the stronger sign comes first."""


def choose(probe: Probe, named: str | None = None) -> Layout:
    """The layout a sidecar `named`, or the one the probe shows. Raises ModelError with the shapes seen."""
    task = probe.metadata.get("task", "detect")
    if task != "detect":
        raise ModelError(f"is a model for the task {task[:32]!r}; meshinfer runs detectors (task 'detect')")
    if named is not None:
        by_name = {layout.name: layout for layout in LAYOUTS}
        if named not in by_name:
            raise ModelError(f"unknown layout {named!r} in its sidecar; known: {', '.join(by_name)}")
        if not by_name[named].fits(probe):
            raise ModelError(
                f"its sidecar says layout {named}, which is {by_name[named].shape}, but it puts out {probe.shapes}"
            )
        return by_name[named](probe)
    for layout in LAYOUTS:
        if layout.fits(probe) and layout.shows(probe):
            return layout(probe)
    known = "\n".join(f"  {layout.name:18} {layout.shape}" for layout in LAYOUTS)
    raise ModelError(
        f"unknown layout: from {probe.width}x{probe.height} pixels it makes {probe.shapes}.\n"
        f'If it is one of these, say so in a file of the same name ending in .toml, e.g. layout = "yolov8":\n{known}'
    )
