"""Which cheaper variants of a model are tried, and which of them may take its place: pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from meshinfer.detect.variants.agreement import Agreement

FASTER: Final = 1.1
"""Times as fast as the float model: less is within the noise, and not worth another file."""
WEIGHTED: Final = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})


class Variant(Struct, frozen=True):
    name: str
    suffix: str
    """Of the version it is kept as."""
    stem: int = 0
    """So many layers from the input stay float: what they lose, all that follow see. YOLOX needs that."""
    head: int = 0
    """So many layers before the outputs stay float: boxes are wanted to the pixel."""
    int8: bool = True


LADDER: Final = (
    Variant("int8", "int8"),
    Variant("int8, float head", "int8", head=2),
    Variant("int8, float ends", "int8", stem=3, head=2),
    Variant("int8, wide float ends", "int8", stem=6, head=2),
    Variant("float, simplified", "opt", int8=False),
)


class Rule(Struct, frozen=True):
    """What a variant may lose."""

    min_agreement: float = 0.95
    max_score_shift: float = 0.05
    """Users' thresholds must go on to mean what they meant."""
    max_ap_loss: float | None = None
    """Decides in place of both, where truth is known."""


class Trial(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a variant did against the float model, on the same frames, in turns."""

    variant: Variant
    error: str = ""
    """Why there is nothing else."""
    bytes: int = 0
    ms: float = 0.0
    """CPU time of one frame, from picture to boxes."""
    float_ms: float = 0.0
    agreement: Agreement | None = None
    ap: float | None = None
    float_ap: float | None = None

    @property
    def gain(self) -> float:
        return self.float_ms / self.ms if self.ms else 0.0


def objection(trial: Trial, rule: Rule) -> str:
    """Why the variant may not take the float model's place, or ""."""
    if trial.error or trial.agreement is None:
        return trial.error or "not tried"
    if rule.max_ap_loss is not None:
        if trial.ap is None or not trial.float_ap:
            return "the float model finds nothing that the labels know"
        if (loss := trial.float_ap - trial.ap) > rule.max_ap_loss:
            return f"loses {loss:.3f} AP"
    elif not trial.agreement.boxes:
        return "the float model finds nothing on these pictures: nothing to compare"
    elif trial.agreement.share < rule.min_agreement:
        return f"only {trial.agreement.share:.1%} of the boxes agree"
    elif abs(trial.agreement.score_shift) > rule.max_score_shift:
        return f"scores shift by {trial.agreement.score_shift:+.3f}"
    if trial.gain < FASTER:
        return "not faster here"
    return ""


def best(trials: Iterable[Trial], rule: Rule) -> Trial | None:
    """The fastest of those without an objection; each against the float model at its own time."""
    return max((t for t in trials if not objection(t, rule)), key=lambda t: t.gain, default=None)


class Node(NamedTuple):
    name: str
    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]


def ends(nodes: Iterable[Node], inputs: Iterable[str], outputs: Iterable[str], variant: Variant) -> frozenset[str]:
    """Names of the nodes that the variant leaves float: those within so many weighted layers of an end."""
    readers, writers = defaultdict[str, list[Node]](list), defaultdict[str, list[Node]](list)
    for node in nodes:
        for tensor in node.inputs:
            readers[tensor].append(node)
        for tensor in node.outputs:
            writers[tensor].append(node)
    first = _near(inputs, readers, variant.stem, forward=True) if variant.stem else frozenset()
    last = _near(outputs, writers, variant.head, forward=False) if variant.head else frozenset()
    return first | last


def _near(start: Iterable[str], at: Mapping[str, list[Node]], layers: int, *, forward: bool) -> frozenset[str]:
    """Breadth first; a step through a weighted layer costs one, any other nothing."""
    reached: dict[str, int] = {}
    waiting = deque((tensor, 0) for tensor in start)
    while waiting:
        tensor, cost = waiting.popleft()
        for node in at.get(tensor, ()):
            weighted = node.op in WEIGHTED
            now = cost + weighted
            if now > layers or reached.get(node.name, now + 1) <= now:
                continue
            reached[node.name] = now
            beyond = [(t, now) for t in (node.outputs if forward else node.inputs)]
            waiting.extend(beyond) if weighted else waiting.extendleft(beyond)
    return frozenset(reached)
