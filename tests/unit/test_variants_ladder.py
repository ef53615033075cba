"""Which variant may take the float model's place, and which nodes a variant leaves float. No model is run."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from meshinfer.detect.variants.agreement import Agreement
from meshinfer.detect.variants.ladder import FASTER, LADDER, Node, Rule, Trial, Variant, best, ends, objection

INT8, HEAD = LADDER[0], LADDER[1]
BY_AP = Rule(max_ap_loss=0.01)


def trial(variant: Variant = INT8, *, share: float = 1.0, boxes: int = 50, gain: float = 1.5, **more: Any) -> Trial:
    return Trial(variant=variant, ms=10 / gain, float_ms=10.0, agreement=Agreement(share, boxes), **more)


@pytest.mark.parametrize(
    ("made", "rule", "why"),
    [
        (trial(), Rule(), ""),
        (trial(share=0.95), Rule(), ""),
        (trial(share=0.949), Rule(), "only 94.9% of the boxes agree"),
        (trial(share=0.8), Rule(min_agreement=0.8), ""),
        # A small detector quantised to its last layer, on drawn footage: the same boxes, surer than they were.
        (replace(trial(), agreement=Agreement(0.97, 50, 0.114)), Rule(), "scores shift by +0.114"),
        (replace(trial(), agreement=Agreement(0.97, 50, -0.03)), Rule(), ""),
        (trial(boxes=0), Rule(), "nothing to compare"),
        (trial(gain=FASTER - 0.01), Rule(), "not faster here"),
        (Trial(variant=INT8, error="it crashed"), Rule(), "it crashed"),
        (Trial(variant=INT8), Rule(), "not tried"),
        # yolox_nano, as it is when all of it is quantised: .342 -> .158.
        (trial(ap=0.158, float_ap=0.342), BY_AP, "loses 0.184 AP"),
        (trial(share=0.5, ap=0.335, float_ap=0.342), BY_AP, ""),
        (trial(ap=0.4, float_ap=0.3), BY_AP, ""),
        (trial(ap=0.0, float_ap=0.0), BY_AP, "finds nothing that the labels know"),
        (trial(gain=1.0, ap=0.34, float_ap=0.342), BY_AP, "not faster here"),
    ],
)
def test_what_speaks_against_it(made: Trial, rule: Rule, why: str) -> None:
    said = objection(made, rule)
    assert why in said
    assert bool(said) == bool(why)


def test_the_fastest_that_holds_is_best() -> None:
    fastest = trial(share=0.5, gain=3.0)
    fast, slow = trial(HEAD, gain=1.6), trial(LADDER[2], gain=1.3)
    assert best([fastest, slow, fast], Rule()) == fast
    assert best([fastest], Rule()) is None
    assert best([], Rule()) is None


# in -> c1 -> r1 -> c2 -> add -> c3 -> c4 -> cut -> out, with a way around c2 from r1 to add
CHAIN = (
    Node("c1", "Conv", ["in", "w1"], ["a"]),
    Node("r1", "Relu", ["a"], ["b"]),
    Node("c2", "Conv", ["b", "w2"], ["c"]),
    Node("add", "Add", ["b", "c"], ["d"]),
    Node("c3", "Conv", ["d", "w3"], ["e"]),
    Node("c4", "Conv", ["e", "w4"], ["f"]),
    Node("cut", "Reshape", ["f", "shape"], ["out"]),
)


@pytest.mark.parametrize(
    ("stem", "head", "left"),
    [
        (0, 0, ""),
        (1, 0, "c1 r1 add"),
        (2, 0, "c1 r1 c2 add c3"),
        (0, 1, "c4 cut"),
        (0, 2, "c3 c4 cut add"),
        (1, 1, "c1 r1 add c4 cut"),
        (9, 9, "c1 r1 c2 add c3 c4 cut"),
    ],
)
def test_the_ends_are_counted_in_weighted_layers(stem: int, head: int, left: str) -> None:
    variant = Variant("v", "int8", stem, head)
    expected = set(left.split()) | ({"r1"} if head == 2 else set())  # what lies before c3 without another layer
    assert ends(CHAIN, ["in"], ["out"], variant) == expected


def test_a_large_graph_is_walked_once() -> None:
    """Each layer has two ways to the next: a walk over all ways would never end."""
    nodes = []
    for i in range(2000):
        nodes += [Node(f"l{i}", "Relu", [f"t{i}"], [f"l{i}"]), Node(f"r{i}", "Relu", [f"t{i}"], [f"r{i}"])]
        nodes.append(Node(f"j{i}", "Add", [f"l{i}", f"r{i}"], [f"t{i + 1}"]))
    assert len(ends(nodes, ["t0"], ["t2000"], Variant("v", "int8", 1, 1))) == 6000
