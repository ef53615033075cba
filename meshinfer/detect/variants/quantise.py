"""`python -m meshinfer.detect.variants.quantise`: one variant of a model, made aside. Needs the onnx package.

Weights become int8 per output channel and activations uint8 (u8s8, which every CPU with VNNI or plain AVX2 computes),
written as QuantizeLinear/DequantizeLinear pairs, which every runtime reads.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meshinfer.detect.detector import load_detector
from meshinfer.detect.onnx import Session
from meshinfer.detect.variants.aside import Tell, ask, quiet, serve
from meshinfer.detect.variants.ladder import Node, Variant, ends
from meshinfer.detect.variants.wrapped import Overheard
from meshinfer.errors import ModelError
from meshinfer.model.job import Detect

OPSET: Final = 13
"""From here on QuantizeLinear knows channels."""
PATIENCE: Final = 900.0
MEMORY_MB: Final = 8192
_QUANTISED: Final = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"})


class Question(Struct, frozen=True):
    model: str
    frames: str
    """A file that `save_frames` wrote: what activations are calibrated with."""
    variant: Variant
    target: str
    metadata: dict[str, str]
    """Added to the file's own."""


def quantise_aside(question: Question, tell: Tell = quiet) -> None:
    """Write the variant to `target`. Raises ModelError."""
    check_tools()
    ask(__name__, question, bool, timeout=PATIENCE, memory_mb=MEMORY_MB, tell=tell)


def check_tools() -> None:
    """Raises ModelError where the onnx package is missing."""
    if importlib.util.find_spec("onnx") is None:
        raise ModelError('this needs the onnx package: pip install "meshinfer[optimize]"')


def answer(question: Question, tell: Tell) -> bool:
    import onnx

    tell("reading", 0.0)
    source = Path(question.model)
    with tempfile.TemporaryDirectory(dir=Path(question.target).parent) as folder:
        plain = _simplified(source, Path(folder))
        if question.variant.int8:
            tell("running the frames", 0.2)
            feeds = _feeds(source, Path(question.frames))
            tell("quantising", 0.5)
            made = _quantised(plain, feeds, question.variant, Path(folder))
        else:
            made = onnx.load(plain)
    kept = {p.key: p.value for p in onnx.load(source, load_external_data=False).metadata_props}
    onnx.helper.set_model_props(made, kept | question.metadata)
    onnx.save(made, question.target)
    return True


def _feeds(source: Path, frames: Path) -> list[dict[str, NDArray[Any]]]:
    """What the model is fed for each frame, preprocessed as in a job."""
    sessions: list[Overheard] = []

    def open_session(model: bytes) -> Session:
        sessions.append(Overheard(Session(model)))
        return sessions[0]

    worker = load_detector(source, open_session=open_session).worker(Detect())
    sessions[0].heard.clear()  # the probe's grey picture
    with np.load(frames) as kept:
        for frame in kept.values():
            worker(frame)
    return sessions[0].heard


def _simplified(source: Path, folder: Path) -> Path:
    """Constants folded, batch normalisation in the convolutions, shapes inferred, in an opset that can be quantised."""
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    given = onnx.load(source)
    if found := {node.op_type for node in given.graph.node} & _QUANTISED:
        raise ModelError(f"is quantised already (it has {', '.join(sorted(found))}): give the float model")
    target = folder / "plain.onnx"
    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    model = onnx.load(target)
    used = {node.domain for node in model.graph.node} | {""}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    if next(entry.version for entry in imports if not entry.domain) < OPSET:
        model = onnx.version_converter.convert_version(model, OPSET)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node{number}"  # nodes are excluded by name
    onnx.save(model, target)
    return target


def _quantised(plain: Path, feeds: list[dict[str, NDArray[Any]]], variant: Variant, folder: Path) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the tools have no types
        def __init__(self) -> None:
            self._rest: Iterator[dict[str, NDArray[Any]]] = iter(feeds)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._rest, None)

    graph = onnx.load(plain).graph
    weights = {tensor.name for tensor in graph.initializer}
    nodes = [Node(n.name, n.op_type, n.input, n.output) for n in graph.node]
    left = ends(nodes, [i.name for i in graph.input if i.name not in weights], [o.name for o in graph.output], variant)
    target = folder / "quantised.onnx"
    quantize_static(
        str(plain),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=sorted(left),
    )
    return onnx.load(target)


if __name__ == "__main__":
    serve(Question, answer)
