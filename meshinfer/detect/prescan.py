"""A look at an ONNX file before the runtime sees it: a bounded walk over its protobuf, without the onnx package.

The runtime is safe against most bad files, but not against these (each was tried): tensors kept in other files, which
it reads from the working folder into an output; nested local functions, which make 1.5 KB hang it; endless loops; and
a few bytes that ask for gigabytes. A detector needs none of them, so a file with one is refused here. What only shows
when it runs is for the trial in a process of its own (`trial`).
"""

from __future__ import annotations

from meshinfer.detect import onnx_format as of
from meshinfer.detect.bombs import SUSPECTS, Scope, Suspect, check, trips
from meshinfer.detect.protobuf import Malformed, Walker, signed
from meshinfer.detect.tensors import MAX_SIZE, Tensor
from meshinfer.errors import ModelError
from meshinfer.model.bundle import MAX_MODEL_BYTES

MAX_NODES = 20_000
"""YOLOv8x has about 500 nodes; quantised, 2,000."""
MAX_FIELDS = 400_000
"""Protobuf fields in all, twenty a node: bounds the walk itself to a quarter of a second."""
MAX_DEPTH = 4
"""Graphs inside of attributes of graphs (If): exports stay at 1."""
MAX_ATTRIBUTES = 64
"""Of one node."""
MAX_NAME = 1024
"""Bytes of a name: of a node, a tensor, an attribute, a dimension."""
MAX_RANK = 16
MAX_VALUE = 1 << 28
"""Elements of a declared input, output or intermediate: a picture of 4096x4096 has 50 million."""
MAX_METADATA = 1024 * 1024
"""Bytes: 10,000 class names have less."""
MAX_ENTRIES = 256
MAX_GEOMETRY = 1 << 16
"""Of a kernel, a stride or a padding."""
DOMAINS = frozenset({b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft"})
"""The standard operators, trees, and the runtime's own (quantisation). Others can't run anyway, or load code."""
REFUSED_OPS = frozenset({"Scan", "SequenceMap", "EPContext"})
"""Work that data decides on, and precompiled blobs for accelerators."""
_GEOMETRY = frozenset({b"pads", b"kernel_shape", b"strides", b"dilations", b"output_padding", b"output_shape"})
_MAX_TYPE_DEPTH = 4
_MAX_KNOWN = 256
"""Bytes of an attribute that is looked up before it is walked."""
_EXTERNAL = "keeps tensors in other files (external data), which is refused: export it as one file"


def prescan(data: bytes) -> None:
    """Pass `data` (a whole .onnx file), or raise ModelError that says what it is or holds that is refused."""
    if len(data) > MAX_MODEL_BYTES:
        raise ModelError(f"{len(data)} bytes: models over {MAX_MODEL_BYTES} bytes are refused")
    if data[4:8] == b"ORTM":  # the runtime would read it as that, whatever else it is
        raise ModelError("in the runtime's own format (.ort), which is refused: export it as .onnx")
    try:
        _Scan(data).model()
    except Malformed as e:
        raise ModelError(f"no ONNX file: its bytes are not those of a model ({e})") from None
    except IndexError:
        raise ModelError("no ONNX file: its bytes are not those of a model (it is cut off)") from None


class _Scan:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._walker = Walker(data, MAX_FIELDS)
        self._fields = self._walker.fields
        self._nodes = 0
        self._known_types: dict[bytes, int] = {}
        """Those that have been walked, with their fields: most values of a graph share a few."""
        self._known_attributes: dict[bytes, tuple[bytes, list[float] | None, int]] = {}

    def model(self) -> None:
        seen, graph, entries, size = set(), (0, 0), 0, 0
        for number, a, b in self._fields(0, len(self._data), of.MODEL):
            seen.add(number)
            match number:
                case 7:
                    graph = a, b
                case 8:
                    self._opset(a, b)
                case 14:
                    entries, size = entries + 1, size + b - a
                    self._entry(a, b)
                case 20:
                    raise ModelError("holds training_info: a detector has none; export it for inference")
                case 25:
                    raise ModelError("holds local functions, which are refused: export it with its functions inlined")
        if not {1, 7, 8} <= seen:  # ir_version, graph, opset_import: required in every model
            raise Malformed("no graph, or no version")
        if entries > MAX_ENTRIES or size > MAX_METADATA:
            raise ModelError(f"more metadata than {MAX_ENTRIES} entries and {MAX_METADATA} bytes")
        self._graph(*graph, 0, None, 1)

    def _opset(self, start: int, stop: int) -> None:
        for number, a, b in self._fields(start, stop, of.OPSET):
            if number == 1:
                self._name(a, b)
            elif not 1 <= a <= 1000:
                raise ModelError(f"is of version {signed(a)} of the operators, which does not exist")

    def _entry(self, start: int, stop: int) -> None:
        for _ in self._fields(start, stop, of.ENTRY):
            pass

    def _graph(self, start: int, stop: int, depth: int, outer: Scope | None, runs: int) -> None:
        if depth > MAX_DEPTH:
            raise ModelError(f"graphs nested deeper than {MAX_DEPTH}")
        scope = Scope(outer)
        nodes: list[tuple[int, int]] = []
        suspects: list[tuple[Suspect, list[tuple[int, int]]]] = []
        for number, a, b in self._fields(start, stop, of.GRAPH):
            match number:
                case 1:
                    nodes.append((a, b))
                case 2:
                    self._name(a, b)
                case 5:
                    name, values = self._tensor(a, b)
                    if name in scope.initializers:
                        raise Malformed(f"the initializer {_shown(name)} twice")
                    scope.initializers.add(name)
                    if values is not None:
                        scope.constants[name] = values
                case 11 | 12:
                    name = self._value(a, b, shown=True)
                    if number == 11 and outer is not None:
                        scope.computed.add(name)
                case 13:
                    self._value(a, b)
                case 14:
                    self._annotation(a, b)
                case 15:
                    raise ModelError("holds sparse initializers, which are refused: export it with dense weights")
                case 16:
                    self._entry(a, b)
        for a, b in nodes:
            suspect, graphs = self._node(a, b, scope)
            if graphs or suspect.op in SUSPECTS or suspect.op == "Loop":
                suspects.append((suspect, graphs))
        # The constants of the whole graph are known now: they may stand behind the nodes that use them.
        for suspect, graphs in suspects:
            check(suspect, scope)
            if graphs and suspect.op not in ("If", "Loop"):
                raise ModelError(f"holds a graph in a node of type {suspect.op[:64]!r}, which is refused")
            times = trips(suspect, scope, runs) if suspect.op == "Loop" else runs
            for a, b in graphs:
                self._graph(a, b, depth + 1, scope, times)

    def _node(self, start: int, stop: int, scope: Scope) -> tuple[Suspect, list[tuple[int, int]]]:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ModelError(f"more than {MAX_NODES} nodes")
        op = ""
        inputs: list[bytes] = []
        outputs: list[bytes] = []
        attributes: list[tuple[int, int]] = []
        for number, a, b in self._fields(start, stop, of.NODE):
            match number:
                case 1:
                    inputs.append(self._name(a, b))
                case 2:
                    outputs.append(self._name(a, b))
                case 3 | 8:
                    self._name(a, b)
                case 4:
                    op = self._name(a, b).decode("utf-8", "replace")
                    if op in REFUSED_OPS:
                        raise ModelError(f"uses the operator {op}, which is refused: its work has no bound")
                case 5:
                    attributes.append((a, b))
                case 7 if self._data[a:b] not in DOMAINS:
                    raise ModelError(f"uses operators of the domain {_shown(self._data[a:b])}, which are refused")
                case 9:
                    self._entry(a, b)
        if len(attributes) > MAX_ATTRIBUTES:
            raise ModelError(f"has a node with more than {MAX_ATTRIBUTES} attributes")
        values: dict[bytes, list[float] | None] = {}
        graphs: list[tuple[int, int]] = []
        for a, b in attributes:
            name, found = self._attribute(a, b, graphs)
            if name in values:
                raise Malformed(f"the attribute {_shown(name)} of a node twice")
            values[name] = found
        if op == "Constant" and len(values) == 1 and len(outputs) == 1 and (made := next(iter(values.values()))):
            scope.constants[outputs[0]] = made
        elif scope.outer is not None:
            scope.computed.update(outputs)
        return Suspect(op, tuple(inputs), values), graphs

    def _attribute(self, start: int, stop: int, graphs: list[tuple[int, int]]) -> tuple[bytes, list[float] | None]:
        """Its name, and its value where that may be a size. The graphs it holds go to `graphs`."""
        if stop - start > _MAX_KNOWN:
            return self._new_attribute(start, stop, graphs)
        text = self._data[start:stop]
        if known := self._known_attributes.get(text):
            self._walker.charge(known[2])
            return known[:2]
        left, held = self._walker.left, len(graphs)
        name, values = self._new_attribute(start, stop, graphs)
        if len(graphs) == held:
            self._known_attributes[text] = name, values, left - self._walker.left
        return name, values

    def _new_attribute(self, start: int, stop: int, graphs: list[tuple[int, int]]) -> tuple[bytes, list[float] | None]:
        name, found = b"", []
        values: list[float] | None = None
        for number, a, b in self._fields(start, stop, of.ATTRIBUTE):
            match number:
                case 1:
                    name = self._name(a, b)
                case 3:
                    values = [signed(a)]
                case 8:
                    found += [a] if b < 0 else self._walker.packed(a, b, MAX_SIZE)
                case 5 | 10:
                    _, values = self._tensor(a, b)
                case 6 | 11:
                    graphs.append((a, b))
                case 14 | 15:
                    self._type(a, b, 0)
                case 22 | 23:
                    raise ModelError("holds sparse tensors, which are refused: export it with dense weights")
        if found:
            values = [signed(v) for v in found[:MAX_SIZE]]
            if name in _GEOMETRY and (far := max(values, key=abs)) and abs(far) > MAX_GEOMETRY:
                raise ModelError(f"asks for {far} in {_shown(name)}: no picture is that large")
        return name, values

    def _tensor(self, start: int, stop: int) -> tuple[bytes, list[float] | None]:
        """Its name, and its values where they are few enough to be a size."""
        name, kind, raw = b"", 0, None
        dims: list[int] = []
        typed: list[tuple[int, int, int]] = []
        for number, a, b in self._fields(start, stop, of.TENSOR):
            match number:
                case 1:
                    dims += [a] if b < 0 else self._walker.packed(a, b, MAX_RANK + 1)
                    if len(dims) > MAX_RANK:
                        raise ModelError(f"holds a tensor of more than {MAX_RANK} dimensions")
                case 2:
                    kind = a
                case 8:
                    name = self._name(a, b)
                case 9:
                    raw = a, b
                case 13:
                    raise ModelError(_EXTERNAL)
                case 14:
                    if a:
                        raise ModelError(_EXTERNAL)
                case 16:
                    self._entry(a, b)
                case 4 | 5 | 6 | 7 | 10 | 11:
                    typed.append((number, a, b))
        tensor = Tensor(kind, dims, raw, typed)
        tensor.check(self._walker)
        return name, tensor.values(self._walker)

    def _value(self, start: int, stop: int, *, shown: bool = False) -> bytes:
        name = b""
        for number, a, b in self._fields(start, stop, of.VALUE):
            match number:
                case 1:
                    name = self._name(a, b)
                    if shown and not name.decode("utf-8", "replace").isprintable():
                        raise ModelError(f"has an input or output with control characters in its name: {_shown(name)}")
                case 2:
                    text = self._data[a:b]
                    if (fields := self._known_types.get(text)) is not None:
                        self._walker.charge(fields)
                        continue
                    left = self._walker.left
                    self._type(a, b, 0)
                    self._known_types[text] = left - self._walker.left
                case 4:
                    self._entry(a, b)
        return name

    def _type(self, start: int, stop: int, depth: int) -> None:
        if depth > _MAX_TYPE_DEPTH:
            raise ModelError(f"types nested deeper than {_MAX_TYPE_DEPTH}")
        for number, a, b in self._fields(start, stop, of.TYPE):
            if number == 1:
                for inner, c, d in self._fields(a, b, of.TENSOR_TYPE):
                    if inner == 2:
                        self._shape(c, d)
            elif number != 6:
                of_type = of.MAP_TYPE if number == 5 else of.OF_TYPE
                for inner, c, d in self._fields(a, b, of_type):
                    if d >= 0 and inner == (2 if number == 5 else 1):
                        self._type(c, d, depth + 1)

    def _shape(self, start: int, stop: int) -> None:
        elements = 1
        for rank, (_, a, b) in enumerate(self._fields(start, stop, of.SHAPE)):
            if rank == MAX_RANK:
                raise ModelError(f"declares a value of more than {MAX_RANK} dimensions")
            for number, c, d in self._fields(a, b, of.DIMENSION):
                if number == 1 and signed(c) > 0:  # -1 and 0 are written for "any" by old exporters
                    elements *= c
                elif number == 2:
                    self._name(c, d)
        if elements > MAX_VALUE:
            raise ModelError(f"declares a value of {elements} elements: over {MAX_VALUE} are refused")

    def _annotation(self, start: int, stop: int) -> None:
        for number, a, b in self._fields(start, stop, of.ANNOTATION):
            if number == 2:
                self._entry(a, b)

    def _name(self, start: int, stop: int) -> bytes:
        if stop - start > MAX_NAME:
            raise ModelError(f"has a name of {stop - start} bytes: over {MAX_NAME} are refused")
        return self._data[start:stop]


def _shown(name: bytes) -> str:
    return repr(name[:64].decode("utf-8", "replace"))
